//! Applied state: rows, the due index and the change log, in an ordered store. Deterministic: equal logs give
//! byte-equal rows. This folder must not know consensus, clocks, randomness or async.

mod adopt;
mod apply;
mod archive;
mod cache;
mod changes;
mod clock;
mod counter;
mod cow;
mod digest;
mod machine;
mod marks;
mod memory;
mod recent;
mod register;
mod retained;
#[cfg(feature = "rocksdb")]
mod rocks;
mod row;
mod staged;
mod staging;
mod store;
mod views;

pub use archive::{
    ARCHIVE_FORMAT, ArchiveCounts, ArchiveHead, ArchiveItem, MAX_ARCHIVE, read_archive, write_archive,
};
pub use changes::{ChangeOp, ChangeSet, Changes, MAX_CHANGES, RowChange};
pub use clock::{MAX_SKEW, MAX_STEP};
pub use counter::counter_value;
pub use digest::digest;
pub use machine::{Applying, Entry, Machine, Payload, Stats};
pub use marks::Marks;
pub use memory::MemoryStore;
pub use register::{
    RESERVED_TABLE, RegisteredNode, find_node, is_forgotten, registered_node, registered_nodes,
};
pub use retained::{RETAINED_CHANGE_BYTES, RETAINED_CHANGES};
#[cfg(feature = "rocksdb")]
pub use rocks::RocksStore;
pub use staging::{MAX_STAGED_CHUNK, STAGING_TABLE, staged_chunk_key, staging_range};
pub use store::{DueEntry, Store, WriteSet};
pub use views::Views;

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Key, Millis};
use crate::error::Error;
use crate::state::recent::Recent;

/// A row as stored: raft's clear header and an opaque value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What kind of record the value is, for the owner of the table.
    pub kind: u8,
    /// Revision of the command that last wrote it.
    pub revision: u64,
    /// Revision of the command that created it or renewed its generation.
    pub generation: u64,
    /// Data-key term of the value; 0 when not sealed.
    pub term: u32,
    /// When it falls due; 0 for never.
    pub deadline: Millis,
    /// The value, opaque here.
    pub value: Bytes,
}

/// What else a view knows besides rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Index of the last applied log entry.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Number of commands ever applied; the unit of `X-Vault-Index`, watch and optimistic checks.
    pub revision: u64,
    /// The cluster's clock: the greatest time any applied entry carried.
    pub cluster_time: Millis,
    /// Least accepted data-key term.
    pub min_term: u32,
    /// Format version every member supports.
    pub cluster_version: u16,
}

/// One consistent, owned snapshot of the applied state. Cheap to share.
pub struct View {
    snapshot: Arc<dyn Snapshot>,
    applied: Applied,
    recent: Arc<Recent>,
}

/// Looks at one row; `false` ends the scan.
pub type RowVisitor<'v> = dyn FnMut(&[u8], Row) -> Result<bool, Error> + 'v;

/// Where a walk over keys goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Walk {
    /// To the key after this one.
    Next,
    /// To the first key at or after that one, which must come after this one.
    Skip(Vec<u8>),
    /// Nowhere.
    End,
}

/// Looks at one key.
pub type KeyVisitor<'v> = dyn FnMut(&[u8]) -> Result<Walk, Error> + 'v;

/// What a store's snapshot can do.
pub trait Snapshot: Send + Sync {
    /// The row at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Row>, Error>;
    /// Calls `visit` for keys of rows at or after `from` and before `to`, in order; it says where to go on.
    fn walk(&self, from: &[u8], to: &[u8], visit: &mut KeyVisitor<'_>) -> Result<(), Error>;
    /// How many rows there are at or after `from` and before `to`. Looks at the key of each.
    fn count(&self, from: &[u8], to: &[u8]) -> Result<u64, Error>;
    /// Up to `limit` entries of a queue's due index with `deadline <= until`, oldest first.
    fn due(&self, queue: u64, until: Millis, limit: usize) -> Result<Vec<(Millis, Key)>, Error> {
        self.due_from(queue, 0, until, limit)
    }
    /// The same of those with `deadline >= from`: whoever knows that there are none before has a store pass over nothing that
    /// was removed there.
    fn due_from(
        &self,
        queue: u64,
        from: Millis,
        until: Millis,
        limit: usize,
    ) -> Result<Vec<(Millis, Key)>, Error>;
    /// Up to `limit` queue ids greater than `after` that have an entry.
    fn queues(&self, after: Option<u64>, limit: usize) -> Result<Vec<u64>, Error>;
    /// Calls `visit` for each row at or after `from` and before `to` (`None`: to the end), in key order, until it
    /// answers `false`.
    fn scan(&self, from: &[u8], to: Option<&[u8]>, visit: &mut RowVisitor<'_>) -> Result<(), Error>;
    /// Calls `visit` for each entry of the whole due index, in order, until it answers `false`.
    fn scan_due(&self, visit: &mut dyn FnMut(DueEntry) -> Result<bool, Error>) -> Result<(), Error>;
    /// Up to `limit` encoded change sets with revisions from `from` on; `View::changes` decodes them.
    fn change_sets(&self, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, Error>;
    /// How far the log was applied, and the membership as of there (empty before the first).
    fn applied(&self) -> Result<(Applied, Bytes), Error>;
}

impl Applied {
    /// Before anything was applied: format version 1 is what every build supports.
    pub fn initial() -> Self {
        Self {
            cluster_version: 1,
            ..Self::default()
        }
    }
}

impl View {
    /// Joins a snapshot with what was applied when it was taken.
    pub fn new(snapshot: Arc<dyn Snapshot>, applied: Applied) -> Self {
        let recent = Arc::new(Recent::new(0));
        Self::sharing(snapshot, applied, recent)
    }
    /// A view that shares rows it reads with others.
    pub(crate) fn sharing(snapshot: Arc<dyn Snapshot>, applied: Applied, recent: Arc<Recent>) -> Self {
        Self {
            snapshot,
            applied,
            recent,
        }
    }
    /// Position of this view.
    pub fn applied(&self) -> Applied {
        self.applied
    }
    /// The row at `key`.
    ///
    /// # Errors
    /// The store's own.
    pub fn row(&self, key: &[u8]) -> Result<Option<Row>, Error> {
        self.recent
            .get(key, self.applied.revision, || self.snapshot.get(key))
    }
    /// The rows, from the store itself.
    pub fn rows(&self) -> &dyn Snapshot {
        self.snapshot.as_ref()
    }
}
