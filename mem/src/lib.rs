//! What a process leaves behind in its own memory, and how it is wiped: freed heap, and stacks that were once deeper. The
//! one crate of the product with `unsafe` code. It must not know what is secret: it wipes everything.

mod heap;
mod stack;

pub use heap::Wiping;
pub use stack::wipe_unused_stack;
