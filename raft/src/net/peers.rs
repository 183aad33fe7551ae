//! Who this node may talk to: the members it knows of, by id, with their recorded keys and addresses. This file must
//! not know where the knowledge comes from.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::command::NodeRecord;
use crate::log::format::MAX_NODES;
use crate::mutant;
use crate::net::PeerIdentity;

/// The live directory of members.
pub struct Peers {
    cluster: String,
    node: u64,
    start: Start,
    known: ArcSwap<BTreeMap<u64, NodeRecord>>,
    /// Whom known members named while this node heard of no leader. Forgotten with the next membership.
    introduced: ArcSwap<BTreeMap<u64, NodeRecord>>,
    starts: ArcSwap<BTreeMap<u64, Start>>,
}

/// One start of a node: its incarnation and random id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Counts the node's starts.
    pub incarnation: u64,
    /// Tells two starts with one number apart.
    pub instance: [u8; 16],
}

impl Start {
    /// As it is sent.
    pub fn to_text(self) -> String {
        format!("{}.{:032x}", self.incarnation, u128::from_be_bytes(self.instance))
    }

    /// As it was sent.
    pub fn from_text(text: &str) -> Option<Self> {
        let (incarnation, instance) = text.split_once('.')?;
        Some(Self {
            incarnation: incarnation.parse().ok()?,
            instance: u128::from_str_radix(instance, 16).ok()?.to_be_bytes(),
        })
    }
}

impl Peers {
    /// Starts with the contacts a node was given.
    pub fn new(cluster: [u8; 16], node: u64, start: Start, contacts: &[(u64, NodeRecord)]) -> Self {
        Self {
            cluster: cluster.iter().map(|byte| format!("{byte:02x}")).collect(),
            node,
            start,
            known: ArcSwap::from_pointee(contacts.iter().cloned().collect()),
            introduced: ArcSwap::default(),
            starts: ArcSwap::default(),
        }
    }

    /// The cluster's id as it is sent.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// This node's id.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// This start of this node.
    pub fn start(&self) -> Start {
        self.start
    }

    /// The starts that the register knows of.
    pub fn set_starts(&self, starts: BTreeMap<u64, Start>) {
        self.starts.store(Arc::new(starts));
    }

    /// Whether a start of `node` is older than one the register knows of, or a twin of it: its disk was set back or
    /// copied.
    pub fn is_set_back(&self, node: u64, start: Start) -> bool {
        let known = self.starts.load().get(&node).copied();
        known.is_some_and(|known| {
            start.incarnation < known.incarnation
                || (start.incarnation == known.incarnation && start.instance != known.instance)
        }) && !mutant::is("cloned-disk")
    }

    /// Replaces the directory; true if it changed.
    pub fn set(&self, members: BTreeMap<u64, NodeRecord>) -> bool {
        let changed = **self.known.load() != members;
        if changed {
            self.known.store(Arc::new(members));
            self.introduced.store(Arc::default());
        }
        changed
    }

    /// Members that a known member named: they may be talked to as well, unless their ids are known; true if that is
    /// new. A member can already do all that one it names can do.
    pub fn introduce(&self, members: BTreeMap<u64, NodeRecord>) -> bool {
        let known = self.known.load();
        let mut introduced = BTreeMap::clone(&self.introduced.load());
        let before = introduced.len();
        let fresh = members.into_iter().filter(|(id, _)| !known.contains_key(id));
        introduced.extend(fresh.take(MAX_NODES));
        let changed = introduced.len() != before;
        if changed {
            self.introduced.store(Arc::new(introduced));
        }
        changed
    }

    /// All members by id.
    pub fn all(&self) -> BTreeMap<u64, NodeRecord> {
        let mut all = BTreeMap::clone(&self.introduced.load());
        all.extend(self.known.load().iter().map(|(id, record)| (*id, record.clone())));
        all
    }

    /// A member's record.
    pub fn get(&self, node: u64) -> Option<NodeRecord> {
        let known = self.known.load().get(&node).cloned();
        known.or_else(|| self.introduced.load().get(&node).cloned())
    }

    /// Keys of all members.
    pub fn keys(&self) -> HashSet<[u8; 32]> {
        self.all().values().map(|record| record.key_hash).collect()
    }

    /// Whether someone with this identity may speak as `node`.
    pub fn may_speak_as(&self, node: u64, identity: PeerIdentity) -> bool {
        match (self.get(node), identity.key_hash) {
            (Some(record), Some(key_hash)) => record.key_hash == key_hash || mutant::is("unchecked-sender"),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_start_or_a_twin_is_set_back() {
        let start = |incarnation, instance| Start {
            incarnation,
            instance: [instance; 16],
        };
        let peers = Peers::new([1; 16], 1, start(1, 1), &[]);
        assert!(!peers.is_set_back(2, start(1, 1)), "nothing is known of it");
        peers.set_starts(BTreeMap::from([(2, start(5, 7))]));
        assert!(peers.is_set_back(2, start(4, 7)));
        assert!(peers.is_set_back(2, start(5, 8)));
        assert!(!peers.is_set_back(2, start(5, 7)));
        assert!(!peers.is_set_back(2, start(6, 8)));
        let sent = start(3, 0x0a);
        assert_eq!(Start::from_text(&sent.to_text()), Some(sent));
        assert_eq!(Start::from_text("3"), None);
    }
}
