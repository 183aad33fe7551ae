//! The contract between Conclave and its secrets engines: what an engine is asked, what it may touch, what it
//! answers. Knows no storage, encryption, Raft, transport, policy or clock; it has no edge to any Conclave crate.

pub mod duration;
pub mod engine;
pub mod env;
pub mod error;
pub mod fields;
pub mod lease;
pub mod outcome;
pub mod request;
pub mod testkit;
pub mod time;
pub mod txn;

pub use duration::{format_duration, parse_duration};
pub use engine::{Engine, Route};
pub use env::{Entropy, Env, Millis};
pub use error::Error;
pub use fields::Fields;
pub use lease::LeaseSpec;
pub use outcome::{Outcome, RawBody, Reply, Status};
pub use request::{Mount, Operation, Request};
pub use time::format_time;
pub use txn::{Changes, Page, Reader, Seen, Stored, Txn, Write};
