//! The public gRPC API through real sockets: services and statuses, the SDK over links that fail, and a client in Python.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod failover;
mod python;
mod relay;
mod sdk;
mod services;
mod statuses;
mod support;
mod typed;
mod watch;
