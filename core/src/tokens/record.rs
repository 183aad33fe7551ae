//! What is kept of a token. Its id is not: only the HMAC that names its row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use conclave_engine_api::Millis;

use crate::auth::owner_of;
use crate::catalog::Catalog;
use crate::store::layout::ROOT_NAMESPACE;

/// How a token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Stored, renewable, revocable.
    #[default]
    Service,
    /// Sealed into what its holder shows: not stored, not renewable, not revocable.
    Batch,
    /// The same, shown to nobody: of the one request that brought its login along. Nothing can hang on it, and nothing it is
    /// asked about itself is told.
    Inline,
}

impl TokenKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
            Self::Inline => "inline",
        }
    }
}

/// Which login made a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginOrigin {
    /// Id of the mount; without it the token is good for nothing.
    pub mount: u32,
    /// The mount's era: a mount that moved has a new one.
    pub era: u32,
    /// Who logged in, as the method knows them.
    pub alias: String,
    /// What the method keeps for renewals.
    pub internal: Map<String, Value>,
}

/// A stored token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Sealed like the rest of the record: holders of the accessor may look the token up, renew and revoke it.
    pub accessor: String,
    /// Name of the parent's row; `None` for orphans.
    pub parent: Option<String>,
    /// Names of its policies, sorted.
    pub policies: Vec<String>,
    /// Where it was made.
    pub path: String,
    /// What its maker said about it.
    pub meta: BTreeMap<String, String>,
    /// For people.
    pub display_name: String,
    /// 0: unlimited.
    pub num_uses: u64,
    /// How it lives.
    #[serde(default)]
    pub kind: TokenKind,
    /// When it was made.
    pub created: Millis,
    /// Life it was made with.
    pub creation_ttl: Millis,
    /// When it was last renewed; 0 for never.
    pub renewed: Millis,
    /// When it ends; 0 for never (root tokens only).
    pub expires: Millis,
    /// Bound no renewal passes; 0 for the system's.
    pub explicit_max_ttl: Millis,
    /// Life that each renewal gives anew, without end; 0 for none.
    pub period: Millis,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// Networks it is good from; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_cidrs: Vec<String>,
    /// The token role it was made by; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The id of the entity it is of; empty for nobody's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entity: String,
    /// The namespace it is of.
    #[serde(default, skip_serializing_if = "is_root")]
    pub namespace: u32,
    /// When a second factor was shown for it, or for the token it comes of; 0 for never.
    #[serde(default, skip_serializing_if = "is_never")]
    pub factor: Millis,
    /// The login it was made by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginOrigin>,
    /// Whether nothing ever hung on it: no child, no lease, nothing in a cubbyhole. Its end is its own row's then. Who hangs the
    /// first thing on it says so in the same command.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bare: bool,
}

fn is_root(namespace: &u32) -> bool {
    *namespace == ROOT_NAMESPACE
}

fn is_never(at: &Millis) -> bool {
    *at == 0
}

impl TokenRecord {
    /// Whether it has ended by `now`. The leader removes it soon after; until then every node refuses it.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires != 0 && self.expires <= now
    }

    /// Whether no token asked for it: a root token made by `init` or by the holders of shares. It has no lease.
    pub fn is_born_root(&self) -> bool {
        self.path == super::mint::ROOT_PATH
    }

    /// Life left at `now`.
    pub fn ttl(&self, now: Millis) -> Millis {
        if self.expires == 0 {
            0
        } else {
            self.expires.saturating_sub(now)
        }
    }

    /// Whether its namespace, and the mount that let its owner in, are still there, in the place where it did.
    pub fn stands(&self, catalog: &Catalog) -> bool {
        let namespace = catalog.tree().node(self.namespace);
        if namespace.is_none_or(|node| node.record.closing) {
            return false;
        }
        self.login.as_ref().is_none_or(|login| {
            let mount = catalog.mount_by_id(login.mount);
            mount.is_some_and(|mount| mount.logins.era == login.era)
        })
    }

    /// What it hangs on among the parents of tokens: another token, or the mount that let its owner in.
    pub fn owner(&self) -> Option<String> {
        let login = self.login.as_ref();
        let mount = || login.map(|login| owner_of(self.namespace, login.mount, login.era));
        self.parent.clone().or_else(mount)
    }

    /// Whether it may do everything.
    pub fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == "root")
    }
}
