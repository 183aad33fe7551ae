//! The one error type of replication and its stores.

use thiserror::Error;

/// What can go wrong below core.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No leader is known or reachable, or no quorum answers: try again.
    #[error("no leader of the cluster can be reached")]
    NoLeader,
    /// Asked of a node that does not lead.
    #[error("this node does not lead the cluster")]
    NotLeader {
        /// Who does, if known.
        leader: Option<u64>,
    },
    /// The command was certainly not committed: run again.
    #[error("the proposal was not committed")]
    NotCommitted,
    /// The command may or may not have been committed.
    #[error("the outcome of the proposal is unknown")]
    OutcomeUnknown,
    /// A limit was reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// Stored or received bytes do not decode. The node must stop rather than skip them.
    #[error("corrupt {what}: {detail}")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Bytes of a format this build does not know.
    #[error("unknown format {format} of {what}: this build is too old")]
    UnknownFormat {
        /// What was read.
        what: &'static str,
        /// Its format number.
        format: u32,
    },
    /// Not every member reads this yet.
    #[error(
        "not before all members run a version that knows it: it needs cluster version {needed}, this cluster has {current}"
    )]
    TooNew {
        /// The least cluster version that has it.
        needed: u16,
        /// The cluster's.
        current: u16,
    },
    /// The disk failed.
    #[error("storage: {0}")]
    Storage(String),
    /// A peer could not be reached or refused.
    #[error("peer {node}: {detail}")]
    Peer {
        /// Its id.
        node: u64,
        /// What happened.
        detail: String,
    },
    /// A membership change is not allowed now.
    #[error("membership: {0}")]
    Membership(String),
    /// The node is shutting down or its Raft core stopped: nothing was done.
    #[error("replication has stopped: {0}")]
    Stopped(String),
}
