//! What is kept of a namespace: its number, its place in the tree, and whether it is locked or ending.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::namespaces::id;
use crate::store::layout::{RING, ROOT_NAMESPACE, ring_of};

/// A namespace as stored, among the root's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Its number in keys; never used again.
    pub number: u32,
    /// Shown to clients.
    pub uuid: String,
    /// From the root, with a slash at its end; empty for the root itself.
    pub path: String,
    /// What people say of it.
    pub custom_metadata: BTreeMap<String, String>,
    /// Whether it has ended and what is in it is being removed.
    #[serde(default)]
    pub closing: bool,
    /// The ring of keys of the namespace it lies in; 0 for the cluster's.
    #[serde(default, skip_serializing_if = "is_clusters")]
    pub parent_ring: u16,
    /// Whether it ends without its keys: all that they sealed is removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wiped: bool,
    /// Digest of the key that opens its API again, hexadecimal, while it is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

impl NamespaceRecord {
    /// The root, which is stored nowhere.
    pub fn root() -> Self {
        Self::default()
    }

    /// Its id, as clients see it.
    pub fn id(&self) -> String {
        id::text_of(self.number)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.number == ROOT_NAMESPACE
    }

    /// The ring of keys that seals what is in it.
    pub fn ring(&self) -> u16 {
        ring_of(self.number)
    }

    /// Whether it has a seal of its own.
    pub fn is_sealable(&self) -> bool {
        self.ring() != self.parent_ring
    }

    /// Its own name, without a slash.
    pub fn name(&self) -> &str {
        let path = self.path.trim_end_matches('/');
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// The path of the namespace it lies in.
    pub fn parent_path(&self) -> &str {
        let end = self.path.len().saturating_sub(self.name().len() + 1);
        self.path.get(..end).unwrap_or_default()
    }

    /// Where `other` lies as seen from here: empty for itself, `None` unless it is this one or beneath it.
    pub fn way_to<'n>(&self, other: &'n Self) -> Option<&'n str> {
        other.path.strip_prefix(self.path.as_str())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_clusters(ring: &u16) -> bool {
    *ring == RING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> NamespaceRecord {
        NamespaceRecord {
            number: 1,
            path: path.to_owned(),
            ..NamespaceRecord::default()
        }
    }

    #[test]
    fn places_in_the_tree() {
        let deep = at("a/b/");
        assert_eq!((deep.name(), deep.parent_path()), ("b", "a/"));
        assert_eq!((at("a/").name(), at("a/").parent_path()), ("a", ""));
        assert_eq!(at("a/").way_to(&deep), Some("b/"));
        assert_eq!(NamespaceRecord::root().way_to(&deep), Some("a/b/"));
        assert_eq!(deep.way_to(&deep), Some(""));
        assert_eq!(deep.way_to(&at("a/")), None);
        assert_eq!(at("a/").way_to(&at("ab/")), None);
    }
}
