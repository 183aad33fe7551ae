//! Which change sets are kept: the newest, as far as bytes and count allow. What is kept depends on what was kept before
//! and on the commands alone, so that every node keeps the same however its log was cut into batches.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::error::Error;
use crate::state::Snapshot;
use crate::state::changes::MAX_CHANGES;

/// Change sets that are kept at most ...
pub const RETAINED_CHANGES: u64 = 100_000;
/// ... and bytes of them.
pub const RETAINED_CHANGE_BYTES: u64 = 16 << 20;
/// By this part of either limit more is kept before anything is dropped: many go at a time.
const SLACK: u64 = 16;

/// Sizes of the change sets that are kept, which have revisions without a gap.
#[derive(Default)]
pub struct Retained {
    /// From here on the store may hold change sets.
    oldest: u64,
    /// The revision behind the last.
    next: u64,
    /// Bytes of each that is kept, in order.
    sizes: VecDeque<u32>,
    bytes: u64,
}

/// What a store keeps, looked at beside whatever else a start has to do: up to sixteen megabytes are read for it, and nothing
/// depends on it before the first change.
pub(super) struct Kept {
    loading: Option<JoinHandle<Result<Retained, Error>>>,
    retained: Retained,
}

impl Kept {
    /// Begins to read.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn load(rows: Arc<dyn Snapshot>) -> Result<Self, Error> {
        let loading = thread::Builder::new()
            .name("change-log".to_owned())
            .spawn(move || Retained::load(rows.as_ref()))
            .map_err(|e| Error::Storage(format!("a thread that reads the change log: {e}")))?;
        Ok(Self {
            loading: Some(loading),
            retained: Retained::default(),
        })
    }

    /// What is kept, once it is read.
    ///
    /// # Errors
    /// The store's own, once: the machine must stop then.
    pub fn get(&mut self) -> Result<&mut Retained, Error> {
        if let Some(loading) = self.loading.take() {
            let loaded = loading.join();
            self.retained =
                loaded.map_err(|_| Error::Stopped("reading the change log panicked".to_owned()))??;
        }
        Ok(&mut self.retained)
    }
}

impl Drop for Kept {
    /// Whoever opens the same directory next must find it closed.
    fn drop(&mut self) {
        if let Some(loading) = self.loading.take() {
            // What it read, or why it could not, is asked for by nobody.
            let _ = loading.join();
        }
    }
}

impl Retained {
    fn load(rows: &dyn Snapshot) -> Result<Self, Error> {
        let mut retained = Self::default();
        let mut from = 0;
        loop {
            let found = rows.change_sets(from, MAX_CHANGES)?;
            for (revision, set) in &found {
                retained.push(*revision, set.len() as u64);
                from = revision.saturating_add(1);
            }
            if found.len() < MAX_CHANGES {
                return Ok(retained);
            }
        }
    }

    /// Takes in new change sets, in order; the revisions to drop.
    pub fn take_in(&mut self, sets: impl Iterator<Item = (u64, u64)>) -> Option<Range<u64>> {
        let mut dropped: Option<Range<u64>> = None;
        for (revision, bytes) in sets {
            self.push(revision, bytes);
            let count = self.sizes.len() as u64;
            let most = |limit: u64| limit + limit / SLACK;
            if count <= most(RETAINED_CHANGES) && self.bytes <= most(RETAINED_CHANGE_BYTES) {
                continue;
            }
            let start = dropped.map_or(self.oldest, |range| range.start);
            self.drop_oldest();
            dropped = Some(start..self.oldest);
        }
        dropped
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Drops the oldest until the limits hold, but never the newest.
    fn drop_oldest(&mut self) {
        while self.sizes.len() as u64 > RETAINED_CHANGES || self.bytes > RETAINED_CHANGE_BYTES {
            if self.sizes.len() <= 1 {
                break;
            }
            let bytes = self.sizes.pop_front().unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(u64::from(bytes));
        }
        self.oldest = self.next.saturating_sub(self.sizes.len() as u64);
    }

    fn push(&mut self, revision: u64, bytes: u64) {
        if self.sizes.is_empty() {
            self.oldest = revision;
        } else if revision != self.next {
            // Nobody can follow what is before a gap: it goes with the next that are dropped.
            self.sizes.clear();
            self.bytes = 0;
        }
        self.next = revision.saturating_add(1);
        // What one command changes is far smaller.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sizes.push_back(bytes);
        self.bytes += u64::from(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(retained: &mut Retained, revisions: Range<u64>, bytes: u64) -> Option<Range<u64>> {
        retained.take_in(revisions.map(|revision| (revision, bytes)))
    }

    #[test]
    fn many_go_at_a_time_and_what_was_dropped_is_not_dropped_again() {
        let mut retained = Retained::default();
        assert_eq!(take(&mut retained, 7..107_000, 1), Some(7..6_258));
        assert_eq!(retained.sizes.len(), 100_742);
        assert_eq!(take(&mut retained, 107_000..112_508, 1), None);
        assert_eq!(take(&mut retained, 112_508..112_509, 1), Some(6_258..12_509));
    }

    #[test]
    fn the_newest_stays_however_large_it_is() {
        let mut retained = Retained::default();
        assert_eq!(take(&mut retained, 1..3, 2 * RETAINED_CHANGE_BYTES), Some(1..2));
        assert_eq!((retained.sizes.len(), retained.oldest), (1, 2));
    }

    #[test]
    fn what_is_before_a_gap_goes_first() {
        let mut retained = Retained::default();
        assert_eq!(take(&mut retained, 1..11, 1), None);
        assert_eq!(take(&mut retained, 20..30, 1), None);
        assert_eq!((retained.sizes.len(), retained.bytes), (10, 10));
        assert_eq!(
            take(&mut retained, 30..31, 2 * RETAINED_CHANGE_BYTES),
            Some(1..30)
        );
    }
}
