//! The numbers core counts. Labels come from closed sets: never a path, a token, a name or an address.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::error::Error;

/// Numbers of one node.
pub struct Metrics {
    in_flight: IntGauge,
    authentications: IntCounterVec,
    denied: IntCounter,
    secret_reads: IntCounterVec,
    conflicts: IntCounter,
    expired: IntCounter,
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
        let all: [Box<dyn prometheus::core::Collector>; 6] = [
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.authentications.clone()),
            Box::new(metrics.denied.clone()),
            Box::new(metrics.secret_reads.clone()),
            Box::new(metrics.conflicts.clone()),
            Box::new(metrics.expired.clone()),
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
            authentications: IntCounterVec::new(
                Opts::new(
                    "conclave_auth_attempts_total",
                    "Requests that showed a token, by whether it was valid.",
                ),
                &["method", "result"],
            )?,
            denied: IntCounter::new(
                "conclave_denied_requests_total",
                "Requests a policy did not allow.",
            )?,
            secret_reads: IntCounterVec::new(
                Opts::new(
                    "conclave_secret_reads_total",
                    "Reads that handed out a secret, by type of mount.",
                ),
                &["mount_type"],
            )?,
            conflicts: IntCounter::new(
                "conclave_commit_conflicts_total",
                "Attempts that had to be run again.",
            )?,
            expired: IntCounter::new(
                "conclave_expired_total",
                "Rows removed because their time had come.",
            )?,
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

    /// A policy did not allow a request.
    pub fn denied(&self) {
        self.denied.inc();
    }

    /// A secret was handed out by a mount of this type. The set of types is closed: those of the built-in engines.
    pub fn secret_read(&self, kind: &str) {
        self.secret_reads.with_label_values(&[kind]).inc();
    }

    /// An attempt conflicted.
    pub fn conflict(&self) {
        self.conflicts.inc();
    }

    /// Rows were removed because their time had come.
    pub fn expired(&self, rows: usize) {
        self.expired.inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }
}
