//! The numbers that Vault's and OpenBao's dashboards and alerts ask for, under their names and in their units, made from
//! ours when they are read. Not what has another meaning here: nothing is told that would be a guess.

use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType, Summary};

/// How a number of theirs follows from ours.
enum From {
    /// The same, all labels together.
    Gauge(&'static str),
    /// 1 where ours is 0, and the other way round.
    Not(&'static str),
    /// What of the first the second lacks.
    Difference(&'static str, &'static str),
    /// 1 unless the second is more than the first.
    Reaches(&'static str, &'static str),
    /// The same, all labels together.
    Counter(&'static str),
    /// How often something was timed.
    Count(&'static str),
    /// Milliseconds, without quantiles: rates of the sum over the count are averages.
    Millis(&'static str),
}

const NAMES: &[(&str, From)] = &[
    (
        "vault_audit_log_request_failure",
        From::Counter("conclave_audit_write_failures_total"),
    ),
    (
        "vault_autopilot_failure_tolerance",
        From::Gauge("conclave_raft_failure_tolerance"),
    ),
    (
        "vault_autopilot_healthy",
        From::Reaches("conclave_raft_voters_reachable", "conclave_raft_voters"),
    ),
    ("vault_core_active", From::Gauge("conclave_raft_is_leader")),
    (
        "vault_core_handle_request",
        From::Millis("conclave_http_request_duration_seconds"),
    ),
    (
        "vault_core_in_flight_requests",
        From::Gauge("conclave_requests_in_flight"),
    ),
    ("vault_core_unsealed", From::Not("conclave_sealed")),
    ("vault_expire_num_leases", From::Gauge("conclave_leases")),
    (
        "vault_quota_rate_limit_violation",
        From::Counter("conclave_rate_limited_requests_total"),
    ),
    (
        "vault_raft_apply",
        From::Count("conclave_raft_commit_duration_seconds"),
    ),
    (
        "vault_raft_commitTime",
        From::Millis("conclave_raft_commit_duration_seconds"),
    ),
    (
        "vault_raft_fsm_apply",
        From::Millis("conclave_raft_apply_duration_seconds"),
    ),
    ("vault_raft_peers", From::Gauge("conclave_raft_voters")),
    (
        "vault_raft_storage_stats_applied_index",
        From::Gauge("conclave_raft_applied_index"),
    ),
    (
        "vault_raft_storage_stats_commit_index",
        From::Gauge("conclave_raft_committed_index"),
    ),
    (
        "vault_raft_storage_stats_fsm_pending",
        From::Difference("conclave_raft_committed_index", "conclave_raft_applied_index"),
    ),
    (
        "vault_runtime_alloc_bytes",
        From::Gauge("process_resident_memory_bytes"),
    ),
];

/// Vault's numbers, from ours.
pub fn of(ours: &[MetricFamily]) -> Vec<MetricFamily> {
    NAMES
        .iter()
        .filter_map(|(name, from)| one(name, from, ours))
        .collect()
}

fn one(name: &str, from: &From, ours: &[MetricFamily]) -> Option<MetricFamily> {
    let find = |source: &str| ours.iter().find(|family| family.name() == source);
    let sum = |source: &str| find(source).map(total);
    let (kind, metric, source) = match *from {
        From::Gauge(source) => (MetricType::GAUGE, gauge(sum(source)?), source),
        From::Not(source) => (MetricType::GAUGE, gauge(1.0 - sum(source)?), source),
        From::Difference(source, less) => {
            let left = (sum(source)? - sum(less)?).max(0.0);
            (MetricType::GAUGE, gauge(left), source)
        }
        From::Reaches(source, all) => {
            let reaches = sum(source)? >= sum(all)?;
            (MetricType::GAUGE, gauge(f64::from(u8::from(reaches))), source)
        }
        From::Counter(source) => (MetricType::COUNTER, counter(sum(source)?), source),
        From::Count(source) => {
            let (count, _) = timed(find(source)?);
            (MetricType::COUNTER, counter(as_float(count)), source)
        }
        From::Millis(source) => (MetricType::SUMMARY, summary(find(source)?), source),
    };
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(format!("Vault's name for what {source} tells."));
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    Some(family)
}

/// All labels together.
fn total(family: &MetricFamily) -> f64 {
    let value = |metric: &Metric| match family.get_field_type() {
        MetricType::COUNTER => metric.get_counter().get_value(),
        _ => metric.get_gauge().get_value(),
    };
    family.get_metric().iter().map(value).sum()
}

/// How often, and how many seconds in all.
fn timed(family: &MetricFamily) -> (u64, f64) {
    let histograms = family.get_metric().iter().map(Metric::get_histogram);
    histograms.fold((0, 0.0), |(count, seconds), histogram| {
        (
            count + histogram.get_sample_count(),
            seconds + histogram.get_sample_sum(),
        )
    })
}

fn gauge(value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    Metric::from_gauge(gauge)
}

fn counter(value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

fn summary(family: &MetricFamily) -> Metric {
    let (count, seconds) = timed(family);
    let mut summary = Summary::default();
    summary.set_sample_count(count);
    summary.set_sample_sum(seconds * 1000.0);
    let mut metric = Metric::default();
    metric.set_summary(summary);
    metric
}

/// Exact below 2^53, which no count reaches.
#[allow(
    clippy::cast_precision_loss,
    reason = "numbers are floats in Prometheus's text form"
)]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

    use super::*;

    #[test]
    fn ours_are_told_in_their_units_and_what_is_not_there_is_left_out() {
        let registry = Registry::new();
        let put = |name: &str, value: i64| {
            let gauge = IntGauge::new(name, "x").unwrap();
            gauge.set(value);
            registry.register(Box::new(gauge)).unwrap();
        };
        put("conclave_sealed", 0);
        put("conclave_raft_committed_index", 12);
        put("conclave_raft_applied_index", 9);
        put("conclave_raft_voters", 3);
        put("conclave_raft_voters_reachable", 2);
        let leases = IntGaugeVec::new(Opts::new("conclave_leases", "x"), &["kind"]).unwrap();
        leases.with_label_values(&["token"]).set(4);
        leases.with_label_values(&["database"]).set(3);
        registry.register(Box::new(leases)).unwrap();
        let times = HistogramOpts::new("conclave_http_request_duration_seconds", "x");
        let times = HistogramVec::new(times, &["method"]).unwrap();
        times.with_label_values(&["GET"]).observe(0.25);
        times.with_label_values(&["PUT"]).observe(0.5);
        registry.register(Box::new(times)).unwrap();

        let text = TextEncoder::new()
            .encode_to_string(&of(&registry.gather()))
            .unwrap();
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "vault_autopilot_healthy 0",
                "vault_core_handle_request_sum 750",
                "vault_core_handle_request_count 2",
                "vault_core_unsealed 1",
                "vault_expire_num_leases 7",
                "vault_raft_peers 3",
                "vault_raft_storage_stats_applied_index 9",
                "vault_raft_storage_stats_commit_index 12",
                "vault_raft_storage_stats_fsm_pending 3",
            ]
        );
    }
}
