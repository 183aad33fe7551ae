//! What an engine says about the life of a secret it hands out. The lease itself is core's.

use crate::env::Millis;

/// The life an engine gives a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
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
