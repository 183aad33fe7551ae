//! What a process leaves behind in its own memory, and how it is wiped: freed heap, stacks that were once deeper, and memory
//! that one computation had for itself. The one crate of the product with `unsafe` code. It must not know what is secret: it
//! wipes everything.

mod heap;
mod mapped;
mod stack;

pub use heap::Wiping;
pub use mapped::Mapped;
pub use stack::wipe_unused_stack;
