//! The public port through real sockets, with a scripted handler behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod bad_input;
mod browsers;
mod connections;
mod dev;
mod envelope;
#[cfg(feature = "example-engine")]
mod example;
mod http2_abuse;
mod support;
