//! What an auth method says of who logged in, and what it is asked when their token is renewed. The token itself is core's:
//! an auth method never sees one.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::env::Millis;
use crate::token_settings::TokenSettings;

/// Whether an engine keeps secrets or lets people and machines in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Mounted beneath the root, reached with a token.
    Secret,
    /// Mounted beneath `auth/`; its logins need no token.
    Auth,
}

/// A login that succeeded.
#[derive(Clone, PartialEq)]
pub struct Login {
    /// The one spelling of who logged in, as the method knows them.
    pub alias: String,
    /// For people; shown after the mount's name. Empty: the mount's name alone.
    pub display_name: String,
    /// Shown with the token.
    pub metadata: BTreeMap<String, String>,
    /// What is kept of this login with the name of whoever logged in, for templates of policies.
    pub alias_metadata: BTreeMap<String, String>,
    /// Kept sealed with the token and handed back when it is renewed.
    pub internal: Map<String, Value>,
    /// What the token may be.
    pub token: TokenSettings,
}

/// Shows that there is one, never whose.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// A token of this method that somebody wants to keep longer.
pub struct LoggedIn<'a> {
    /// What the login kept.
    pub internal: &'a Map<String, Value>,
    /// Policies the token has, sorted, with `default` if it was added.
    pub policies: &'a [String],
}

/// Whether a renewed token still is what the method would give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Who logged in is not known any more: nothing is renewed.
    Gone,
    /// What would be given now.
    Life {
        /// Life without an increment; 0: the mount's.
        ttl: Millis,
        /// Longest life since the login; 0: the mount's.
        max_ttl: Millis,
        /// Life that each renewal gives anew; 0: none.
        period: Millis,
    },
}

impl Renewal {
    /// What these settings give.
    pub fn of(settings: &TokenSettings) -> Self {
        Self::Life {
            ttl: settings.ttl,
            max_ttl: settings.max_ttl,
            period: settings.period,
        }
    }
}
