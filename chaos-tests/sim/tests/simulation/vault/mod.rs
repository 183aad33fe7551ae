//! A vault: the layers above replication on every node, with real keys, tokens, policies and secrets, and clients that use
//! all of them through every node. Keys and ids come from the system, whose randomness is the seed's in a run.

mod clients;
mod driver;
mod launcher;
mod ledger;
mod target;
mod user;

pub use launcher::start;
pub use ledger::Ledger;
pub use target::Database;
pub use user::{Deed, User};
