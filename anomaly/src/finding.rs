//! What a rule found: about whom, why, and what shows it. Names are in it as they were told; it is not for metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::key::Key;
use crate::rule::{Kind, Severity};

/// What is found unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Somebody.
    Identity,
    /// A name that was tried.
    Name,
    /// A network.
    Network,
    /// A mount.
    Mount,
}

/// Something that shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Evidence {
    /// A number.
    Count(u64),
    /// A name, a path, a network, a time of day.
    Text(String),
    /// Several of them, the first only.
    Texts(Vec<String>),
}

impl From<u32> for Evidence {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl From<u64> for Evidence {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f32> for Evidence {
    fn from(count: f32) -> Self {
        Self::Count(count.round() as u64)
    }
}

impl From<String> for Evidence {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Evidence {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

/// Something unusual.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which rule found it.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is about ...
    pub subject: Subject,
    /// ... and which: hashed,
    pub key: Key,
    /// and as it was told.
    pub name: String,
    /// The token of the last request that belongs to it; 0 for none.
    pub token: Key,
    /// Number of the namespace of that request.
    pub namespace: u32,
    /// Number of its mount; 0 for none.
    pub mount: u32,
    /// When, on the cluster's clock.
    pub at: Millis,
    /// Whether the same was found before and goes on: what is stored is brought up to date, and nobody told again.
    pub again: bool,
    /// Why, in a sentence.
    pub explanation: String,
    /// What shows it.
    pub evidence: BTreeMap<String, Evidence>,
}
