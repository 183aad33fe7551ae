//! Members in one process: stores, consensus, door and transport together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod cable;
mod faults;
mod harness;
mod log;
mod partition;
mod single;
mod three;
