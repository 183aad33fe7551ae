//! Replication: commands, rows, logs, snapshots, membership and node-to-node transport, over openraft and RocksDB.
//! Sees sealed bytes only: it has no edge to the barrier and must never gain one.

#[cfg(all(not(debug_assertions), feature = "mutants"))]
compile_error!("a mutant reintroduces a bug on purpose: debug builds only");
#[cfg(all(not(debug_assertions), feature = "next-format"))]
compile_error!("the next format is there to try upgrades: debug builds only");

pub mod codec;
pub mod command;
mod door;
pub mod error;
pub mod local;
pub mod log;
pub mod meter;
pub mod mutant;
pub mod net;
pub mod node;
pub mod replica;
pub mod state;

pub use command::{Command, Condition, Expect, Key, Millis, NodeRecord, Op, Origin, Outcome};
pub use error::Error;
pub use replica::{Change, Member, PeerCall, PeerHandler, Replica, Status};
pub use state::{Applied, Row, Snapshot, View, Walk};
