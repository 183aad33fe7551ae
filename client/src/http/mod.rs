//! Client of the Vault HTTP API, for our own servers, OpenBao and Vault alike. Knows no engine and no command line.

mod builder;
mod calls;
mod client;
mod error;
pub mod json;
mod preview;
mod request;
mod secret;
mod tls;
pub mod url;

pub use builder::Builder;
pub use calls::Answer;
pub use client::Client;
pub use error::{Error, Status};
pub use json::{Fields, Json};
pub use preview::Preview;
pub use request::{Body, Request, Response};
pub use secret::{Auth, Secret, WrapInfo};
pub use tls::{ClientPem, Tls, plain};

/// Largest answer kept in memory, in bytes. Snapshots are streamed and not bound by it.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Header that carries the token.
pub const TOKEN_HEADER: &str = "X-Vault-Token";
