//! What is counted of leases and targets. Labels are types of engines, drivers and actions: closed sets, never a name of
//! somebody's making.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::error::Error;

/// The numbers of one node.
pub struct Numbers {
    effects: IntCounterVec,
    revocations: IntCounterVec,
    left_alone: IntGauge,
}

impl Numbers {
    /// Registers all of them.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let internal = |error: prometheus::Error| Error::internal(error.to_string());
        let numbers = Self::unregistered().map_err(internal)?;
        let all: [Box<dyn prometheus::core::Collector>; 3] = [
            Box::new(numbers.effects.clone()),
            Box::new(numbers.revocations.clone()),
            Box::new(numbers.left_alone.clone()),
        ];
        for collector in all {
            registry.register(collector).map_err(internal)?;
        }
        Ok(numbers)
    }

    fn unregistered() -> Result<Self, prometheus::Error> {
        Ok(Self {
            effects: IntCounterVec::new(
                Opts::new(
                    "conclave_target_calls_total",
                    "Plans carried out at targets, by driver, action and result.",
                ),
                &["driver", "action", "result"],
            )?,
            revocations: IntCounterVec::new(
                Opts::new(
                    "conclave_lease_revocations_total",
                    "Attempts to revoke a lease, by type of engine and result.",
                ),
                &["engine", "result"],
            )?,
            left_alone: IntGauge::new(
                "conclave_targets_left_alone",
                "Targets that did not answer and are left alone for a while; on the leader.",
            )?,
        })
    }

    /// A plan was carried out, or was not.
    pub fn effect(&self, driver: &str, action: &str, done: bool) {
        self.effects
            .with_label_values(&[driver, action, result(done)])
            .inc();
    }

    /// A lease was revoked, or was not.
    pub fn revocation(&self, engine: &str, done: bool) {
        self.revocations.with_label_values(&[engine, result(done)]).inc();
    }

    /// How many targets are left alone.
    pub fn left_alone(&self, targets: usize) {
        self.left_alone.set(i64::try_from(targets).unwrap_or(i64::MAX));
    }
}

fn result(done: bool) -> &'static str {
    if done { "done" } else { "failed" }
}
