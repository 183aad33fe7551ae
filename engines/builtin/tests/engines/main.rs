//! Tests of the engines from outside, through the contract alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

mod aws_rotation;
mod database_revocation;
mod database_rotation;
#[path = "../../../../targets/tests/servers/harness/mod.rs"]
mod harness;
mod hostile;
mod kv2_model;
mod kv_rows;
mod kv_tune;
mod logins;
mod script;
mod scripts;
mod sshd;
mod transit;
mod transit_backup;
mod transit_halves;
mod transit_public;
