//! The way into consensus: commands and reads of this node are gathered, sent to the leader many at a time, and
//! answered from this node's own apply. This folder must not know what commands mean.
//!
//! `waiters` knows who waits and which term a command is fenced to; `door` is the node's side, `desk` the leader's
//! side, `link` the stream between them, `sessions` the leader's memory of those streams, `proof` how it proves that it
//! leads.

pub(crate) mod desk;
#[allow(clippy::module_inception, reason = "the door of the folder `door`")]
pub(crate) mod door;
pub(crate) mod link;
pub(crate) mod proof;
pub(crate) mod sessions;
mod waiters;

pub use waiters::Waiters;
