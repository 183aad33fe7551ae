//! Who this node may talk to: the members it knows of, by id, with their recorded keys and addresses. This file must
//! not know where the knowledge comes from.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::command::NodeRecord;
use crate::net::PeerIdentity;

/// The live directory of members.
pub struct Peers {
    cluster: String,
    node: u64,
    known: ArcSwap<BTreeMap<u64, NodeRecord>>,
}

impl Peers {
    /// Starts with the contacts a node was given.
    pub fn new(cluster: [u8; 16], node: u64, contacts: &[(u64, NodeRecord)]) -> Self {
        Self {
            cluster: cluster.iter().map(|byte| format!("{byte:02x}")).collect(),
            node,
            known: ArcSwap::from_pointee(contacts.iter().cloned().collect()),
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

    /// Replaces the directory; true if it changed.
    pub fn set(&self, members: BTreeMap<u64, NodeRecord>) -> bool {
        let changed = **self.known.load() != members;
        if changed {
            self.known.store(Arc::new(members));
        }
        changed
    }

    /// A member's record.
    pub fn get(&self, node: u64) -> Option<NodeRecord> {
        self.known.load().get(&node).cloned()
    }

    /// Keys of all members.
    pub fn keys(&self) -> HashSet<[u8; 32]> {
        self.known.load().values().map(|record| record.key_hash).collect()
    }

    /// Whether someone with this identity may speak as `node`.
    pub fn may_speak_as(&self, node: u64, identity: PeerIdentity) -> bool {
        let known = self.known.load();
        match (known.get(&node), identity.key_hash) {
            (Some(record), Some(key_hash)) => record.key_hash == key_hash,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}
