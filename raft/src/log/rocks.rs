//! The log in a RocksDB instance of its own: one column family, one write-ahead log for entries and vote, synced by
//! `flush_wal`. This file must not know what the bytes mean.
//!
//! Keys: `e | index u64` for entries, `m | v` vote, `m | c` commit mark, `m | p` purge mark.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{
    DB, DBCompressionType, DBRecoveryMode, Direction, ErrorKind, IteratorMode, Options, ReadOptions,
    WriteBatch,
};

use crate::error::Error;
use crate::log::format::{decode_log_id, decode_vote};
use crate::log::mark::Mark;
use crate::log::store::refuse;
use crate::log::types::position;
use crate::log::{Loaded, LogBackend, Slot, within};
use crate::mutant;

/// How often the high-water mark follows the log; each time costs one more sync.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// Memtable of the log; the write-ahead log grows to about this before it is replaced.
const WRITE_BUFFER: usize = 4 << 20;

const ENTRY: u8 = b'e';
const VOTE: &[u8] = b"mv";
const COMMITTED: &[u8] = b"mc";
const PURGED: &[u8] = b"mp";

/// A log on disk.
pub struct RocksLog {
    db: DB,
    marked: Mutex<Marked>,
}

struct Marked {
    mark: Mark,
    /// Position of the log's end as appended.
    end: u64,
    /// Term of the vote as saved.
    term: u64,
    /// Counts cuts: a sync that began before a cut must not raise the mark after it.
    cuts: u64,
    /// When the mark last followed the log since this start.
    written: Option<Instant>,
}

impl RocksLog {
    /// Opens the log in `dir`, which is made if missing.
    ///
    /// # Errors
    /// `Error::Corrupt` when the log ends before its high-water mark or holds an older vote than it had, `Error::Storage` when RocksDB refuses.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(|e| Error::Storage(format!("{}: {e}", dir.display())))?;
        let db = DB::open(&options(), dir.join("db")).map_err(storage)?;
        let mark = Mark::open(dir.join("mark"))?;
        let log = Self {
            db,
            marked: Mutex::new(Marked {
                mark,
                end: 0,
                term: 0,
                cuts: 0,
                written: None,
            }),
        };
        let loaded = log.load()?;
        let (end, term) = (end_of(&loaded)?, term_of(loaded.vote.as_ref())?);
        let mut marked = log.marked.lock();
        if term < marked.mark.term() {
            return Err(refuse(&format!(
                "a vote in term {} was durable, one in term {term} is left",
                marked.mark.term()
            )));
        }
        if end < marked.mark.position() {
            return Err(refuse(&format!(
                "{} entries were durable, {end} are left",
                marked.mark.position()
            )));
        }
        (marked.end, marked.term) = (end, term);
        drop(marked);
        Ok(log)
    }

    fn put(&self, batch: WriteBatch) -> Result<(), Error> {
        self.db.write(batch).map_err(storage)
    }
}

impl LogBackend for RocksLog {
    fn load(&self) -> Result<Loaded, Error> {
        let get = |key| {
            self.db
                .get(key)
                .map(|value| value.map(Bytes::from))
                .map_err(storage)
        };
        let mut newest = self
            .db
            .iterator(IteratorMode::From(&key(u64::MAX), Direction::Reverse));
        let last = match newest.next() {
            Some(found) => index_of(&found.map_err(storage)?.0),
            None => None,
        };
        Ok(Loaded {
            vote: get(VOTE)?,
            committed: get(COMMITTED)?,
            purged: get(PURGED)?,
            last,
        })
    }

    fn append(&self, entries: &[(u64, Bytes)]) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        for (index, bytes) in entries {
            batch.put(key(*index), bytes);
        }
        self.put(batch)?;
        if let Some((last, _)) = entries.last() {
            self.marked.lock().end = last + 1;
        }
        Ok(())
    }

    fn truncate(&self, from: u64) -> Result<(), Error> {
        let mut marked = self.marked.lock();
        marked.cuts += 1;
        if marked.mark.position() > from {
            let term = marked.mark.term();
            marked.mark.set(from, term)?;
        }
        let mut batch = WriteBatch::default();
        for index in from..marked.end {
            batch.delete(key(index));
        }
        self.put(batch)?;
        marked.end = marked.end.min(from);
        Ok(())
    }

    fn purge(&self, through: u64, purged: &Bytes) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.delete_range(key(0), key(through.saturating_add(1)));
        batch.put(PURGED, purged);
        self.put(batch)?;
        // Files that hold nothing else go at once; the mark must be durable before, or entries would seem to be missing.
        self.db.flush_wal(true).map_err(storage)?;
        self.db
            .delete_file_in_range(key(0), key(through))
            .map_err(storage)?;
        let mut marked = self.marked.lock();
        marked.end = marked.end.max(through + 1);
        Ok(())
    }

    fn save(&self, slot: Slot, value: &Bytes) -> Result<(), Error> {
        let key = match slot {
            Slot::Vote => VOTE,
            Slot::Committed => COMMITTED,
        };
        self.db.put(key, value).map_err(storage)?;
        if slot == Slot::Vote {
            self.marked.lock().term = term_of(Some(value))?;
        }
        Ok(())
    }

    fn read(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(key(from));
        bounds.set_iterate_upper_bound(key(to));
        // Entries are read once, at a start: kept, they would be a third of a node's heap for as long as it runs.
        bounds.fill_cache(false);
        let mut failed = None;
        let mut found = self.db.iterator_opt(IteratorMode::Start, bounds);
        let entries = std::iter::from_fn(|| match found.next()? {
            Ok((key, value)) => index_of(&key).map(|index| (index, Bytes::from(value))),
            Err(error) => {
                failed = Some(storage(error));
                None
            }
        });
        let out = within(bytes, entries);
        failed.map_or(Ok(out), Err)
    }

    fn sync(&self) -> Result<(), Error> {
        let (end, term, cuts, due) = {
            let marked = self.marked.lock();
            // A vote is rare and must never be forgotten: the mark follows it at once.
            let late = marked.written.is_none_or(|at| at.elapsed() >= MARK_INTERVAL);
            let due = late || marked.term > marked.mark.term();
            (marked.end, marked.term, marked.cuts, due)
        };
        // The mutant writes all the same: only a loss of power tells them apart.
        let durably = !mutant::is("skip-fsync");
        self.db.flush_wal(durably).map_err(storage)?;
        if due {
            let mut marked = self.marked.lock();
            let position = match marked.cuts == cuts {
                true => end.max(marked.mark.position()),
                false => marked.mark.position(),
            };
            marked.mark.set(position, term)?;
            marked.written = Some(Instant::now());
        }
        Ok(())
    }

    fn volatile(&self) -> bool {
        false
    }
}

/// Position after the last entry or the purge mark, whichever is later.
fn end_of(loaded: &Loaded) -> Result<u64, Error> {
    let purged = loaded.purged.as_ref().map(decode_log_id).transpose()?;
    let purged = position(purged.as_ref());
    Ok(purged.max(loaded.last.map_or(0, |last| last + 1)))
}

/// Term of an encoded vote, 0 without one.
fn term_of(vote: Option<&Bytes>) -> Result<u64, Error> {
    let vote = vote.map(decode_vote).transpose()?;
    Ok(vote.map_or(0, |vote| vote.leader_id.term))
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // A torn tail is normal after a crash; a hole is caught by the mark and by reading every entry at open.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    // Writes stay in memory until the flusher writes and syncs them in one go.
    options.set_manual_wal_flush(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(WRITE_BUFFER);
    // Small files, and few that overlap: what is purged goes as whole files.
    options.set_target_file_size_base(WRITE_BUFFER as u64);
    options.set_level_zero_file_num_compaction_trigger(2);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options
}

fn key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    let [_, rest @ ..] = &mut key;
    *rest = index.to_be_bytes();
    key
}

fn index_of(key: &[u8]) -> Option<u64> {
    let (first, rest) = key.split_first()?;
    match *first == ENTRY {
        true => rest.try_into().ok().map(u64::from_be_bytes),
        false => None,
    }
}

fn storage(error: rocksdb::Error) -> Error {
    match error.kind() {
        ErrorKind::Corruption => refuse(&error.into_string()),
        _ => Error::Storage(format!("Raft log: {error}")),
    }
}
