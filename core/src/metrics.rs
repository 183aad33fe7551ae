//! The numbers core counts. Labels come from closed sets: never a path, a token, a name or an address.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use conclave_raft::Status;

use crate::divergence::Outcome;
use crate::error::Error;

/// Bounds of commit times: a disk that syncs in a fraction of a millisecond up to an election.
const COMMIT_SECONDS: [f64; 10] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];
/// Bounds of how late things end: one round of the job up to a cluster that was down for hours.
const LAG_SECONDS: [f64; 8] = [0.1, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0, 3600.0];

/// Numbers of one node.
pub struct Metrics {
    in_flight: IntGauge,
    authentications: IntCounterVec,
    lockouts: IntCounterVec,
    refused: Refused,
    secret_reads: IntCounterVec,
    conflicts: IntCounter,
    commits: Histogram,
    expired: IntCounter,
    expiry_lag: Histogram,
    snapshot_saved: IntGauge,
    rewrapped: IntCounter,
    key_term: IntGauge,
    old_keys: IntGauge,
    sealed: IntGauge,
    unseal_progress: IntGauge,
    disk_free: IntGauge,
    disk_low: IntGauge,
    state: State,
    raft: Raft,
}

/// Numbers of requests that were refused.
struct Refused {
    denied: IntCounter,
    rate_limited: IntCounter,
}

impl Refused {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            denied: IntCounter::new(
                "conclave_denied_requests_total",
                "Requests a policy did not allow.",
            )?,
            rate_limited: IntCounter::new(
                "conclave_rate_limited_requests_total",
                "Requests refused because a rate limit was used up.",
            )?,
        })
    }
}

/// Numbers of what the replicated state holds, and of whether the nodes agree on it.
struct State {
    comparisons: IntCounterVec,
    diverged: IntGauge,
    leases: IntGaugeVec,
}

/// Numbers of agreement, read from the replica's status.
struct Raft {
    is_leader: IntGauge,
    term: IntGauge,
    last_log_index: IntGauge,
    committed_index: IntGauge,
    applied_index: IntGauge,
    voters: IntGauge,
    lag: IntGauge,
}

/// Counts a request as in flight while it lives.
pub struct InFlight<'m>(&'m IntGauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers all numbers.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let metrics = Self::unregistered().map_err(|error| Error::internal(error.to_string()))?;
        let raft = &metrics.raft;
        let all: [Box<dyn prometheus::core::Collector>; 28] = [
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.authentications.clone()),
            Box::new(metrics.lockouts.clone()),
            Box::new(metrics.refused.denied.clone()),
            Box::new(metrics.refused.rate_limited.clone()),
            Box::new(metrics.secret_reads.clone()),
            Box::new(metrics.conflicts.clone()),
            Box::new(metrics.commits.clone()),
            Box::new(metrics.expired.clone()),
            Box::new(metrics.expiry_lag.clone()),
            Box::new(metrics.snapshot_saved.clone()),
            Box::new(metrics.rewrapped.clone()),
            Box::new(metrics.key_term.clone()),
            Box::new(metrics.old_keys.clone()),
            Box::new(metrics.sealed.clone()),
            Box::new(metrics.unseal_progress.clone()),
            Box::new(metrics.disk_free.clone()),
            Box::new(metrics.disk_low.clone()),
            Box::new(metrics.state.comparisons.clone()),
            Box::new(metrics.state.diverged.clone()),
            Box::new(metrics.state.leases.clone()),
            Box::new(raft.is_leader.clone()),
            Box::new(raft.term.clone()),
            Box::new(raft.last_log_index.clone()),
            Box::new(raft.committed_index.clone()),
            Box::new(raft.applied_index.clone()),
            Box::new(raft.voters.clone()),
            Box::new(raft.lag.clone()),
        ];
        for collector in all {
            registry
                .register(collector)
                .map_err(|error| Error::internal(error.to_string()))?;
        }
        Ok(metrics)
    }

    fn unregistered() -> Result<Self, prometheus::Error> {
        Ok(Self {
            in_flight: IntGauge::new("conclave_requests_in_flight", "Requests being answered.")?,
            authentications: counters(
                "conclave_auth_attempts_total",
                "Requests that showed a token, by whether it was valid, and logins, by their method and outcome.",
                &["method", "result"],
            )?,
            lockouts: counters(
                "conclave_auth_lockouts_total",
                "Names that were locked out because logins failed too often, by method.",
                &["method"],
            )?,
            refused: Refused::new()?,
            secret_reads: counters(
                "conclave_secret_reads_total",
                "Reads that handed out a secret, by type of mount.",
                &["mount_type"],
            )?,
            conflicts: IntCounter::new(
                "conclave_commit_conflicts_total",
                "Attempts that had to be run again.",
            )?,
            commits: histogram(
                "conclave_raft_commit_duration_seconds",
                "From a request's proposal to its result, as this node applied it.",
                &COMMIT_SECONDS,
            )?,
            expiry_lag: histogram(
                "conclave_lease_expiry_lag_seconds",
                "On the leader: from the deadline of what ended to its removal.",
                &LAG_SECONDS,
            )?,
            snapshot_saved: IntGauge::new(
                "conclave_snapshot_last_success_timestamp_seconds",
                "When this node last wrote a snapshot for an operator, on the cluster's clock; 0 until then.",
            )?,
            expired: IntCounter::new(
                "conclave_expired_total",
                "Rows removed because their time had come.",
            )?,
            rewrapped: IntCounter::new(
                "conclave_rewrapped_rows_total",
                "Rows this node, as leader, sealed anew because their data key was replaced.",
            )?,
            key_term: IntGauge::new(
                "conclave_keyring_term",
                "Term of the active data key; 0 while sealed.",
            )?,
            old_keys: IntGauge::new(
                "conclave_keyring_old_keys",
                "Replaced data keys that are kept because rows of theirs may be left.",
            )?,
            sealed: IntGauge::new("conclave_sealed", "1 while this node holds no keys.")?,
            unseal_progress: IntGauge::new("conclave_unseal_progress", "Shares given since the last reset.")?,
            disk_free: IntGauge::new(
                "conclave_disk_free_bytes",
                "Bytes free where this node keeps its data; 0 until measured.",
            )?,
            disk_low: IntGauge::new(
                "conclave_disk_low",
                "1 while less than min_free is free: this node takes no writes.",
            )?,
            state: State::new()?,
            raft: Raft::new()?,
        })
    }

    /// A request begins.
    pub fn request_started(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// A token was shown.
    pub fn authenticated(&self, valid: bool) {
        self.authentications
            .with_label_values(&["token", if valid { "success" } else { "failure" }])
            .inc();
    }

    /// A login by a method of this type came to `success`, `failure` or `locked`. The set of types is closed.
    pub fn logged_in(&self, kind: &str, result: &str) {
        self.authentications.with_label_values(&[kind, result]).inc();
    }

    /// A name was locked out.
    pub fn locked_out(&self, kind: &str) {
        self.lockouts.with_label_values(&[kind]).inc();
    }

    /// A rate limit was used up.
    pub fn rate_limited(&self) {
        self.refused.rate_limited.inc();
    }

    /// A policy did not allow a request.
    pub fn denied(&self) {
        self.refused.denied.inc();
    }

    /// A secret was handed out by a mount of this type. The set of types is closed: those of the built-in engines.
    pub fn secret_read(&self, kind: &str) {
        self.secret_reads.with_label_values(&[kind]).inc();
    }

    /// An attempt conflicted.
    pub fn conflict(&self) {
        self.conflicts.inc();
    }

    /// A proposal has its result, this long after it was made.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// Something ended this long, in milliseconds, after its deadline.
    pub fn expired_late(&self, lag: u64) {
        self.expiry_lag.observe(Duration::from_millis(lag).as_secs_f64());
    }

    /// A snapshot was written whole at this time, in milliseconds.
    pub fn snapshot_saved(&self, now: u64) {
        self.snapshot_saved
            .set(i64::try_from(now / 1000).unwrap_or(i64::MAX));
    }

    /// Rows were removed because their time had come.
    pub fn expired(&self, rows: usize) {
        self.expired.inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }

    /// Rows were sealed anew.
    pub fn rewrapped(&self, rows: usize) {
        self.rewrapped.inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }

    /// The active data key's term, 0 without, and how many older keys are kept.
    pub fn keyring(&self, term: u32, old: usize) {
        self.key_term.set(i64::from(term));
        self.old_keys.set(i64::try_from(old).unwrap_or(i64::MAX));
    }

    /// Bytes free on the disk, and whether that is too little.
    pub fn room(&self, free: u64, low: bool) {
        self.disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
        self.disk_low.set(i64::from(low));
    }

    /// States were compared.
    pub fn compared(&self, outcome: Outcome) {
        self.state.comparisons.with_label_values(&[outcome.name()]).inc();
    }

    /// So many tokens are stored.
    pub fn tokens(&self, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.state.leases.with_label_values(&["token"]).set(count);
    }

    /// Whether this node is known to differ.
    pub fn diverged(&self, differs: bool) {
        self.state.diverged.set(i64::from(differs));
    }

    /// Sets the gauges.
    pub fn observe(&self, sealed: bool, shares: usize, status: Option<&Status>) {
        self.sealed.set(i64::from(sealed));
        self.unseal_progress
            .set(i64::try_from(shares).unwrap_or(i64::MAX));
        let none = Status::default();
        self.raft.observe(status.unwrap_or(&none));
    }
}

fn histogram(name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec()))
}

impl State {
    fn new() -> Result<Self, prometheus::Error> {
        let leases = IntGaugeVec::new(
            Opts::new(
                "conclave_leases",
                "What lives for a time and ends by itself or when it is revoked, by kind; counted once a minute.",
            ),
            &["kind"],
        )?;
        // There from the start: a dashboard tells "none" from "not measured".
        leases.with_label_values(&["token"]).set(0);
        Ok(Self {
            comparisons: IntCounterVec::new(
                Opts::new(
                    "conclave_state_comparisons_total",
                    "Comparisons of the members' states that this node led, by what they came to.",
                ),
                &["result"],
            )?,
            diverged: IntGauge::new(
                "conclave_state_diverged",
                "1 while the state of this node is known to differ from the majority's: it serves nothing.",
            )?,
            leases,
        })
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

impl Raft {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            is_leader: IntGauge::new("conclave_raft_is_leader", "1 while this node leads.")?,
            term: IntGauge::new("conclave_raft_term", "Current term.")?,
            last_log_index: IntGauge::new("conclave_raft_last_log_index", "Last entry in the log.")?,
            committed_index: IntGauge::new("conclave_raft_committed_index", "Last entry known committed.")?,
            applied_index: IntGauge::new("conclave_raft_applied_index", "Last entry applied.")?,
            voters: IntGauge::new("conclave_raft_voters", "Voting members.")?,
            lag: IntGauge::new(
                "conclave_raft_replication_lag_entries",
                "On the leader: entries the slowest voter lacks. Elsewhere 0.",
            )?,
        })
    }

    fn observe(&self, status: &Status) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let voters = status.members.iter().filter(|member| member.voter);
        let slowest = voters.clone().filter_map(|member| member.matched_index).min();
        self.is_leader.set(i64::from(status.is_leader));
        self.term.set(number(status.term));
        self.last_log_index.set(number(status.last_log_index));
        self.committed_index.set(number(status.committed_index));
        self.applied_index.set(number(status.applied_index));
        self.voters.set(i64::try_from(voters.count()).unwrap_or(i64::MAX));
        self.lag.set(number(
            slowest.map_or(0, |matched| status.last_log_index.saturating_sub(matched)),
        ));
    }
}
