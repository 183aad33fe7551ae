//! Applied state and the formats it is fed with: codec, apply, stores and the replica of one node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod adopt;
mod archive;
mod cluster;
mod codec;
#[cfg(feature = "rocksdb")]
mod disk;
mod local;
mod log;
mod marks;
mod model;
mod rig;
mod rows;
mod stores;
