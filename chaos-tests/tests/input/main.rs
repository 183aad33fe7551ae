//! Hostile input against a real process over raw sockets: each row has the exact status and leaves no trace. Knows the
//! binary and its HTTP API only; what a client library would tidy up is sent as it stands here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

#[path = "../cluster/harness/binary.rs"]
mod binary;
mod floods;
mod names;
mod node;
mod noise;
mod owners;
mod paths;
#[path = "../cluster/harness/ports.rs"]
#[allow(dead_code, reason = "one at a time is enough")]
mod ports;
mod shares;
mod snapshots;
mod times;
