//! The heart of Conclave: the one pipeline every request takes, tokens, policies, mounts, the seal and the jobs of the
//! leader. Knows no transport and no consensus: it meets replicated state through `raft::Replica` alone.

mod admission;
mod answer;
mod answered;
pub mod audit;
pub mod backup;
pub mod canon;
pub mod catalog;
mod ceremony;
mod clocktext;
pub mod core;
mod digest;
mod entropy;
pub mod error;
mod help;
mod jobs;
pub use jobs::{Rewrapped, Round};
mod latch;
pub mod launcher;
mod members;
pub mod metrics;
mod pipeline;
pub mod policy;
mod readiness;
pub mod request;
pub mod response;
mod rights;
mod room;
pub mod routes;
pub mod seal;
mod session;
pub mod store;
mod sys;
pub mod tokens;
mod trail;
mod work;

pub use crate::core::{Core, Settings};
pub use digest::StateDigest;
pub use error::Error;
pub use launcher::{Launcher, Membership};
pub use pipeline::own_routes;
pub use request::{Request, Verb};
pub use response::{Body, Envelope, Health, Response};
pub use seal::{Initialized, PeerUnseal, Threshold};
pub use sys::JoinStep;
