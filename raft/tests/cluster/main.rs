//! Members in one process: stores, consensus, door and transport together.
#![cfg_attr(not(feature = "rocksdb"), allow(dead_code, unused_imports))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod cable;
mod deaf;
mod faults;
mod harness;
mod log;
mod partition;
#[cfg(feature = "rocksdb")]
mod rogue;
mod single;
mod three;
