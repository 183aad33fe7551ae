//! A log in memory, for tests and simulations: ordered like the real one, durable only as long as it is held.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::Error;
use crate::log::{Loaded, LogBackend, Slot, within};

/// A log that lives as long as this value; a node restarted on it finds everything it wrote.
#[derive(Default)]
pub struct MemoryLog {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<u64, Bytes>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<Bytes>,
}

impl LogBackend for MemoryLog {
    fn load(&self) -> Result<Loaded, Error> {
        let inner = self.inner.lock();
        Ok(Loaded {
            vote: inner.vote.clone(),
            committed: inner.committed.clone(),
            purged: inner.purged.clone(),
            last: inner.entries.keys().next_back().copied(),
        })
    }

    fn append(&self, entries: &[(u64, Bytes)]) -> Result<(), Error> {
        self.inner.lock().entries.extend(entries.iter().cloned());
        Ok(())
    }

    fn truncate(&self, from: u64) -> Result<(), Error> {
        self.inner.lock().entries.split_off(&from);
        Ok(())
    }

    fn purge(&self, through: u64, purged: &Bytes) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.entries = match through.checked_add(1) {
            Some(first) => inner.entries.split_off(&first),
            None => BTreeMap::new(),
        };
        inner.purged = Some(purged.clone());
        Ok(())
    }

    fn save(&self, slot: Slot, value: &Bytes) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        match slot {
            Slot::Vote => inner.vote = Some(value.clone()),
            Slot::Committed => inner.committed = Some(value.clone()),
        }
        Ok(())
    }

    fn read(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let inner = self.inner.lock();
        let range = inner.entries.range(from..to);
        Ok(within(bytes, range.map(|(index, entry)| (*index, entry.clone()))))
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn volatile(&self) -> bool {
        true
    }
}
