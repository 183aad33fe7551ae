//! Shows what replication has counted itself: its crate knows no registry of numbers.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, Metric, MetricFamily, MetricType};

use conclave_raft::meter::{BOUNDS, Reading, Work};

const SYNCS: (&str, &str) = (
    "conclave_raft_log_sync_duration_seconds",
    "Syncs of the log to the disk; each answers all entries that waited for it.",
);
const APPLIES: (&str, &str) = (
    "conclave_raft_apply_duration_seconds",
    "Writes of the applied state, each of one or more entries.",
);
const COMMANDS: (&str, &str) = (
    "conclave_raft_commands_applied_total",
    "Commands applied, whatever became of them.",
);
const GETS: (&str, &str) = (
    "conclave_raft_apply_store_reads_total",
    "Reads of the store that applying commands took.",
);
const LOG: (&str, &str) = (
    "conclave_raft_log_bytes",
    "Bytes of the entries that the log holds, roughly.",
);

/// The last reading, as a collector. Clones show the same.
#[derive(Clone)]
pub struct WorkNumbers {
    last: Arc<Mutex<Work>>,
    descriptions: Arc<Vec<Desc>>,
}

impl WorkNumbers {
    /// Nothing was done yet.
    pub fn new() -> Result<Self, prometheus::Error> {
        let describe = |(name, help): (&str, &str)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), Default::default())
        };
        let all = [SYNCS, APPLIES, COMMANDS, GETS, LOG];
        let descriptions = all.into_iter().map(describe).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            last: Arc::default(),
            descriptions: Arc::new(descriptions),
        })
    }

    /// What it is now.
    pub fn set(&self, work: Work) {
        *self.last.lock() = work;
    }
}

impl Collector for WorkNumbers {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let work = *self.last.lock();
        vec![
            histogram(SYNCS, &work.syncs),
            histogram(APPLIES, &work.applies),
            counter(COMMANDS, work.commands),
            counter(GETS, work.store_gets),
            gauge(LOG, work.log_bytes),
        ]
    }
}

fn histogram(named: (&str, &str), reading: &Reading) -> MetricFamily {
    let mut buckets = Vec::with_capacity(BOUNDS.len());
    let mut below = 0;
    for (bound, count) in BOUNDS.iter().zip(&reading.counts) {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(reading.counts.iter().sum());
    histogram.set_sample_sum(reading.seconds);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(named, MetricType::HISTOGRAM, metric)
}

fn counter(named: (&str, &str), value: u64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(to_float(value));
    let mut metric = Metric::default();
    metric.set_counter(counter);
    family(named, MetricType::COUNTER, metric)
}

fn gauge(named: (&str, &str), value: u64) -> MetricFamily {
    let mut gauge = Gauge::default();
    gauge.set_value(to_float(value));
    family(named, MetricType::GAUGE, Metric::from_gauge(gauge))
}

fn family((name, help): (&str, &str), kind: MetricType, metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

/// Exact below 2^53, which no count of ours reaches.
#[allow(
    clippy::cast_precision_loss,
    reason = "numbers are floats in Prometheus's text form"
)]
fn to_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use conclave_raft::meter::Meter;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn readings_are_shown_as_numbers_of_their_own() {
        let registry = Registry::new();
        let numbers = WorkNumbers::new().unwrap();
        registry.register(Box::new(numbers.clone())).unwrap();
        let meter = Meter::default();
        for millis in [1, 2, 5_000] {
            meter.add(Duration::from_millis(millis));
        }
        numbers.set(Work {
            syncs: meter.read(),
            commands: 7,
            ..Work::default()
        });
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"conclave_raft_log_sync_duration_seconds_bucket{le="0.001"} 1"#,
            r#"conclave_raft_log_sync_duration_seconds_bucket{le="2"} 2"#,
            r#"conclave_raft_log_sync_duration_seconds_bucket{le="+Inf"} 3"#,
            "conclave_raft_log_sync_duration_seconds_sum 5.003",
            "conclave_raft_apply_duration_seconds_count 0",
            "# TYPE conclave_raft_commands_applied_total counter",
            "conclave_raft_commands_applied_total 7",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
