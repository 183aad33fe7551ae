//! The public port: HTTP/1.1, HTTP/2 and gRPC over one listener. It turns bytes into `core::Request` and
//! `core::Response` into bytes; what a path means is none of its business.

mod accept;
mod body;
mod browsers;
mod connection;
mod decode;
mod encode;
mod form;
mod forwarded;
mod framing;
mod health;
mod inline;
mod json;
mod proxy;
mod receive;
mod service;
mod status;
mod stream;
mod watch;

use std::time::Duration;

pub(crate) use accept::after_accept_error;
pub use accept::{Listener, listen};
pub use body::Body;
pub use forwarded::Forwarding;
pub use json::{JsonLimits, parse as parse_json};
pub use proxy::Trust;
pub use service::{Headers, Origin, Service, Source, Surroundings};

/// Largest request body, as Vault and OpenBao.
pub const MAX_BODY_BYTES: u64 = 32 * 1024 * 1024;
/// Largest head of a request, request line included; HTTP/2's header list likewise.
pub const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Streams one HTTP/2 connection may have open.
pub const MAX_STREAMS: u32 = 128;
/// Connections one listener holds, where the system lets the process open twice as many files.
pub const MAX_CONNECTIONS: usize = 16_384;
/// Connections one address holds; trusted proxies are exempt.
pub const MAX_CONNECTIONS_PER_ADDRESS: u32 = 2_048;

/// How long a peer may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For the PROXY header and the TLS handshake together.
    pub handshake: Duration,
    /// From the first byte of a request, or from the connection's start, to the end of its head.
    pub header: Duration,
    /// Between two pieces of a body.
    pub body: Duration,
    /// Without any request.
    pub idle: Duration,
    /// For the peer to take bytes we send.
    pub write: Duration,
    /// For a request from its head to its answer.
    pub request: Duration,
}

impl Timeouts {
    fn shortest(&self) -> Duration {
        self.header.min(self.body).min(self.idle).min(self.write)
    }
}

impl Default for Timeouts {
    /// OpenBao's where it has one.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            write: Duration::from_secs(60),
            request: Duration::from_secs(90),
        }
    }
}

/// One listener's bounds and trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a peer may take.
    pub timeouts: Timeouts,
    /// Largest request body in bytes.
    pub max_body: u64,
    /// Bounds on a JSON body.
    pub json: JsonLimits,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections of one address (of one /64 in IPv6).
    pub max_per_address: u32,
    /// Whose PROXY headers count.
    pub proxy: Trust,
    /// Whose `X-Forwarded-For` counts.
    pub forwarding: Forwarding,
    /// Whether `sys/metrics` answers without a token.
    pub open_metrics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            max_body: MAX_BODY_BYTES,
            json: JsonLimits::default(),
            max_connections: MAX_CONNECTIONS,
            max_per_address: MAX_CONNECTIONS_PER_ADDRESS,
            proxy: Trust::default(),
            forwarding: Forwarding::default(),
            open_metrics: false,
        }
    }
}
