//! What the scenarios share: processes, the network between them, questions to them, waiting, writers with a journal, randomness from a seed.

#![allow(dead_code, unused_imports, reason = "each binary of scenarios uses its part")]

mod api;
mod binary;
mod cables;
mod cluster;
mod disk;
mod journal;
mod links;
mod node;
pub mod packages;
pub mod ports;
mod seed;
mod tools;
mod wait;

pub use api::{Api, Lost, Outcome, Reply};
pub use binary::conclave;
pub use cables::{Cables, Lab, sent_again};
pub use cluster::{Cluster, SHARES, THRESHOLD};
pub use disk::{Disk, IN_LOG, IN_STATE, LOSE_ALL, LOSE_SOME, Slot, shim};
pub use journal::Writers;
pub use links::{End, Links, Manner};
pub use node::{AUDIT, Node, Place};
pub use seed::Seed;
pub use tools::Tool;
pub use wait::{FAILOVER, SOON, eventually};
