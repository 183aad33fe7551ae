//! One member of a cluster: its life from start to shutdown, its state machine and snapshots, its view of time and of
//! who leads. This folder must not know what commands mean.

pub mod clock;
pub mod config;
mod identity;
pub(crate) mod machine;
mod membership;
mod observe;
pub mod offload;
mod quorum;
pub mod replica;
pub(crate) mod runtime;
pub(crate) mod snapshots;
#[cfg(test)]
mod suite;
mod tend;

pub use clock::{Clock, SystemClock};
pub use config::{Config, SnapshotPolicy, Timings};
pub use offload::{Job, Offload, Threads};
pub use replica::{Parts, RaftReplica};
