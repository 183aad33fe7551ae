//! What the pipeline hands back to a transport: data in Vault's shape without status lines. It must not know HTTP or
//! gRPC.

use serde_json::{Map, Value};

use crate::backup::Spool;
use crate::logs::Lines;
use crate::watch::Watching;

/// An answer to one request.
pub struct Response {
    /// Names the request in audit records and in the answer.
    pub request_id: String,
    /// Revision of the state the answer stands on, if it stands on any.
    pub revision: Option<u64>,
    /// What is said.
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    /// Done, nothing to say (HTTP 204).
    Empty,
    /// The usual envelope (HTTP 200).
    Envelope(Box<Envelope>),
    /// The envelope for something that is not there, yet has a body (HTTP 404).
    NotFound(Box<Envelope>),
    /// Work goes on in the background (HTTP 202).
    Accepted(Box<Envelope>),
    /// The envelope for what was done in part, as its data says.
    InPart {
        /// HTTP status.
        status: u16,
        /// The envelope.
        envelope: Box<Envelope>,
    },
    /// An object without envelope (HTTP 200): init, seal-status, leader.
    Plain(Map<String, Value>),
    /// Health, whose status code the transport derives from what the client asked for.
    Health(Health),
    /// A body that is no JSON.
    Raw {
        /// HTTP status.
        status: u16,
        /// MIME type.
        content_type: &'static str,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file to be sent and then removed (snapshot save).
    File {
        /// MIME type.
        content_type: &'static str,
        /// The file.
        file: Spool,
    },
    /// Lines to be sent as they come, until they end or the client goes.
    Lines(Lines),
    /// What happens to watched keys, to be sent as it comes.
    Watch(Watching),
}

/// Vault's envelope.
#[derive(Default)]
pub struct Envelope {
    /// Lease of what is handed out; empty without.
    pub lease_id: String,
    /// Whether the lease may be renewed.
    pub renewable: bool,
    /// Seconds the lease lives.
    pub lease_duration: u64,
    /// The data; `None` is JSON null.
    pub data: Option<Map<String, Value>>,
    /// Where a wrapped answer is to be fetched.
    pub wrap_info: Option<Map<String, Value>>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// A token handed out.
    pub auth: Option<Map<String, Value>>,
    /// Whether `data`'s members are repeated at the top level, as Vault's old clients expect of some sys paths.
    pub at_top_level: bool,
}

/// What `sys/health` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether the node belongs to a cluster.
    pub initialized: bool,
    /// Whether it holds no keys.
    pub sealed: bool,
    /// Whether it serves and does not lead.
    pub standby: bool,
    /// Whether a leader is known.
    pub has_leader: bool,
    /// The whole object.
    pub object: Map<String, Value>,
}
