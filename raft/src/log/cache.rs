//! The newest log entries in memory, so that replication and apply do not read them back. This file must not know
//! where older entries are.

use std::collections::VecDeque;

use crate::log::types::{LogEntry, LogPayload};

/// Bytes of payload kept.
const CAPACITY: usize = 4 << 20;
/// What an entry weighs besides its payload.
const OVERHEAD: usize = 64;

/// A contiguous run of entries that ends with the last one of the log.
#[derive(Default)]
pub struct Cache {
    entries: VecDeque<LogEntry>,
    weight: usize,
}

impl Cache {
    /// Adds the entry after the last; lets the oldest go when full.
    pub fn push(&mut self, entry: LogEntry) {
        // After a hole (a snapshot was installed) the run starts anew.
        if self
            .entries
            .back()
            .is_some_and(|last| last.log_id.index + 1 != entry.log_id.index)
        {
            self.clear();
        }
        self.weight += weight(&entry);
        self.entries.push_back(entry);
        while self.weight > CAPACITY && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    /// Forgets everything at and above `from`.
    pub fn truncate(&mut self, from: u64) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.log_id.index >= from)
        {
            if let Some(entry) = self.entries.pop_back() {
                self.weight = self.weight.saturating_sub(weight(&entry));
            }
        }
    }

    /// Forgets everything up to and including `through`.
    pub fn purge(&mut self, through: u64) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.log_id.index <= through)
        {
            self.pop_front();
        }
    }

    /// Index of the oldest entry kept.
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    /// The kept entries with `from <= index < to` as far as `limit` bytes go, at least one if there is any.
    pub fn first_of(&self, from: u64, to: u64, limit: usize) -> Vec<LogEntry> {
        let first = self.first().unwrap_or(u64::MAX);
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut size = 0;
        let wanted = self.entries.iter().skip(skip).take_while(|entry| {
            let fits = entry.log_id.index < to && size < limit;
            size += weight(entry);
            fits
        });
        wanted.cloned().collect()
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.weight = self.weight.saturating_sub(weight(&entry));
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.weight = 0;
    }
}

/// What an entry costs in memory and on the wire, roughly.
pub fn weight(entry: &LogEntry) -> usize {
    OVERHEAD
        + match &entry.payload {
            LogPayload::Blank => 0,
            LogPayload::Normal(batch) => batch.0.len(),
            LogPayload::Membership(members) => 256 * members.nodes().count(),
        }
}
