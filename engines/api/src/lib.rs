//! The contract between Conclave and its secrets engines and auth methods: what an engine is asked, what it may touch, what it
//! answers. Knows no storage, encryption, Raft, transport, policy or clock; it has no edge to any Conclave crate.

pub mod cidr;
pub mod duration;
pub mod effect;
pub mod engine;
pub mod env;
pub mod error;
pub mod fields;
pub mod heavy;
pub mod lease;
pub mod login;
pub mod outcome;
pub mod request;
pub mod testkit;
pub mod time;
pub mod token_settings;
pub mod txn;
pub mod watch;

pub use duration::{format_duration, parse_duration};
pub use effect::{
    Action, Bounds, Census, Done, Driver, Effect, Failure, Hidden, Leased, Plan, Target, TargetTls, Terms,
};
pub use engine::{Engine, Route};
pub use env::{Entropy, Env, Millis, Passwords, Workshop};
pub use error::Error;
pub use fields::Fields;
pub use heavy::Heavy;
pub use lease::LeaseSpec;
pub use login::{Class, LoggedIn, Login, Renewal};
pub use outcome::{Outcome, RawBody, Reply, Status};
pub use request::{Mount, Operation, Request};
pub use time::{format_time, parse_time};
pub use token_settings::{TokenSettings, TokenType};
pub use txn::{Changes, Page, Reader, Seen, Stored, Txn, Write};
pub use watch::{ChangedRow, Happening, What};
