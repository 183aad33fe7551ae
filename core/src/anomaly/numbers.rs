//! The numbers of detection. Labels are rules, severities and stages: never a path, an identity or an address.

use std::collections::BTreeMap;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use conclave_anomaly::{Kind, Severity, Status, Summary};

use crate::error::Error;

/// All of them.
pub struct Numbers {
    found: IntCounterVec,
    active: IntGaugeVec,
    dropped: IntCounterVec,
    facts: IntCounter,
    suppressed: IntCounter,
    posts: IntCounterVec,
    limits: IntGauge,
    holds: IntGauge,
    identities: IntGaugeVec,
    pairs: prometheus::Gauge,
}

/// Where requests were lost to detection.
const QUEUE: &str = "queue";
const SUMMARY: &str = "summary";

impl Numbers {
    /// Registers all numbers, each with every label there is.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let numbers = Self::unregistered().map_err(|error| Error::internal(error.to_string()))?;
        numbers.show();
        let all: [Box<dyn prometheus::core::Collector>; 10] = [
            Box::new(numbers.found.clone()),
            Box::new(numbers.active.clone()),
            Box::new(numbers.dropped.clone()),
            Box::new(numbers.facts.clone()),
            Box::new(numbers.suppressed.clone()),
            Box::new(numbers.posts.clone()),
            Box::new(numbers.limits.clone()),
            Box::new(numbers.holds.clone()),
            Box::new(numbers.identities.clone()),
            Box::new(numbers.pairs.clone()),
        ];
        for collector in all {
            registry
                .register(collector)
                .map_err(|error| Error::internal(error.to_string()))?;
        }
        Ok(numbers)
    }

    fn unregistered() -> Result<Self, prometheus::Error> {
        Ok(Self {
            found: IntCounterVec::new(
                Opts::new(
                    "conclave_anomalies_total",
                    "Unusual access that this node, as leader, found, by rule and severity.",
                ),
                &["rule", "severity"],
            )?,
            active: IntGaugeVec::new(
                Opts::new(
                    "conclave_anomaly_active",
                    "On the leader: events of the last hour that nobody has acknowledged, by rule. Elsewhere 0.",
                ),
                &["rule"],
            )?,
            dropped: IntCounterVec::new(
                Opts::new(
                    "conclave_anomaly_requests_dropped_total",
                    "Requests that detection did not look at because there were too many, by where they were lost.",
                ),
                &["stage"],
            )?,
            facts: IntCounter::new(
                "conclave_anomaly_facts_total",
                "On the leader: groups of like requests that nodes told of.",
            )?,
            suppressed: IntCounter::new(
                "conclave_anomaly_findings_suppressed_total",
                "Findings that were not stored because too many came at once.",
            )?,
            posts: IntCounterVec::new(
                Opts::new(
                    "conclave_anomaly_webhook_posts_total",
                    "Events posted to webhooks, by what came of it: success, retried, dropped.",
                ),
                &["result"],
            )?,
            limits: IntGauge::new(
                "conclave_anomaly_limits",
                "On the leader: identities and tokens that are held back because a rule found something. Elsewhere 0.",
            )?,
            holds: IntGauge::new(
                "conclave_anomaly_holds",
                "On the leader: identities that must show a second factor because a rule found something. Elsewhere 0.",
            )?,
            identities: IntGaugeVec::new(
                Opts::new(
                    "conclave_anomaly_identities",
                    "On the leader: identities whose habits are known, being learned, or active now. Elsewhere 0.",
                ),
                &["state"],
            )?,
            pairs: prometheus::Gauge::new(
                "conclave_anomaly_pair_sketch_load_ratio",
                "On the leader: how full the sketch of identities and paths is; above 0.5 it forgets.",
            )?,
        })
    }

    /// Shows every label there is from the start: Prometheus sees no increase in a number that it has not seen before.
    fn show(&self) {
        for kind in Kind::ALL {
            // Any of them: a rule's may be changed, and what it finds then is to be told of the first time too.
            for severity in Severity::ALL {
                let labels = [kind.name(), severity.name()];
                self.found.with_label_values(&labels).inc_by(0);
            }
            self.active.with_label_values(&[kind.name()]).set(0);
        }
        for stage in [QUEUE, SUMMARY] {
            self.dropped.with_label_values(&[stage]).inc_by(0);
        }
        for result in ["success", "retried", "dropped"] {
            self.posts.with_label_values(&[result]).inc_by(0);
        }
        for state in ["learned", "learning", "active"] {
            self.identities.with_label_values(&[state]).set(0);
        }
    }

    /// Requests were not looked at because the queue was full.
    pub fn dropped(&self, requests: u64) {
        self.dropped.with_label_values(&[QUEUE]).inc_by(requests);
    }

    /// A summary was taken in.
    pub fn took(&self, summary: &Summary) {
        self.facts.inc_by(summary.facts.len() as u64);
        self.dropped.with_label_values(&[SUMMARY]).inc_by(summary.dropped);
    }

    /// Something was found.
    pub fn found(&self, kind: Kind, severity: Severity) {
        self.found
            .with_label_values(&[kind.name(), severity.name()])
            .inc();
    }

    /// Findings were not stored.
    pub fn suppressed(&self, findings: usize) {
        self.suppressed.inc_by(findings as u64);
    }

    /// A post came to `success`, `retried` or `dropped`.
    pub fn posted(&self, result: &str) {
        self.posts.with_label_values(&[result]).inc();
    }

    /// So much is known.
    pub fn knows(&self, status: &Status) {
        let set = |state: &str, count: usize| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.identities.with_label_values(&[state]).set(count);
        };
        set("learned", status.learned);
        set("learning", status.identities.saturating_sub(status.learned));
        set("active", status.active);
        self.pairs.set(status.pair_load);
    }

    /// So many events are open.
    pub fn open(&self, by_rule: &BTreeMap<String, i64>) {
        for kind in Kind::ALL {
            let count = by_rule.get(kind.name()).copied().unwrap_or(0);
            self.active.with_label_values(&[kind.name()]).set(count);
        }
    }

    /// So many are held back.
    pub fn limits(&self, limits: usize) {
        self.limits.set(i64::try_from(limits).unwrap_or(i64::MAX));
    }

    /// So many must show a second factor.
    pub fn holds(&self, holds: usize) {
        self.holds.set(i64::try_from(holds).unwrap_or(i64::MAX));
    }

    /// This node does not lead: what is known is known elsewhere.
    pub fn leads_not(&self) {
        self.open(&BTreeMap::new());
        for state in ["learned", "learning", "active"] {
            self.identities.with_label_values(&[state]).set(0);
        }
        self.pairs.set(0.0);
        self.limits(0);
        self.holds(0);
    }
}
