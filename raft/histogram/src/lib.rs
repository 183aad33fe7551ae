//! Counts of numbers by their size: as much of the crate `base2histogram` as openraft calls, without its tables of 29 MiB.
//! It must not know what is counted.

use std::fmt;
use std::marker::PhantomData;

/// Buckets for each doubling, as a power of two: 4 of them, so a percentile is at most a fifth too small.
const FINE: u32 = 2;
const PER_DOUBLING: u64 = 1 << FINE;
/// The first buckets hold one number each; each doubling after them has its own four.
const BUCKETS: usize = ((u64::BITS - FINE + 1) as usize) << FINE;

/// How often numbers of each size were seen. Recording takes constant time; memory is one table of 2 KiB, made at the
/// first number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    total: u64,
    slot: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: Vec::new(),
            total: 0,
            slot: PhantomData,
        }
    }

    /// Counts one number.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts one number `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if self.counts.is_empty() {
            self.counts.resize(BUCKETS, 0);
        }
        if let Some(counted) = self.counts.get_mut(bucket_of(value)) {
            *counted = counted.saturating_add(count);
            self.total = self.total.saturating_add(count);
        }
    }

    /// Numbers counted.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The smallest number of the bucket below which `permille` of all numbers lie; 0 of nothing.
    #[must_use]
    pub fn percentile(&self, permille: u64) -> u64 {
        let wanted = (u128::from(self.total) * u128::from(permille)).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen >= wanted {
                return least_of(bucket);
            }
        }
        0
    }

    /// The usual percentiles.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.percentile(1),
            p1: self.percentile(10),
            p5: self.percentile(50),
            p10: self.percentile(100),
            p50: self.percentile(500),
            p90: self.percentile(900),
            p99: self.percentile(990),
            p99_9: self.percentile(999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Which bucket a number falls into: its leading bit says which doubling, the next two which quarter of it.
fn bucket_of(value: u64) -> usize {
    let doubling = (u64::BITS - value.leading_zeros()).saturating_sub(FINE + 1);
    let quarter = value >> doubling;
    usize::try_from(u64::from(doubling) * PER_DOUBLING + quarter).unwrap_or(BUCKETS)
}

/// The smallest number of a bucket.
const fn least_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PER_DOUBLING {
        return bucket;
    }
    let doubling = bucket / PER_DOUBLING - 1;
    (bucket % PER_DOUBLING + PER_DOUBLING) << doubling
}

/// Percentiles of one histogram, each the least number of its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// Numbers counted.
    pub samples: u64,
    /// One in a thousand is smaller.
    pub p0_1: u64,
    /// One in a hundred is smaller.
    pub p1: u64,
    /// Five in a hundred are smaller.
    pub p5: u64,
    /// A tenth is smaller.
    pub p10: u64,
    /// Half are smaller.
    pub p50: u64,
    /// Nine tenths are smaller.
    pub p90: u64,
    /// All but one in a hundred are smaller.
    pub p99: u64,
    /// All but one in a thousand are smaller.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            samples,
            p50,
            p90,
            p99,
            p99_9,
            ..
        } = self;
        write!(f, "n={samples} p50={p50} p90={p90} p99={p99} p99.9={p99_9}")
    }
}

/// Histograms under their names, one below the other.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    series: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// An empty chart.
    #[must_use]
    pub const fn new() -> Self {
        Self { series: Vec::new() }
    }

    /// One more line.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "openraft calls it by this name")]
    pub fn add(mut self, name: &str, histogram: Histogram) -> Self {
        self.series.push((name.to_string(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series
            .iter()
            .try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_begins_where_the_one_before_ends() {
        for bucket in 1..BUCKETS {
            let least = least_of(bucket);
            assert_eq!(
                (bucket_of(least), bucket_of(least - 1)),
                (bucket, bucket - 1),
                "{least}"
            );
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_at_most_a_fifth_too_small() {
        let mut histogram = Histogram::<()>::new();
        for value in 1..=100_000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        for (told, real) in [
            (stats.p1, 1000),
            (stats.p50, 50_000),
            (stats.p90, 90_000),
            (stats.p99_9, 99_900),
        ] {
            assert!(told <= real && real - told <= real / 5, "{told} for {real}");
        }
        assert_eq!((stats.samples, histogram.total()), (100_000, 100_000));
    }

    #[test]
    fn nothing_seen_costs_nothing_and_tells_zeros() {
        let histogram = Histogram::<()>::new();
        assert_eq!(histogram.counts.capacity(), 0);
        assert_eq!(histogram.percentile_stats().p99, 0);
        let chart = AsciiChart::new().add("idle", histogram);
        assert_eq!(chart.to_string(), "idle: n=0 p50=0 p90=0 p99=0 p99.9=0\n");
    }
}
