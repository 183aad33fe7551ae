//! What replication costs a node: durations in buckets and plain counts, kept without a lock and read by whoever shows
//! them. This file must not know what is measured nor who looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whose events spans of traces are, apart from those of the log. Spans say what is done, numbers and words of closed sets:
/// never a key, a path or a value.
pub const TRACES: &str = "conclave::traces";

/// Upper bounds of the buckets in seconds: from a write into a disk's cache to a disk that is hardly there.
pub const BOUNDS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0,
];
/// One bucket more holds what is above all bounds.
const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts durations of one kind of work.
#[derive(Debug, Default)]
pub struct Meter {
    counts: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// What a meter has counted so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// How many were within each of [`BOUNDS`] and above the one before; the last entry is above all bounds.
    pub counts: [u64; BUCKETS],
    /// All durations together, in seconds.
    pub seconds: f64,
}

/// What replication has cost since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Syncs of the log; each answers all appends that waited for it.
    pub syncs: Reading,
    /// Writes of the applied state, each of one or more entries.
    pub applies: Reading,
    /// Commands applied, whatever became of them.
    pub commands: u64,
    /// Reads of the store that applying them took.
    pub store_gets: u64,
    /// Bytes of the entries that the log holds, roughly.
    pub log_bytes: u64,
    /// Commands and questions that this node was sent as the leader, its own among them. A question may stand for many reads.
    pub asked: u64,
}

impl Meter {
    /// Something took this long.
    pub fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self) -> Reading {
        let mut counts = [0; BUCKETS];
        for (read, count) in counts.iter_mut().zip(&self.counts) {
            *read = count.load(Ordering::Relaxed);
        }
        Reading {
            counts,
            seconds: Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_of_the_first_bound_they_do_not_exceed() {
        let meter = Meter::default();
        for micros in [1, 100, 101, 9_999, 10_000, 3_000_000] {
            meter.add(Duration::from_micros(micros));
        }
        let read = meter.read();
        let filled: Vec<(usize, u64)> = read
            .counts
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(filled, [(0, 2), (1, 1), (6, 2), (12, 1)]);
        assert!((read.seconds - 3.020_201).abs() < 1e-9, "{}", read.seconds);
    }
}
