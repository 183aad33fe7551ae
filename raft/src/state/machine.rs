//! Applies log entries to a store, in order and deterministically. This file must not know how the log came to be.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Origin, Outcome};
use crate::error::Error;
use crate::state::{Applied, Store, Views};

/// The state machine over one store.
pub struct Machine {
    store: Arc<dyn Store>,
    views: Views,
    applied: Applied,
    membership: Bytes,
}

/// One committed log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
    /// What it carries.
    pub payload: Payload,
}

/// What a log entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing, as a leader's first entry.
    Blank,
    /// A batch of commands, as `codec::encode_batch` writes it.
    Commands(Bytes),
    /// A membership, opaque here; must not be empty.
    Membership(Bytes),
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applying {
    /// The entry's index.
    pub index: u64,
    /// One outcome for each command in the entry, in order.
    pub outcomes: Vec<(Origin, Outcome)>,
}

impl Machine {
    /// Continues where the store was left.
    ///
    /// # Errors
    /// The store's own.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, Error> {
        let (applied, membership) = store.applied()?;
        Ok(Self {
            views: Views::new(Arc::clone(&store)),
            store,
            applied,
            membership,
        })
    }

    /// Applies entries in one atomic write and returns what became of each, in order.
    ///
    /// # Errors
    /// An entry that does not decode, an unknown format, a gap in the log or a failing store: nothing of the slice is
    /// applied and the node must stop.
    pub fn apply(&mut self, _entries: &[Entry]) -> Result<Vec<Applying>, Error> {
        Err(Error::Stopped("apply is not written yet".to_owned()))
    }

    /// How far the log is applied. `Applied::initial()` with an empty membership means nothing was applied yet, as
    /// the first entry may have index 0.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The last applied membership; empty before the first.
    pub fn membership(&self) -> &Bytes {
        &self.membership
    }

    /// The store, for checkpoints and flushes (both safe while this machine applies).
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Replaces everything by the checkpoint in `dir`.
    ///
    /// # Errors
    /// As `Store::install`; the old state stays.
    pub fn install(&mut self, dir: &Path) -> Result<(), Error> {
        self.store.install(dir)?;
        let (applied, membership) = self.store.applied()?;
        self.applied = applied;
        self.membership = membership;
        self.views.publish();
        Ok(())
    }

    /// A handle for readers.
    pub fn views(&self) -> Views {
        self.views.clone()
    }
}
