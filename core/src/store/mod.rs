//! The one place where the barrier meets replication: names and values are opened on the way up and sealed on the way
//! down. Everything above works on plain paths and bytes, everything below on ciphertext.

pub mod clear;
mod draft;
pub mod layout;
mod names;
mod reader;

use std::sync::Arc;

use conclave_barrier::{Barrier, Envelope, RingKeys, SecretBytes};
use conclave_raft::{Outcome, Replica, View};

pub use draft::{CommitError, Draft, EXPIRY_QUEUE, Proposal, expiry_queue};
pub use layout::{Space, Table};
pub use names::NameCache;
pub use reader::SpaceReader;

use crate::error::Error;

/// One view, opened.
#[derive(Clone)]
pub struct Opened {
    view: Arc<View>,
    barrier: Barrier,
    names: Arc<NameCache>,
}

impl Opened {
    /// Joins a view with the keys that open it.
    pub fn new(view: Arc<View>, barrier: Barrier, names: Arc<NameCache>) -> Self {
        Self { view, barrier, names }
    }

    /// The view.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The keys.
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// The rows of one space, as a transaction reads them.
    pub fn space(&self, space: Space) -> SpaceReader<'_> {
        SpaceReader::new(self, space)
    }

    /// The same view with the keys of a ring that is being made beside the others.
    #[must_use]
    pub fn with_ring(&self, ring: RingKeys) -> Self {
        let others = self.barrier.rings().cloned();
        Self {
            view: self.view.clone(),
            barrier: self.barrier.beside(others.chain([ring])),
            names: Arc::default(),
        }
    }

    /// Opens the value of a row of `space`. One that says another ring than that of its place is none: who holds the
    /// cluster's keys alone must not be able to write what a namespace with keys of its own takes for its own.
    pub fn open_value(&self, space: Space, key: &[u8], value: &[u8]) -> Result<SecretBytes, Error> {
        if Envelope::parse(value)?.ring() != space.ring() {
            return Err(Error::internal("a stored value is of another ring than its row"));
        }
        Ok(self.barrier.open_value(space.table as u8, key, value)?)
    }

    /// The sealed key of a path.
    pub fn key(&self, space: Space, path: &str) -> Result<bytes::Bytes, Error> {
        self.names.key(&self.barrier, space, path)
    }
}

/// Sends a proposal to the cluster and reads its outcome. One that changes nothing is done at once, at its view's
/// revision.
pub async fn commit(replica: &dyn Replica, proposal: Proposal) -> Result<Committed, CommitError> {
    if proposal.is_empty() {
        return Ok(Committed {
            revision: proposal.revision(),
            node: 0,
        });
    }
    let command = proposal.into_command(replica.next_origin(), replica.now());
    match replica.propose(command).await {
        Ok(Outcome::Applied { revision, node }) => Ok(Committed { revision, node }),
        Ok(Outcome::Conflict { .. } | Outcome::StaleKey { .. } | Outcome::StaleClock { .. }) => {
            Err(CommitError::Retry)
        }
        Ok(Outcome::Refused { .. }) => Err(CommitError::Refused),
        Ok(Outcome::Denied { reason }) => Err(CommitError::Failed(Error::Invalid(reason))),
        Err(conclave_raft::Error::NotCommitted) => Err(CommitError::Retry),
        Err(error) => Err(CommitError::Failed(error.into())),
    }
}

/// Commits what is tried again later anyway: if another change overtook it, that is contention.
pub async fn commit_once(replica: &dyn Replica, proposal: Proposal) -> Result<(), Error> {
    match commit(replica, proposal).await {
        Ok(_) => Ok(()),
        Err(CommitError::Failed(error)) => Err(error),
        Err(CommitError::Retry | CommitError::Refused) => Err(Error::Contention),
    }
}

/// A proposal that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its revision.
    pub revision: u64,
    /// The id of the node it registered; 0 if it registered none.
    pub node: u64,
}
