//! The one door to replicated state: read a view, prove it current, propose a command, see who leads.
//! Callers see sealed bytes only; this file must not know how agreement is reached.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::command::{Command, Millis, NodeRecord, Origin, Outcome};
use crate::error::Error;
use crate::meter::Work;
use crate::state::View;

/// Replicated state as one node sees it.
pub trait Replica: Send + Sync + 'static {
    /// This node's id.
    fn node_id(&self) -> u64;
    /// The origin for the next proposal; never the same twice.
    fn next_origin(&self) -> Origin;
    /// The newest applied state on this node, without proof that it is current.
    fn view(&self) -> Result<Arc<View>, Error>;
    /// A view at least as new as everything acknowledged anywhere before this call (ReadIndex, Raft paper 6.4).
    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, Error>>;
    /// Proposes a command and waits until this node itself has applied it.
    ///
    /// `Err(Error::NotCommitted)` means certainly not applied: run again. `Err(Error::OutcomeUnknown)` means it may
    /// or may not be.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Error>>;
    /// The cluster's clock as this node extrapolates it.
    fn now(&self) -> Millis;
    /// Leadership, term and members, as last seen.
    fn status(&self) -> watch::Receiver<Status>;
    /// Sends a message to a peer's `PeerHandler`; 5 s time-out.
    fn call_peer(&self, node: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, Error>>;
    /// Changes the membership or hands over leadership. Only on the leader; elsewhere `Error::NotLeader`.
    fn change(&self, change: Change) -> BoxFuture<'_, Result<(), Error>>;
    /// Keeps this node's state as it stands right behind the command of this origin, which is yet to be proposed, until
    /// `forget_mark`. All nodes find the same rows there, or have diverged.
    ///
    /// # Errors
    /// `Error::Limit` when too many are kept.
    fn mark(&self, origin: Origin) -> Result<(), Error> {
        let _ = origin;
        Err(Error::Limit("views kept behind commands"))
    }
    /// The state behind the marked command; `None` while it is not applied here.
    ///
    /// # Errors
    /// `Error::NotCommitted` if it was not marked, or this node jumped over it by a snapshot.
    fn marked(&self, origin: Origin) -> Result<Option<Arc<View>>, Error> {
        let _ = origin;
        Err(Error::NotCommitted)
    }
    /// Lets the marked state go.
    fn forget_mark(&self, origin: Origin) {
        let _ = origin;
    }
    /// Whether this node should stand for election. A sealed node stands only when no leader is seen for long.
    fn set_eligible(&self, eligible: bool) {
        let _ = eligible;
    }
    /// What replication has cost since this node started; nothing where nobody measures.
    fn work(&self) -> Work {
        Work::default()
    }
    /// Stops taking part: hands leadership over if it is held, then ends all tasks. Later calls fail with `Stopped`.
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What a node knows about agreement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Current term.
    pub term: u64,
    /// Current leader, if one is known.
    pub leader: Option<u64>,
    /// Whether this node leads and a quorum acknowledged lately.
    pub is_leader: bool,
    /// Last entry in the log.
    pub last_log_index: u64,
    /// Last entry known committed.
    pub committed_index: u64,
    /// Last entry applied here.
    pub applied_index: u64,
    /// Revision of the applied state.
    pub revision: u64,
    /// All members.
    pub members: Vec<Member>,
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Node id.
    pub id: u64,
    /// Register entry.
    pub record: NodeRecord,
    /// Whether it votes.
    pub voter: bool,
    /// On the leader: index up to which its log matches. Elsewhere `None`.
    pub matched_index: Option<u64>,
    /// On the leader: milliseconds since it last acknowledged. Elsewhere `None`.
    pub last_contact_ms: Option<u64>,
}

/// A change that only the leader makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Start replicating to a registered node.
    AddLearner {
        /// Node id.
        node: u64,
    },
    /// Learner to voter.
    Promote {
        /// Node id.
        node: u64,
    },
    /// Voter to learner.
    Demote {
        /// Node id.
        node: u64,
    },
    /// Out of the membership.
    Remove {
        /// Node id.
        node: u64,
    },
    /// Hand leadership to a voter with the whole log; `None` picks one.
    Transfer {
        /// Node id.
        to: Option<u64>,
    },
}

/// A message from one node's core to another's, over the authenticated node-to-node channel.
#[derive(Debug, Clone)]
pub struct PeerCall {
    /// Which message, numbered by core.
    pub kind: u16,
    /// The message, encoded by core. Nothing secret travels in clear.
    pub payload: Bytes,
}

/// Answers peers' calls; implemented by core.
pub trait PeerHandler: Send + Sync + 'static {
    /// `from` is the authenticated sender's node id.
    fn handle(&self, from: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, Error>>;
    /// Whether this node may take leadership that is handed to it (it is unsealed).
    fn willing_to_lead(&self) -> bool;
}
