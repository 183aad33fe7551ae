//! A log in memory that knows what of it was synced. Writes are ordered: what a power loss leaves is what was synced and
//! some of what was written after it, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use conclave_raft::Error;
use conclave_raft::log::{Loaded, LogBackend, Slot, within};
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::plan::Mutant;
use crate::world::World;

pub struct SimLog {
    world: Arc<World>,
    node: u64,
    disk: Arc<Disk>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    live: Content,
    durable: Content,
    /// Written and not synced.
    pending: Vec<Write>,
    /// How many of them a sync has answered for all the same: none, but under a mutant.
    answered: usize,
}

/// What a log holds at one moment.
#[derive(Default, Clone)]
pub struct Content {
    entries: BTreeMap<u64, Bytes>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<Bytes>,
}

enum Write {
    Append(Vec<(u64, Bytes)>),
    Truncate(u64),
    Purge(u64, Bytes),
    Vote(Bytes),
    Committed(Bytes),
}

/// The fields of an entry that invariants look at: `crc u32 | format u16 | kind u8 | term u64 | index u64 | payload`.
pub fn term_of(entry: &Bytes) -> u64 {
    u64::from_be_bytes(entry[7..15].try_into().unwrap())
}

impl SimLog {
    pub fn new(world: Arc<World>, node: u64, disk: Arc<Disk>) -> Self {
        Self {
            world,
            node,
            disk,
            inner: Mutex::default(),
        }
    }

    /// Writes that are not synced.
    pub fn unsynced(&self) -> usize {
        self.inner.lock().pending.len()
    }

    /// The power fails: of what was not synced only the first `kept` writes are there.
    pub fn lose_power(&self, kept: usize) {
        let mut inner = self.inner.lock();
        let pending = std::mem::take(&mut inner.pending);
        for write in pending.into_iter().take(kept) {
            inner.durable.apply(&write);
        }
        if self.world.is(Mutant::ForgottenVote) {
            inner.durable.vote = None;
        }
        inner.live = inner.durable.clone();
        inner.answered = 0;
    }

    /// A process opens it: recovery makes durable what it found, as RocksDB's does.
    pub fn recovered(&self) {
        let mut inner = self.inner.lock();
        inner.pending.clear();
        inner.answered = 0;
        inner.durable = inner.live.clone();
    }

    /// All it holds.
    pub fn saved(&self) -> Content {
        self.inner.lock().live.clone()
    }

    /// Holds what was saved, and nothing that came after.
    pub fn set_back(&self, to: Content) {
        let mut inner = self.inner.lock();
        inner.pending.clear();
        inner.answered = 0;
        inner.durable = to.clone();
        inner.live = to;
    }

    /// Terms of all entries, by index.
    pub fn terms(&self) -> BTreeMap<u64, u64> {
        let inner = self.inner.lock();
        let entries = inner.live.entries.iter();
        entries.map(|(index, entry)| (*index, term_of(entry))).collect()
    }

    /// Index of the last entry.
    pub fn last(&self) -> Option<u64> {
        self.inner.lock().live.entries.keys().next_back().copied()
    }

    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.inner.lock().live.entries.get(&index).map(term_of)
    }

    fn write(&self, write: Write) {
        let mut inner = self.inner.lock();
        inner.live.apply(&write);
        inner.pending.push(write);
    }
}

impl Content {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Append(entries) => self.entries.extend(entries.iter().cloned()),
            Write::Truncate(from) => drop(self.entries.split_off(from)),
            Write::Purge(through, purged) => {
                self.entries = self.entries.split_off(&(through + 1));
                self.purged = Some(purged.clone());
            }
            Write::Vote(vote) => self.vote = Some(vote.clone()),
            Write::Committed(committed) => self.committed = Some(committed.clone()),
        }
    }
}

impl LogBackend for SimLog {
    fn load(&self) -> Result<Loaded, Error> {
        let inner = self.inner.lock();
        Ok(Loaded {
            vote: inner.live.vote.clone(),
            committed: inner.live.committed.clone(),
            purged: inner.live.purged.clone(),
            last: inner.live.entries.keys().next_back().copied(),
        })
    }

    fn append(&self, entries: &[(u64, Bytes)]) -> Result<(), Error> {
        for (index, entry) in entries {
            let before = index.checked_sub(1).and_then(|before| self.term_at(before));
            self.write(Write::Append(vec![(*index, entry.clone())]));
            self.world
                .check(|all| all.log_matching.appended(self.node, *index, entry, before));
        }
        Ok(())
    }

    fn truncate(&self, from: u64) -> Result<(), Error> {
        self.write(Write::Truncate(from));
        Ok(())
    }

    fn purge(&self, through: u64, purged: &Bytes) -> Result<(), Error> {
        self.write(Write::Purge(through, purged.clone()));
        self.world.fired("log purged");
        Ok(())
    }

    fn save(&self, slot: Slot, value: &Bytes) -> Result<(), Error> {
        match slot {
            Slot::Committed => self.write(Write::Committed(value.clone())),
            Slot::Vote => {
                self.write(Write::Vote(value.clone()));
                let (term, voted, granted) = vote_of(value);
                self.world
                    .note(format_args!("n{} vote {term} for {voted} {granted}", self.node));
                if granted {
                    self.world.check(|all| all.election.granted(term, voted));
                    if voted == self.node {
                        let terms = self.terms();
                        self.world
                            .check(|all| all.completeness.leads(self.node, term, &terms));
                    }
                }
            }
        }
        Ok(())
    }

    fn read(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let inner = self.inner.lock();
        let range = inner.live.entries.range(from..to);
        Ok(within(bytes, range.map(|(index, entry)| (*index, entry.clone()))))
    }

    fn sync(&self) -> Result<(), Error> {
        if self.disk.fails.load(Ordering::Relaxed) {
            self.world.fired("failed sync");
            return Err(Error::Storage("EIO".to_owned()));
        }
        if self.world.is(Mutant::SkipSync) {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        let written = inner.pending.len();
        let due = match self.world.is(Mutant::EarlyAck) {
            // The mutant: what this sync answers for becomes durable with the next one.
            true => inner.answered.min(written),
            false => written,
        };
        let left = inner.pending.split_off(due);
        for write in std::mem::replace(&mut inner.pending, left) {
            inner.durable.apply(&write);
        }
        inner.answered = inner.pending.len();
        Ok(())
    }

    fn volatile(&self) -> bool {
        false
    }
}

/// Term, node and whether a quorum granted it: `format u16 | term u64 | node u64 | committed u8`.
fn vote_of(vote: &Bytes) -> (u64, u64, bool) {
    let number = |at: usize| u64::from_be_bytes(vote[at..at + 8].try_into().unwrap());
    (number(2), number(10), vote[18] == 1)
}
