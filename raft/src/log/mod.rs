//! The Raft log of one node: entries, vote and commit mark on one ordered write-ahead log, group-committed by one
//! flusher, with the tail in memory. This folder must not know what entries mean nor how they are sent.

mod cache;
pub(crate) mod durable;
mod flusher;
pub(crate) mod format;
#[cfg(feature = "rocksdb")]
mod mark;
pub mod memory;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod sizes;
mod store;
pub mod types;

use bytes::Bytes;

use crate::error::Error;

pub use memory::MemoryLog;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksLog;
pub use store::{Fatal, LogStore};

/// Where log bytes are kept. Calls that write come from one thread at a time; their effects are ordered as the calls
/// were made, and what survives a crash is a prefix of them.
pub trait LogBackend: Send + Sync + 'static {
    /// What is stored.
    fn load(&self) -> Result<Loaded, Error>;
    /// Writes entries after the last one, visible at once, not yet durable.
    fn append(&self, entries: &[(u64, Bytes)]) -> Result<(), Error>;
    /// Removes all entries at and above `from`.
    fn truncate(&self, from: u64) -> Result<(), Error>;
    /// Removes all entries up to and including `through`, which may lie beyond the last one, and remembers `purged`.
    fn purge(&self, through: u64, purged: &Bytes) -> Result<(), Error>;
    /// Remembers a value beside the entries, not yet durable.
    fn save(&self, slot: Slot, value: &Bytes) -> Result<(), Error>;
    /// Stored entries with `from <= index < to`, in order, as far as `bytes` go: at least one if there is any, and none
    /// behind the one with which they are reached.
    fn read(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<(u64, Bytes)>, Error>;
    /// Makes everything written before this call durable.
    fn sync(&self) -> Result<(), Error>;
    /// Whether `sync` costs nothing and promises nothing, as in memory.
    fn volatile(&self) -> bool;
}

/// The entries that a backend gives when it is asked for as many as `bytes` go.
pub fn within(bytes: usize, entries: impl Iterator<Item = (u64, Bytes)>) -> Vec<(u64, Bytes)> {
    let mut size = 0;
    let mut out = Vec::new();
    for (index, entry) in entries {
        size += entry.len();
        out.push((index, entry));
        if size >= bytes {
            break;
        }
    }
    out
}

/// What a backend holds when it is opened.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The saved vote.
    pub vote: Option<Bytes>,
    /// The saved commit mark.
    pub committed: Option<Bytes>,
    /// The log id up to which entries were removed.
    pub purged: Option<Bytes>,
    /// Index of the last stored entry.
    pub last: Option<u64>,
}

/// A value kept beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The vote.
    Vote,
    /// The commit mark.
    Committed,
}
