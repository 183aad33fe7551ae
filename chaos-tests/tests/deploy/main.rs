//! From nothing to a running cluster, as people do it: the scripts behind `make up`, throw-away clusters, the package, and
//! the commands of the documents as they stand. Knows the binary and the scripts only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

#[path = "../cluster/harness/mod.rs"]
mod harness;

mod balancer;
mod dev;
mod dynamic;
mod helm;
mod hosts;
mod local;
mod observability;
mod orchestrated;
mod package;
mod runbooks;
mod shell;
mod signals;
mod throwaway;
