//! What an engine is asked, after authentication and authorisation. It must not know tokens or transports; the
//! caller is present only as an opaque scope.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::env::Millis;
use crate::fields::Fields;

/// What is to be done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Write something that does not exist yet.
    Create,
    /// Read.
    Read,
    /// Write something that exists, or that the engine does not distinguish.
    Update,
    /// Merge into what exists (RFC 7396).
    Patch,
    /// Delete.
    Delete,
    /// Names directly beneath a path.
    List,
    /// Names beneath a path at any depth.
    Scan,
    /// Describe the path.
    Help,
}

impl Operation {
    /// Whether this is one of the two writes that `Engine::exists` tells apart.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }

    /// The name used in audit records, as Vault spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Scan => "scan",
            Self::Help => "help",
        }
    }
}

/// One request to an engine.
pub struct Request<'a> {
    /// What to do.
    pub operation: Operation,
    /// Path relative to the mount, without a leading slash; lists may end in `/`.
    pub path: &'a str,
    /// Body and query parameters together.
    pub data: &'a Map<String, Value>,
    /// The mount it came to.
    pub mount: &'a Mount,
    /// Opaque text that stands for the caller's token for as long as it lives: what a cubbyhole hangs on. Empty for
    /// callers without a token.
    pub caller: &'a str,
    /// What people call the caller: for names of accounts, not for decisions.
    pub display_name: &'a str,
    /// Where the request came from, after trusted proxies.
    pub remote: Option<IpAddr>,
}

impl<'a> Request<'a> {
    /// Typed access to `data`.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.data)
    }
}

/// What an engine sees of the mount it serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// Path with a trailing slash, without the namespace.
    pub path: String,
    /// Mount type.
    pub kind: String,
    /// Options, for example `version`.
    pub options: BTreeMap<String, String>,
    /// Life of secrets that name none.
    pub default_lease_ttl: Millis,
    /// Longest life.
    pub max_lease_ttl: Millis,
}
