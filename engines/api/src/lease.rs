//! What an engine says about the life of a secret it hands out. The lease itself is core's.

use std::fmt;

use crate::env::Millis;

/// The life an engine gives a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct LeaseSpec {
    /// How long it lives.
    pub ttl: Millis,
    /// Longest life including renewals.
    pub max_ttl: Millis,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// What the engine needs to renew or revoke it, kept sealed.
    pub internal: serde_json::Map<String, serde_json::Value>,
}

/// Shows the times, never what the engine keeps.
impl fmt::Debug for LeaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseSpec")
            .field("ttl", &self.ttl)
            .field("max_ttl", &self.max_ttl)
            .field("renewable", &self.renewable)
            .finish_non_exhaustive()
    }
}
