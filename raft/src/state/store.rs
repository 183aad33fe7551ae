//! What an ordered store of applied state must do. This file must not know which store it is, nor what rows mean.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Key, Millis};
use crate::error::Error;
use crate::state::{Applied, Row, Snapshot};

/// Holds the applied state: rows, due index, change log, and how far the log is applied.
///
/// One writer (the `Machine`); any number of readers on any thread.
pub trait Store: Send + Sync + 'static {
    /// An owned view of everything written so far; later writes and installs do not change it.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error>;
    /// The newest row at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Row>, Error>;
    /// How far the log is applied, and the membership as of there (opaque; empty before the first), from the same
    /// atomic write as the rows.
    fn applied(&self) -> Result<(Applied, Bytes), Error> {
        self.snapshot()?.applied()
    }
    /// Writes all of `set` or nothing. Not durable until `flush`, except that an earlier write is never lost when a
    /// later one survives.
    fn write(&self, set: WriteSet) -> Result<(), Error>;
    /// Makes everything written so far durable.
    fn flush(&self) -> Result<(), Error>;
    /// Makes everything durable and writes a consistent copy into `dir`, which must not exist yet.
    fn checkpoint(&self, dir: &Path) -> Result<(), Error>;
    /// What the checkpoint in `dir` holds, read from the checkpoint itself; fails if it cannot be installed here.
    fn inspect(&self, dir: &Path) -> Result<(Applied, Bytes), Error>;
    /// Replaces everything by the checkpoint in `dir`, which stays. A crash leaves the old state or the new one;
    /// snapshots taken before stay valid.
    fn install(&self, dir: &Path) -> Result<(), Error>;
}

/// One atomic change of a store.
#[derive(Debug, Clone, Default)]
pub struct WriteSet {
    /// Whether everything goes first: rows outside the register (`RESERVED_TABLE`), due index and change log.
    pub replaces: bool,
    /// Rows to write, or to remove where `None`; each key at most once.
    pub rows: Vec<(Key, Option<Row>)>,
    /// Due entries to put (`true`) or to remove; each at most once.
    pub due: Vec<(DueEntry, bool)>,
    /// Change sets to append, by revision, encoded.
    pub changes: Vec<(u64, Bytes)>,
    /// Revisions whose change sets are no longer kept.
    pub trim_changes: Option<Range<u64>>,
    /// How far the log is applied once this is written.
    pub applied: Applied,
    /// The membership as of there.
    pub membership: Bytes,
}

/// An entry of the due index; ordered by queue, then deadline, then key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DueEntry {
    /// The queue, an opaque id per target.
    pub queue: u64,
    /// When it falls due.
    pub deadline: Millis,
    /// The row that falls due.
    pub key: Key,
}
