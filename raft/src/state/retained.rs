//! Which change sets are kept: the newest, as far as bytes and count allow. What is kept depends on what was kept before
//! and on the commands alone, so that every node keeps the same however its log was cut into batches.

use std::collections::VecDeque;
use std::ops::Range;

use crate::error::Error;
use crate::state::Snapshot;
use crate::state::changes::MAX_CHANGES;

/// Change sets that are kept at most ...
pub const RETAINED_CHANGES: u64 = 100_000;
/// ... and bytes of them.
pub const RETAINED_CHANGE_BYTES: u64 = 16 << 20;
/// By this part of either limit more is kept before anything is dropped: many go at a time.
const SLACK: u64 = 16;

/// Sizes of the change sets that are kept.
#[derive(Default)]
pub struct Retained {
    /// Revision and bytes of each, in order.
    sets: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Retained {
    /// What a store keeps.
    ///
    /// # Errors
    /// The store's own.
    pub fn load(rows: &dyn Snapshot) -> Result<Self, Error> {
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
            let count = self.sets.len() as u64;
            let most = |limit: u64| limit + limit / SLACK;
            if count <= most(RETAINED_CHANGES) && self.bytes <= most(RETAINED_CHANGE_BYTES) {
                continue;
            }
            let first = self.sets.front().map_or(revision, |(first, _)| *first);
            let end = self.drop_oldest(revision);
            dropped = Some(dropped.map_or(first, |range| range.start)..end);
        }
        dropped
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Drops the oldest until the limits hold, but never the newest; the first revision that is kept.
    fn drop_oldest(&mut self, newest: u64) -> u64 {
        while self.sets.len() as u64 > RETAINED_CHANGES || self.bytes > RETAINED_CHANGE_BYTES {
            match self.sets.front() {
                Some((revision, bytes)) if *revision < newest => {
                    self.bytes = self.bytes.saturating_sub(*bytes);
                    self.sets.pop_front();
                }
                _ => break,
            }
        }
        self.sets.front().map_or(newest, |(first, _)| *first)
    }

    fn push(&mut self, revision: u64, bytes: u64) {
        self.sets.push_back((revision, bytes));
        self.bytes += bytes;
    }
}
