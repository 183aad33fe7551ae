//! Applies log entries to a store, in order and deterministically. This file must not know how the log came to be.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{CLUSTER_VERSION, decode_batch};
use crate::command::{Origin, Outcome};
use crate::error::Error;
use crate::mutant;
use crate::state::apply::OpenBatch;
use crate::state::cache::Cache;
use crate::state::retained::Kept;
use crate::state::{Applied, Marks, Store, Views};

/// Bytes the cache of row headers may take.
const CACHE_BYTES: usize = 8 << 20;

/// The state machine over one store.
pub struct Machine {
    store: Arc<dyn Store>,
    views: Views,
    marks: Marks,
    cache: Cache,
    stats: Stats,
    kept: Kept,
    applied: Applied,
    membership: Bytes,
    /// A write failed: what the store holds is unknown.
    failed: bool,
}

/// What applying has cost so far, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Commands looked at, whatever became of them.
    pub commands: u64,
    /// Reads of the store that the cache of headers did not spare.
    pub store_gets: u64,
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
        understands(&applied)?;
        let kept = Kept::load(store.snapshot()?)?;
        Ok(Self {
            kept,
            views: Views::new(Arc::clone(&store)),
            store,
            marks: Marks::default(),
            cache: Cache::new(CACHE_BYTES),
            stats: Stats::default(),
            applied,
            membership,
            failed: false,
        })
    }

    /// Applies entries and returns what became of each, in order: in one atomic write, or in as many as there are places at
    /// which a view is wanted.
    ///
    /// # Errors
    /// An entry that does not decode, an unknown format, a gap in the log or a failing store: nothing of the write is
    /// applied and the node must stop.
    pub fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Applying>, Error> {
        let mut results = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let (count, wanted) = self.marks.cut(rest)?;
            let (slice, later) = rest.split_at(count);
            results.append(&mut self.write(slice)?);
            if !wanted.is_empty() {
                self.marks.reached(&wanted, &self.views.latest()?);
            }
            rest = later;
        }
        Ok(results)
    }

    fn write(&mut self, entries: &[Entry]) -> Result<Vec<Applying>, Error> {
        if self.failed {
            return Err(Error::Stopped("a write of the applied state failed".to_owned()));
        }
        let mut fresh = self.is_fresh();
        let mut batch = OpenBatch::new(
            self.store.as_ref(),
            &mut self.cache,
            &mut self.stats,
            &mut self.kept,
            self.applied,
            self.membership.clone(),
        );
        let mut results = Vec::with_capacity(entries.len());
        for entry in entries {
            follows(&batch.applied, entry, fresh)?;
            fresh = false;
            let outcomes = match &entry.payload {
                Payload::Blank => Vec::new(),
                Payload::Commands(bytes) => batch.commands(&decode_batch(bytes)?)?,
                Payload::Membership(bytes) => {
                    batch.membership = checked_membership(bytes)?;
                    Vec::new()
                }
            };
            batch.applied.index = entry.index;
            batch.applied.term = entry.term;
            results.push(Applying {
                index: entry.index,
                outcomes,
            });
        }
        let finished = batch.finish();
        self.failed = finished.is_err();
        let set = finished?;
        let (applied, membership) = (set.applied, set.membership.clone());
        let replaces = set.replaces;
        let recents = self.views.recents();
        if replaces {
            recents.end();
        } else if !mutant::is("stale-row") {
            // The mutant: rows that were read before a write are shown after it.
            recents.now().write(&set);
        }
        if let Err(error) = self.store.write(set) {
            self.failed = true;
            return Err(error);
        }
        if replaces {
            recents.begin();
        }
        self.applied = applied;
        self.membership = membership;
        self.views.publish();
        Ok(results)
    }

    /// Whether nothing was ever applied. The log's first entry may have index 0, so the index alone does not tell.
    pub fn is_fresh(&self) -> bool {
        self.applied == Applied::initial() && self.membership.is_empty()
    }

    /// How far the log is applied.
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
        let recents = self.views.recents();
        recents.end();
        let installed = self.store.install(dir);
        recents.begin();
        installed?;
        self.cache.clear();
        let (applied, membership) = self.store.applied()?;
        understands(&applied)?;
        self.kept = Kept::load(self.store.snapshot()?)?;
        self.applied = applied;
        self.membership = membership;
        self.failed = false;
        self.marks.miss_all();
        self.views.publish();
        Ok(())
    }

    /// What applying has cost since this machine was opened.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Where views behind single commands are asked for.
    pub fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// A handle for readers.
    pub fn views(&self) -> Views {
        self.views.clone()
    }
}

/// A state that a newer version may have written: every member supported that one, so older builds stay away from now on.
fn understands(applied: &Applied) -> Result<(), Error> {
    if applied.cluster_version <= CLUSTER_VERSION {
        return Ok(());
    }
    Err(Error::UnknownFormat {
        what: "cluster version",
        format: u32::from(applied.cluster_version),
    })
}

/// Entries come in order and without a gap; the first may have any index.
fn follows(applied: &Applied, entry: &Entry, fresh: bool) -> Result<(), Error> {
    if fresh || (entry.index == applied.index.saturating_add(1) && entry.term >= applied.term) {
        return Ok(());
    }
    Err(Error::Corrupt {
        what: "log",
        detail: format!(
            "entry {} of term {} cannot follow entry {} of term {}",
            entry.index, entry.term, applied.index, applied.term
        ),
    })
}

/// A copy that does not hold on to the buffer it came in.
fn checked_membership(bytes: &Bytes) -> Result<Bytes, Error> {
    if bytes.is_empty() {
        return Err(Error::Corrupt {
            what: "membership",
            detail: "it is empty".to_owned(),
        });
    }
    Ok(Bytes::copy_from_slice(bytes))
}
