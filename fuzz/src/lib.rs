//! What hostile bytes reach first, as functions that take any bytes and fail by a panic: the decoders of the edges, each
//! with what must hold of its answer. It must not know who finds the bytes: a corpus, a mutator or a fuzzer.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a panic is how a target says that it found something"
)]

mod archive;
mod body;
mod command;
mod config;
mod envelope;
mod grpc;
mod labels;
mod path;
mod policy;
mod shares;
mod statements;
mod tokens;

/// Takes any bytes; panics if what it feeds breaks a promise.
pub type Target = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: [(&str, Target); 12] = [
    ("path", path::run),
    ("policy", policy::run),
    ("body", body::run),
    ("command", command::run),
    ("archive", archive::run),
    ("shares", shares::run),
    ("envelope", envelope::run),
    ("config", config::run),
    ("labels", labels::run),
    ("grpc", grpc::run),
    ("tokens", tokens::run),
    ("statements", statements::run),
];
