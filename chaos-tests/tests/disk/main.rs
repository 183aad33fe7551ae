//! Clusters of real processes whose disks lose power, fail, fill up, are slow, lie or were damaged: what was acknowledged
//! stays, no vote is taken back, and a node that cannot go on says why. Knows the binary, its files and its API only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

mod audit;
mod damage;
mod faults;
#[path = "../cluster/harness/mod.rs"]
mod harness;
mod power;
mod shim;
mod spool;
mod tmpfs;
