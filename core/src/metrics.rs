//! The numbers core counts. Labels come from closed sets: never a path, a token, a name or an address.

mod quorum;
mod requests;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use conclave_raft::Status;
use conclave_raft::meter::Work;

use crate::divergence::Outcome;
use crate::error::Error;
use crate::session::DataKeys;

use quorum::Quorum;
pub use requests::{Kind, Requests};
use work::WorkNumbers;

/// Bounds of commit times: a disk that syncs in a fraction of a millisecond up to an election.
const COMMIT_SECONDS: [f64; 10] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];
/// Bounds of how late things end: one round of the job up to a cluster that was down for hours.
const LAG_SECONDS: [f64; 8] = [0.1, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0, 3600.0];

/// Numbers of one node.
pub struct Metrics {
    /// Those of requests by type of mount.
    pub requests: Requests,
    in_flight: IntGauge,
    attempts: Attempts,
    refused: Refused,
    conflicts: IntCounter,
    commits: Histogram,
    expired: IntCounter,
    expiry_lag: Histogram,
    snapshot_saved: IntGauge,
    snapshot_bytes: IntGauge,
    rewrapped: IntCounter,
    rewrap_failures: IntCounter,
    keys: Keys,
    initialized: IntGauge,
    ready: IntGauge,
    sealed: IntGauge,
    unseal_progress: IntGauge,
    disk_free: IntGauge,
    disk_low: IntGauge,
    rotations: IntCounterVec,
    rotations_overdue: IntGauge,
    expiry_stuck: IntGauge,
    rotation_lag: Histogram,
    state: State,
    quorum: Quorum,
    work: WorkNumbers,
}

/// Numbers of those who show a token or log in.
struct Attempts {
    all: IntCounterVec,
    valid_tokens: IntCounter,
    invalid_tokens: IntCounter,
    lockouts: IntCounterVec,
}

impl Attempts {
    fn new(methods: impl IntoIterator<Item = &'static str>) -> Result<Self, prometheus::Error> {
        let all = counters(
            "conclave_auth_attempts_total",
            "Requests that showed a token, by whether it was valid, and logins, by their method and outcome.",
            &["method", "result"],
        )?;
        let lockouts = counters(
            "conclave_auth_lockouts_total",
            "Names that were locked out because logins failed too often, by method.",
            &["method"],
        )?;
        // There from the start: Prometheus sees no increase in a number that it has not seen before.
        for method in methods {
            lockouts.with_label_values(&[method]);
            for result in ["success", "failure", "locked", "waiting"] {
                all.with_label_values(&[method, result]);
            }
        }
        Ok(Self {
            valid_tokens: all.with_label_values(&["token", "success"]),
            invalid_tokens: all.with_label_values(&["token", "failure"]),
            all,
            lockouts,
        })
    }
}

/// Why a request with a valid token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No policy of the token allows it.
    Policy,
    /// The namespace is not below the token's own.
    Namespace,
}

/// Numbers of requests that were refused.
struct Refused {
    denied: IntCounterVec,
    by_policy: IntCounter,
    by_namespace: IntCounter,
    rate_limited: IntCounter,
}

impl Refused {
    fn new() -> Result<Self, prometheus::Error> {
        let denied = counters(
            "conclave_denied_requests_total",
            "Requests with a valid token that were refused, by reason.",
            &["reason"],
        )?;
        Ok(Self {
            by_policy: denied.with_label_values(&["policy"]),
            by_namespace: denied.with_label_values(&["namespace"]),
            denied,
            rate_limited: IntCounter::new(
                "conclave_rate_limited_requests_total",
                "Requests refused because a rate limit was used up.",
            )?,
        })
    }
}

/// Numbers of the data keys.
struct Keys {
    term: IntGauge,
    old: IntGauge,
    made: IntGauge,
}

impl Keys {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            term: IntGauge::new(
                "conclave_keyring_term",
                "Term of the active data key; 0 while sealed.",
            )?,
            old: IntGauge::new(
                "conclave_keyring_old_keys",
                "Replaced data keys that are kept because rows of theirs may be left.",
            )?,
            made: IntGauge::new(
                "conclave_keyring_rotated_timestamp_seconds",
                "When the active data key was made, on the cluster's clock; 0 while sealed.",
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

/// Counts a request as in flight while it lives.
pub struct InFlight<'m>(&'m IntGauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers all numbers. `kinds`: the types of mounts that are built in; `methods`:
    /// those of them that people and programs log in by.
    pub fn new(
        registry: &Registry,
        kinds: impl IntoIterator<Item = &'static str>,
        methods: impl IntoIterator<Item = &'static str>,
    ) -> Result<Self, Error> {
        let made = Self::make(registry, kinds, methods);
        let metrics = made.map_err(|error| Error::internal(error.to_string()))?;
        let all: [Box<dyn prometheus::core::Collector>; 30] = [
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.attempts.all.clone()),
            Box::new(metrics.attempts.lockouts.clone()),
            Box::new(metrics.refused.denied.clone()),
            Box::new(metrics.refused.rate_limited.clone()),
            Box::new(metrics.conflicts.clone()),
            Box::new(metrics.commits.clone()),
            Box::new(metrics.expired.clone()),
            Box::new(metrics.expiry_lag.clone()),
            Box::new(metrics.snapshot_saved.clone()),
            Box::new(metrics.snapshot_bytes.clone()),
            Box::new(metrics.rewrapped.clone()),
            Box::new(metrics.rewrap_failures.clone()),
            Box::new(metrics.keys.term.clone()),
            Box::new(metrics.keys.old.clone()),
            Box::new(metrics.keys.made.clone()),
            Box::new(metrics.initialized.clone()),
            Box::new(metrics.ready.clone()),
            Box::new(metrics.sealed.clone()),
            Box::new(metrics.unseal_progress.clone()),
            Box::new(metrics.disk_free.clone()),
            Box::new(metrics.disk_low.clone()),
            Box::new(metrics.state.comparisons.clone()),
            Box::new(metrics.state.diverged.clone()),
            Box::new(metrics.state.leases.clone()),
            Box::new(metrics.rotations.clone()),
            Box::new(metrics.rotations_overdue.clone()),
            Box::new(metrics.expiry_stuck.clone()),
            Box::new(metrics.rotation_lag.clone()),
            Box::new(metrics.work.clone()),
        ];
        for collector in all {
            registry
                .register(collector)
                .map_err(|error| Error::internal(error.to_string()))?;
        }
        Ok(metrics)
    }

    fn make(
        registry: &Registry,
        kinds: impl IntoIterator<Item = &'static str>,
        methods: impl IntoIterator<Item = &'static str>,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: Requests::new(registry, kinds)?,
            quorum: Quorum::new(registry)?,
            work: WorkNumbers::new()?,
            attempts: Attempts::new(methods)?,
            in_flight: IntGauge::new("conclave_requests_in_flight", "Requests being answered.")?,
            refused: Refused::new()?,
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
            snapshot_bytes: IntGauge::new(
                "conclave_snapshot_last_size_bytes",
                "Length of the file of the snapshot that this node last wrote for an operator; 0 until then.",
            )?,
            expired: IntCounter::new(
                "conclave_expired_total",
                "Rows removed because their time had come.",
            )?,
            rewrapped: IntCounter::new(
                "conclave_rewrapped_rows_total",
                "Rows this node, as leader, sealed anew because their data key was replaced.",
            )?,
            rewrap_failures: IntCounter::new(
                "conclave_rewrap_failures_total",
                "Rounds in which this node, as leader, could not seal the rows of one ring anew; each is tried again.",
            )?,
            keys: Keys::new()?,
            rotations: rotations()?,
            rotations_overdue: IntGauge::new(
                "conclave_rotation_overdue",
                "On the leader: rotations of credentials at their targets that were due and whose last try failed.",
            )?,
            expiry_stuck: IntGauge::new(
                "conclave_expiry_stuck",
                "On the leader: rows that are no leases, whose time has come, and that could not be ended when last tried.",
            )?,
            rotation_lag: histogram(
                "conclave_rotation_lag_seconds",
                "On the leader: from when a rotation was due, or to be tried again, until it was carried out at its target.",
                &LAG_SECONDS,
            )?,
            initialized: IntGauge::new("conclave_initialized", "1 while this node belongs to a cluster.")?,
            ready: IntGauge::new("conclave_ready", "1 while this node can serve, as /readyz says.")?,
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
        })
    }

    /// A request begins.
    pub fn request_started(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// A token was shown.
    pub fn authenticated(&self, valid: bool) {
        let shown = if valid {
            &self.attempts.valid_tokens
        } else {
            &self.attempts.invalid_tokens
        };
        shown.inc();
    }

    /// A login by a method of this type came to `success`, `failure` or `locked`, or waits for a second factor. The set of types is closed.
    pub fn logged_in(&self, kind: &str, result: &str) {
        self.attempts.all.with_label_values(&[kind, result]).inc();
    }

    /// A name was locked out.
    pub fn locked_out(&self, kind: &str) {
        self.attempts.lockouts.with_label_values(&[kind]).inc();
    }

    /// A rate limit was used up.
    pub fn rate_limited(&self) {
        self.refused.rate_limited.inc();
    }

    /// A request with a valid token is refused.
    pub fn denied(&self, why: Denied) {
        match why {
            Denied::Policy => self.refused.by_policy.inc(),
            Denied::Namespace => self.refused.by_namespace.inc(),
        }
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

    /// A snapshot of this length was written whole at this time, in milliseconds.
    pub fn snapshot_saved(&self, now: u64, bytes: u64) {
        self.snapshot_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
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

    /// Rows of a ring were not sealed anew that should have been.
    pub fn rewrap_failed(&self) {
        self.rewrap_failures.inc();
    }

    /// The data keys; all 0 without.
    pub fn keyring(&self, keys: DataKeys) {
        self.keys.term.set(i64::from(keys.term));
        self.keys.old.set(i64::try_from(keys.old).unwrap_or(i64::MAX));
        self.keys
            .made
            .set(i64::try_from(keys.made / 1000).unwrap_or(i64::MAX));
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

    /// So many tokens are stored, and so many leases by type of engine; `None`: nobody can tell, for this node is sealed.
    pub fn leases(&self, tokens: u64, held: Option<&BTreeMap<String, u64>>) {
        self.state.leases.reset();
        let tokens = [("token", &tokens)];
        let held = held.into_iter().flatten();
        for (kind, count) in tokens
            .into_iter()
            .chain(held.map(|(kind, count)| (kind.as_str(), count)))
        {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.state.leases.with_label_values(&[kind]).set(count);
        }
    }

    /// A rotation that was due was carried out at its target this long, in milliseconds, after that; or was not.
    pub fn rotated(&self, done: bool, lag: u64) {
        if done {
            self.rotation_lag
                .observe(Duration::from_millis(lag).as_secs_f64());
        }
        let result = if done { "done" } else { "failed" };
        self.rotations.with_label_values(&[result]).inc();
    }

    /// So many rows could not be ended when last tried.
    pub fn expiry_stuck(&self, stuck: usize) {
        self.expiry_stuck.set(i64::try_from(stuck).unwrap_or(i64::MAX));
    }

    /// So many rotations failed when last tried.
    pub fn overdue(&self, overdue: usize) {
        self.rotations_overdue
            .set(i64::try_from(overdue).unwrap_or(i64::MAX));
    }

    /// Whether this node is known to differ.
    pub fn diverged(&self, differs: bool) {
        self.state.diverged.set(i64::from(differs));
    }

    /// What replication has cost.
    pub fn worked(&self, work: Work) {
        self.work.set(work);
    }

    /// Whether this node can serve.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// Sets the gauges.
    pub fn observe(&self, sealed: bool, shares: usize, status: Option<&Status>) {
        self.initialized.set(i64::from(status.is_some()));
        self.sealed.set(i64::from(sealed));
        self.unseal_progress
            .set(i64::try_from(shares).unwrap_or(i64::MAX));
        let none = Status::default();
        self.quorum.observe(status.unwrap_or(&none));
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
        let comparisons = counters(
            "conclave_state_comparisons_total",
            "Comparisons of the members' states that this node led, by what they came to.",
            &["result"],
        )?;
        for outcome in [Outcome::Equal, Outcome::Differs, Outcome::Undecided] {
            comparisons.with_label_values(&[outcome.name()]);
        }
        Ok(Self {
            comparisons,
            diverged: IntGauge::new(
                "conclave_state_diverged",
                "1 while the state of this node is known to differ from the majority's: it serves nothing.",
            )?,
            leases,
        })
    }
}

/// There from the start: a rate of what never happened is 0, not absent.
fn rotations() -> Result<IntCounterVec, prometheus::Error> {
    let rotations = counters(
        "conclave_rotations_total",
        "Rotations of credentials at their targets that were due, by result.",
        &["result"],
    )?;
    for result in ["done", "failed"] {
        rotations.with_label_values(&[result]);
    }
    Ok(rotations)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}
