//! The client-facing side of TLS: certificates from files, taken again when they change, or made at first start. It
//! must not know node-to-node identity, which the raft crate keeps.

mod authority;
mod reload;

pub use authority::{Issued, Made, create_ca, create_cert};
pub use reload::{Files, ServerTls};
