//! The log as openraft wants it, over any backend: entries are readable when `append` returns and durable when its
//! callback fires; vote and entries share one ordered write-ahead log. This file must not know what entries mean.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::{Stream, TryStreamExt, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use parking_lot::RwLock;

use crate::error::Error;
use crate::log::cache::{Cache, weight};
use crate::log::flusher::Flusher;
use crate::log::format;
use crate::log::sizes::Sizes;
use crate::log::types::{LogEntry, LogId, TypeConfig, Vote, position};
use crate::log::{LogBackend, Slot};
use crate::meter::{Meter, Reading};
use crate::node::offload::Offload;

/// Called with a reason when the node must stop at once: the disk failed or stored bytes are corrupt. The server
/// aborts the process.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Payload bytes in one replication request or one piece of apply.
const PIECE_BYTES: usize = 2 << 20;
/// Bytes read at once of a log that is verified.
const VERIFIED_BYTES: usize = 256 << 10;

/// The Raft log of one node. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn LogBackend>,
    flusher: Flusher,
    syncs: Arc<Meter>,
    state: RwLock<State>,
}

struct State {
    cache: Cache,
    sizes: Sizes,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
}

impl LogStore {
    /// Opens the log; `verify` looks at what is in it. Syncs run on a thread, or by `offload` where it has none.
    ///
    /// # Errors
    /// `Error::Corrupt` when the last entry is damaged, `Error::Storage` when the disk fails. The node must not start then.
    pub fn open(
        backend: Arc<dyn LogBackend>,
        fatal: Fatal,
        offload: &Arc<dyn Offload>,
    ) -> Result<Self, Error> {
        let loaded = backend.load()?;
        let purged = loaded.purged.as_ref().map(format::decode_log_id).transpose()?;
        let behind = loaded.last.filter(|last| *last >= position(purged.as_ref()));
        let last = behind.map(|last| stored(backend.as_ref(), last)).transpose()?;
        let state = State {
            cache: Cache::default(),
            sizes: Sizes::default(),
            vote: loaded.vote.as_ref().map(format::decode_vote).transpose()?,
            committed: loaded.committed.as_ref().map(format::decode_log_id).transpose()?,
            purged,
            last: last.map(|entry| entry.log_id).or(purged),
        };
        let (term, voted_for) = state
            .vote
            .map_or((0, 0), |vote| (vote.leader_id.term, vote.leader_id.voted_for));
        let entries = state.last.map_or(0, |last| last.index + 1);
        tracing::info!(term, voted_for, entries, "the Raft log is open");
        let syncs = Arc::new(Meter::default());
        let flusher = Flusher::start(Arc::clone(&backend), fatal, offload, Arc::clone(&syncs))?;
        Ok(Self {
            shared: Arc::new(Shared {
                backend,
                flusher,
                syncs,
                state: RwLock::new(state),
            }),
        })
    }

    /// Reads every entry once and checks that none is damaged or missing: a hole in the middle must never be taken for the
    /// log's end. None is kept in memory, for of what was there before a start hardly anything is asked for again. Blocks on
    /// the disk. Before it has ended nothing may be appended, and the node may neither vote nor tell anybody what it has.
    ///
    /// # Errors
    /// `Error::Corrupt` when an entry is damaged or missing in the middle (the tail after the last durable entry may
    /// be missing), `Error::Storage` when the disk fails. The node must not start then.
    pub fn verify(&self) -> Result<(), Error> {
        let (mut next, end) = {
            let state = self.shared.state.read();
            (position(state.purged.as_ref()), position(state.last.as_ref()))
        };
        let mut sizes = Sizes::default();
        while next < end {
            let read = self.shared.backend.read(next, end, VERIFIED_BYTES)?;
            if read.is_empty() {
                return Err(missing(next));
            }
            for (index, bytes) in read {
                if index != next {
                    return Err(missing(next));
                }
                let entry = format::decode_entry(index, &bytes).map_err(|e| refuse(&e.to_string()))?;
                sizes.push(index, weight(&entry) as u64);
                next += 1;
            }
        }
        self.shared.state.write().sizes = sizes;
        Ok(())
    }

    /// Last entry in the log, or the last removed one.
    pub fn last(&self) -> Option<LogId> {
        self.shared.state.read().last
    }

    /// Makes everything appended and saved so far durable. Blocks on the disk.
    ///
    /// # Errors
    /// `Error::Storage` when the disk fails.
    pub fn sync(&self) -> Result<(), Error> {
        self.shared.backend.sync()
    }

    /// Lets go of a log that ends before what is applied. An entry that a quorum of others has synced is applied here
    /// before it is synced here, so a power loss can take it from the log and leave it in the state; what then stands
    /// in its place is older and was never committed.
    ///
    /// # Errors
    /// Those of `verify`.
    pub fn catch_up(&self, applied: Option<LogId>) -> Result<(), Error> {
        let Some(applied) = applied.filter(|applied| self.last() < Some(*applied)) else {
            return Ok(());
        };
        tracing::warn!(%applied, "the log ends before the applied state: it goes on behind it");
        self.verify()?;
        self.cut_after(Some(applied))?;
        self.cut(applied)
    }

    /// Removes all entries after `last`.
    fn cut_after(&self, last: Option<LogId>) -> Result<(), Error> {
        let from = last.map_or(0, |id| id.index + 1);
        self.shared.backend.truncate(from)?;
        let mut state = self.shared.state.write();
        state.cache.truncate(from);
        state.sizes.truncate(from);
        // Cutting beyond the end cuts nothing.
        state.last = state.last.min(last).max(state.purged);
        Ok(())
    }

    /// Removes all entries up to `through`.
    fn cut(&self, through: LogId) -> Result<(), Error> {
        let bytes = format::encode_log_id(&through);
        self.shared.backend.purge(through.index, &bytes)?;
        let mut state = self.shared.state.write();
        state.cache.purge(through.index);
        state.sizes.purge(through.index);
        state.purged = Some(through);
        // A snapshot may reach beyond the log: then the log continues after it.
        state.last = state.last.max(Some(through));
        Ok(())
    }

    /// The entry where `expected` should be, or `expected` if there is none: for the bug that takes what a leader sends
    /// behind any entry.
    pub(crate) fn stands_at(&self, expected: Option<LogId>) -> Option<LogId> {
        let index = expected?.index;
        let found = self.chunk(index, index + 1, 1).ok();
        let entry = found.and_then(|found| found.first().map(|entry| entry.log_id));
        entry.or(expected)
    }

    /// Up to which entry the log was removed because a snapshot covers it.
    pub fn purged(&self) -> Option<LogId> {
        self.shared.state.read().purged
    }

    /// How long the flusher's syncs took.
    pub fn syncs(&self) -> Reading {
        self.shared.syncs.read()
    }

    /// Bytes of the entries that are in the log, roughly.
    pub fn bytes(&self) -> u64 {
        self.shared.state.read().sizes.total()
    }

    /// Bytes of the entries at and above `from`, roughly.
    pub fn bytes_since(&self, from: u64) -> u64 {
        self.shared.state.read().sizes.since(from)
    }

    /// The first index from which on the log holds at most `bytes`; `None` if all of it does.
    pub fn newest(&self, bytes: u64) -> Option<u64> {
        self.shared.state.read().sizes.newest(bytes)
    }

    /// Entries of `from..to` as far as `limit` bytes go, at least one if there is any.
    fn piece(&self, from: u64, to: u64, limit: usize) -> Result<Vec<LogEntry>, Error> {
        let mut out = Vec::new();
        let mut size = 0;
        let mut next = from;
        while next < to && size < limit {
            let read = self.chunk(next, to, limit - size)?;
            let Some(last) = read.last() else { break };
            next = last.log_id.index + 1;
            size += read.iter().map(weight).sum::<usize>();
            out.extend(read);
        }
        Ok(out)
    }

    /// The first entries of `from..to` that exist, from memory where possible, as far as `limit` bytes go; `piece` has more.
    fn chunk(&self, from: u64, to: u64, limit: usize) -> Result<Vec<LogEntry>, Error> {
        let (from, to, stored_to) = {
            let state = self.shared.state.read();
            let from = from.max(state.purged.map_or(0, |id| id.index + 1));
            let to = to.min(state.last.map_or(0, |id| id.index + 1));
            let stored_to = to.min(state.cache.first().unwrap_or(u64::MAX));
            if from >= stored_to {
                return Ok(state.cache.first_of(from, to, limit));
            }
            (from, to, stored_to)
        };
        let mut out = Vec::new();
        for (index, bytes) in self.shared.backend.read(from, stored_to, limit)? {
            if index != from + out.len() as u64 {
                return Err(missing(from + out.len() as u64));
            }
            out.push(format::decode_entry(index, &bytes)?);
        }
        if out.is_empty() {
            // The log begins later: all of it is in memory.
            out = self.shared.state.read().cache.first_of(stored_to, to, limit);
        }
        Ok(out)
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let end = self.last().map_or(0, |id| id.index + 1);
        (from, to.min(end))
    }
}

impl State {
    /// Takes in an entry that follows all others.
    fn push(&mut self, entry: LogEntry) {
        self.last = Some(entry.log_id);
        self.sizes.push(entry.log_id.index, weight(&entry) as u64);
        self.cache.push(entry);
    }
}

/// The entry that a backend has at `index`.
fn stored(backend: &dyn LogBackend, index: u64) -> Result<LogEntry, Error> {
    match backend.read(index, index + 1, 1)?.first() {
        Some((found, bytes)) if *found == index => {
            format::decode_entry(index, bytes).map_err(|e| refuse(&e.to_string()))
        }
        _ => Err(missing(index)),
    }
}

fn missing(index: u64) -> Error {
    refuse(&format!("entry {index} is missing"))
}

/// A log that cannot be trusted.
pub(crate) fn refuse(detail: &str) -> Error {
    Error::Corrupt {
        what: "Raft log",
        detail: detail.to_owned(),
    }
}

fn failed(error: Error) -> io::Error {
    io::Error::other(error.to_string())
}

impl LogStore {
    /// The term of the last vote this node gave; 0 for none. Read by whoever vouches that it gave none later: a vote is
    /// seen here before anybody is told of it.
    pub fn vote_term(&self) -> u64 {
        self.shared
            .state
            .read()
            .vote
            .map_or(0, |vote| vote.leader_id.term)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.bounds(&range);
        self.piece(from, to, usize::MAX).map_err(failed)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.state.read().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.piece(start, end, PIECE_BYTES).map_err(failed)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<LogEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.bounds(&range);
        let store = self.clone();
        let pieces = stream::try_unfold(from, move |next| {
            let read = store.piece(next, to, PIECE_BYTES).map_err(failed);
            async move {
                let read = read?;
                let Some(last) = read.last() else { return Ok(None) };
                let next = last.log_id.index + 1;
                Ok::<_, io::Error>(Some((stream::iter(read.into_iter().map(Ok)), next)))
            }
        });
        pieces.try_flatten()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared.state.read();
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = format::encode_vote(vote);
        self.shared.backend.save(Slot::Vote, &bytes).map_err(failed)?;
        let (done, wait) = TypeConfig::oneshot();
        self.shared.flusher.flush(IOFlushed::signal(done));
        wait.await
            .map_err(|_| io::Error::other("the log flusher has ended"))??;
        self.shared.state.write().vote = Some(*vote);
        // Before anybody is told of it: whoever reads the log of a node knows every vote it ever gave.
        let (term, voted_for) = (vote.leader_id.term, vote.leader_id.voted_for);
        tracing::info!(term, voted_for, committed = vote.committed, "a vote is saved");
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else { return Ok(()) };
        let bytes = format::encode_log_id(&committed);
        // Not synced: a lost mark only means that a restart waits for the leader to say what is committed.
        self.shared
            .backend
            .save(Slot::Committed, &bytes)
            .map_err(failed)?;
        self.shared.state.write().committed = Some(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.state.read().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let mut encoded = Vec::with_capacity(entries.len());
        for entry in &entries {
            encoded.push((entry.log_id.index, format::encode_entry(entry).map_err(failed)?));
        }
        self.shared.backend.append(&encoded).map_err(failed)?;
        {
            let mut state = self.shared.state.write();
            for entry in entries {
                state.push(entry);
            }
        }
        self.shared.flusher.flush(callback);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.cut_after(last_log_id).map_err(failed)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.cut(log_id).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::MemoryLog;
    use crate::log::types::{LogPayload, Payload, log_id};
    use crate::node::offload::Threads;

    fn open(backend: &Arc<MemoryLog>) -> LogStore {
        let offload: Arc<dyn Offload> = Arc::new(Threads);
        let backend: Arc<dyn LogBackend> = Arc::<MemoryLog>::clone(backend);
        let log = LogStore::open(backend, Arc::new(|reason: &str| panic!("{reason}")), &offload).unwrap();
        log.verify().unwrap();
        log
    }

    #[test]
    fn an_older_tail_gives_way_to_what_is_applied() {
        let backend = Arc::new(MemoryLog::default());
        let entry = |index| LogEntry {
            log_id: log_id(1, index),
            payload: LogPayload::Blank,
        };
        let entries = (0..10).map(|index| (index, format::encode_entry(&entry(index)).unwrap()));
        backend.append(&entries.collect::<Vec<_>>()).unwrap();
        let log = open(&backend);
        log.catch_up(None).unwrap();
        log.catch_up(Some(log_id(1, 7))).unwrap();
        assert_eq!(
            (log.last(), log.purged()),
            (Some(log_id(1, 9)), None),
            "nothing is missing"
        );
        let applied = Some(log_id(2, 5));
        log.catch_up(applied).unwrap();
        assert_eq!((log.last(), log.purged()), (applied, applied));
        let again = open(&backend);
        assert_eq!((again.last(), again.purged()), (applied, applied));
    }

    #[tokio::test]
    async fn a_piece_is_read_as_far_as_its_bytes_go() {
        const ENTRY: usize = 1 << 20;
        let entry = |index| LogEntry {
            log_id: log_id(1, index),
            payload: LogPayload::Normal(Payload(Bytes::from(vec![7; ENTRY]))),
        };
        let backend = Arc::new(MemoryLog::default());
        let entries = (0..10).map(|index| (index, format::encode_entry(&entry(index)).unwrap()));
        backend.append(&entries.collect::<Vec<_>>()).unwrap();
        assert_eq!(backend.read(0, 10, 1).unwrap().len(), 1);
        assert_eq!(
            backend.read(3, 10, ENTRY + 1).unwrap().len(),
            1,
            "its head counts, too"
        );
        assert_eq!(backend.read(3, 10, 2 * ENTRY).unwrap().len(), 2);

        let mut log = open(&backend);
        log.append([entry(10), entry(11)], IOFlushed::noop())
            .await
            .unwrap();
        let indexes = |from, limit| {
            let read = log.piece(from, 12, limit).unwrap();
            read.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>()
        };
        assert_eq!(indexes(0, 1), [0]);
        assert_eq!(indexes(4, PIECE_BYTES), [4, 5]);
        assert_eq!(
            indexes(9, PIECE_BYTES),
            [9, 10],
            "one from the disk, one from memory"
        );
        assert_eq!(indexes(10, 1), [10]);
        assert_eq!(indexes(0, usize::MAX), (0..12).collect::<Vec<_>>());
    }
}
