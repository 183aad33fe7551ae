//! The openraft types of this crate: what a log entry carries and how nodes, terms and votes are written.
//! This file must not know how any of it is stored or sent.

use std::fmt;

use bytes::Bytes;
use openraft::type_config::alias::{CommittedLeaderIdOf, LeaderIdOf, LogIdOf, StoredMembershipOf, VoteOf};

use crate::command::NodeRecord;

openraft::declare_raft_types!(
    /// Binds openraft to this crate: one log entry carries one encoded batch of commands, outcomes go to their
    /// origins through apply, and leaders follow Raft's rule of one per term.
    pub TypeConfig:
        D = Payload,
        R = (),
        NodeId = u64,
        Node = NodeRecord,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = crate::node::runtime::Seeded,
);

/// Place of an entry in the log: term and index.
pub type LogId = LogIdOf<TypeConfig>;
/// A vote for a node in a term, and whether a quorum granted it.
pub type Vote = VoteOf<TypeConfig>;
/// A log entry in memory.
pub type LogEntry = openraft::Entry<CommittedLeaderIdOf<TypeConfig>, LogPayload>;
/// What a log entry carries: nothing, a batch, or a membership.
pub type LogPayload = openraft::EntryPayload<Payload, u64, NodeRecord>;
/// Voters and learners.
pub type Members = openraft::Membership<u64, NodeRecord>;
/// Voters and learners with the log id that set them.
pub type StoredMembers = StoredMembershipOf<TypeConfig>;

/// An encoded batch of commands (`codec::encode_batch`), opaque here.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A log id from its parts.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(term.into(), index)
}

/// The term of a log id.
pub fn term_of(id: &LogId) -> u64 {
    id.committed_leader_id().term
}

/// A vote from its parts.
pub fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote {
        leader_id: LeaderIdOf::<TypeConfig> {
            term,
            voted_for: node,
        },
        committed,
    }
}

/// Where a log stands as one number: 0 when empty, else the last index + 1. openraft counts entries from 0, everything
/// outside this crate's glue counts positions from 1, so that "nothing" needs no second value.
pub fn position(id: Option<&LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}
