//! What is counted of leases and targets. Labels are types of engines, drivers and actions: closed sets, never a name of
//! somebody's making.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::error::Error;
use crate::leases::tally::{ByEngine, Tally};

/// The numbers of one node.
pub struct Numbers {
    effects: IntCounterVec,
    revocations: IntCounterVec,
    left_alone: IntGauge,
    orphans: IntCounterVec,
    reconciliations: IntCounterVec,
    stuck: IntGaugeVec,
    open: IntGaugeVec,
    due: IntGauge,
    rotations_due: IntGauge,
}

impl Numbers {
    /// Registers all of them.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let internal = |error: prometheus::Error| Error::internal(error.to_string());
        let numbers = Self::unregistered().map_err(internal)?;
        let all: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(numbers.effects.clone()),
            Box::new(numbers.revocations.clone()),
            Box::new(numbers.left_alone.clone()),
            Box::new(numbers.orphans.clone()),
            Box::new(numbers.reconciliations.clone()),
            Box::new(numbers.stuck.clone()),
            Box::new(numbers.open.clone()),
            Box::new(numbers.due.clone()),
            Box::new(numbers.rotations_due.clone()),
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
            orphans: counters(
                "conclave_lease_orphans_total",
                "Accounts that were found without a lease in a target and are dropped, by type of engine.",
                &["engine"],
            )?,
            reconciliations: counters(
                "conclave_lease_reconciliations_total",
                "Comparisons of a target's accounts with the leases, by type of engine and result.",
                &["engine", "result"],
            )?,
            stuck: gauges(
                "conclave_leases_stuck",
                "Revocations that failed and are tried again or wait for a target that does not answer, by type of engine; counted once a minute.",
            )?,
            open: gauges(
                "conclave_lease_intents_open",
                "Accounts in the making, by type of engine; counted once a minute.",
            )?,
            due: IntGauge::new(
                "conclave_leases_due",
                "Leases whose end has come and that are still there; counted once a minute.",
            )?,
            rotations_due: IntGauge::new(
                "conclave_rotation_due",
                "Rotations of credentials at their targets whose time has come and that nobody has begun; counted once a minute.",
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

    /// The accounts of a target were compared with the leases, or it did not say which it has.
    pub fn reconciled(&self, engine: &str, done: bool) {
        self.reconciliations
            .with_label_values(&[engine, result(done)])
            .inc();
    }

    /// So many accounts without a lease are dropped.
    pub fn orphans(&self, engine: &str, accounts: usize) {
        let accounts = u64::try_from(accounts).unwrap_or(u64::MAX);
        self.orphans.with_label_values(&[engine]).inc_by(accounts);
    }

    /// What was counted; `None`: this node cannot count, for it is sealed.
    pub fn counted(&self, tally: Option<&Tally>) {
        let none = Tally::default();
        let tally = tally.unwrap_or(&none);
        // Prometheus sees no increase in a number that it has not seen before.
        for engine in tally.leases.keys() {
            self.orphans.with_label_values(&[engine]).inc_by(0);
            for done in [true, false] {
                self.revocations
                    .with_label_values(&[engine, result(done)])
                    .inc_by(0);
            }
        }
        set(&self.stuck, &tally.stuck);
        set(&self.open, &tally.open);
        self.due.set(i64::try_from(tally.due).unwrap_or(i64::MAX));
    }

    /// So many rotations wait to be begun.
    pub fn rotations_due(&self, rotations: usize) {
        self.rotations_due
            .set(i64::try_from(rotations).unwrap_or(i64::MAX));
    }

    /// How many targets are left alone.
    pub fn left_alone(&self, targets: usize) {
        self.left_alone.set(i64::try_from(targets).unwrap_or(i64::MAX));
    }
}

fn result(done: bool) -> &'static str {
    if done { "done" } else { "failed" }
}

/// Every engine that was told of before and is not now has none.
fn set(gauges: &IntGaugeVec, counts: &ByEngine) {
    use prometheus::core::Collector;

    let known: Vec<String> = gauges
        .collect()
        .iter()
        .flat_map(prometheus::proto::MetricFamily::get_metric)
        .flat_map(|metric| metric.get_label().iter().map(|label| label.value().to_owned()))
        .collect();
    for engine in known.iter().filter(|engine| !counts.contains_key(*engine)) {
        gauges.with_label_values(&[engine]).set(0);
    }
    for (engine, count) in counts {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        gauges.with_label_values(&[engine]).set(count);
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauges(name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), &["engine"])
}
