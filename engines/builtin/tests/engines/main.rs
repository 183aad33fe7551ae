//! Tests of the engines from outside, through the contract alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod aws_rotation;
mod hostile;
mod kv2_model;
mod kv_rows;
mod kv_tune;
mod logins;
mod script;
mod scripts;
mod transit;
mod transit_backup;
