//! What a transport hands to the pipeline: one request, decoded but not yet trusted. HTTP and gRPC build the same.
//! It must not know either.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use conclave_engine_api::Millis;

/// What the client wants done, before existence decides between create and update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Read,
    /// POST or PUT.
    Write,
    /// PATCH (the transport has checked the content type).
    Patch,
    /// DELETE.
    Delete,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN, or GET with `scan=true`.
    Scan,
    /// GET with `help=1`.
    Help,
}

impl Verb {
    /// Its name, also as a label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Scan => "scan",
            Self::Help => "help",
        }
    }
}

/// The headers of a request, as its transport keeps them: only those are looked at that audit devices are to record.
pub trait Headers: Send + Sync {
    /// Every value of the header of this name, which is in lower case.
    fn values(&self, name: &str) -> Vec<String>;
}

/// A login that comes with the request it is for: whoever it lets in asks this one thing and has no token afterwards.
pub struct InlineLogin {
    /// What is wanted of the auth method: a login is written, unless its method says otherwise.
    pub verb: Verb,
    /// Everything after `/v1/`, percent-encoded.
    pub path: String,
    /// The namespace that is logged in to.
    pub namespace: Option<String>,
    /// What is told to the auth method.
    pub data: Map<String, Value>,
}

/// One request.
pub struct Request {
    /// What is wanted.
    pub verb: Verb,
    /// Everything after `/v1/`, still percent-encoded: the canonicaliser decodes it, once.
    pub path: String,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// The client's token.
    pub token: Option<Zeroizing<String>>,
    /// A login instead of a token.
    pub inline: Option<Box<InlineLogin>>,
    /// Body, with query parameters beneath it for reads.
    pub data: Map<String, Value>,
    /// `X-Vault-Wrap-TTL`.
    pub wrap_ttl: Option<Millis>,
    /// `X-Vault-MFA`: second factors that a login shows, `METHOD[:PASSCODE]` each.
    pub mfa: Vec<Zeroizing<String>>,
    /// Address the request came from, after trusted proxies.
    pub remote: Option<IpAddr>,
    /// Names a write for ten minutes, so that sending it again does not do it again.
    pub idempotency_key: Option<String>,
    /// A large body the transport has put into a file (snapshot restore).
    pub upload: Option<PathBuf>,
    /// Its headers, if it has any.
    pub headers: Option<Box<dyn Headers>>,
}

impl Request {
    /// A request without token, body or address.
    pub fn new(verb: Verb, path: impl Into<String>) -> Self {
        Self {
            verb,
            path: path.into(),
            namespace: None,
            token: None,
            inline: None,
            data: Map::new(),
            wrap_ttl: None,
            mfa: Vec::new(),
            remote: None,
            idempotency_key: None,
            upload: None,
            headers: None,
        }
    }
}
