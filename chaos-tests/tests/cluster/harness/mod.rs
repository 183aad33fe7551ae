//! What the scenarios share: processes, questions to them, waiting, writers with a journal, randomness from a seed.

mod api;
mod binary;
mod cluster;
mod journal;
mod node;
mod ports;
mod seed;
mod tools;
mod wait;

pub use api::{Api, Outcome};
pub use binary::conclave;
pub use cluster::{Cluster, SHARES, THRESHOLD};
pub use journal::Writers;
pub use node::{AUDIT, Node};
pub use seed::Seed;
pub use tools::Tool;
pub use wait::{FAILOVER, SOON, eventually};
