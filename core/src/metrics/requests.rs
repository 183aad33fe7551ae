//! How long requests take and what they hand out, by type of mount: handles are looked up once for a request and made at
//! first use, so that counting costs no lock and no text. It must not know what a request asks for.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use conclave_raft::mutant;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::request::Verb;

/// Bounds in seconds: from a cached read to the time-out of a request.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];
/// Operations as they are counted, in the order of [`place_of`].
const OPERATIONS: [&str; 7] = ["read", "write", "patch", "delete", "list", "scan", "help"];
/// Mounts whose type is none of the built-in ones, and paths on which nothing is mounted.
const OTHER: &str = "none";

/// Numbers of requests by type of mount. The types are those that are built in: a closed set.
pub struct Requests {
    kinds: HashMap<&'static str, Kind>,
    other: Kind,
    times: HistogramVec,
    reads: IntCounterVec,
}

/// What is counted at mounts of one type.
pub struct Kind {
    name: &'static str,
    times: [OnceLock<Histogram>; OPERATIONS.len()],
    reads: OnceLock<IntCounter>,
}

impl Kind {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            times: Default::default(),
            reads: OnceLock::new(),
        }
    }

    /// The type of mount: one that is built in, or `none`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Requests {
    /// Registers them for mounts of these types.
    pub fn new(
        registry: &Registry,
        kinds: impl IntoIterator<Item = &'static str>,
    ) -> Result<Self, prometheus::Error> {
        let times = HistogramOpts::new(
            "conclave_request_duration_seconds",
            "From a request's arrival at the pipeline to its audited answer, by type of mount and operation.",
        );
        let times = HistogramVec::new(times.buckets(SECONDS.to_vec()), &["mount_type", "operation"])?;
        let reads = IntCounterVec::new(
            Opts::new(
                "conclave_secret_reads_total",
                "Reads that handed out a secret, by type of mount.",
            ),
            &["mount_type"],
        )?;
        registry.register(Box::new(times.clone()))?;
        registry.register(Box::new(reads.clone()))?;
        // There from the start: rates of what never happened are 0, not absent.
        reads.with_label_values(&["kv"]);
        Ok(Self {
            kinds: kinds.into_iter().map(|kind| (kind, Kind::new(kind))).collect(),
            other: Kind::new(OTHER),
            times,
            reads,
        })
    }

    /// Where requests to mounts of this type are counted.
    pub fn of(&self, kind: &str) -> &Kind {
        self.kinds.get(kind).unwrap_or(&self.other)
    }

    /// Where requests are counted that reach no mount.
    pub fn of_none(&self) -> &Kind {
        &self.other
    }

    /// A request took this long.
    pub fn answered(&self, kind: &Kind, verb: Verb, took: Duration) {
        let place = place_of(verb);
        let (Some(times), Some(operation)) = (kind.times.get(place), OPERATIONS.get(place)) else {
            return;
        };
        times
            .get_or_init(|| self.times.with_label_values(&[kind.name, operation]))
            .observe(took.as_secs_f64());
    }

    /// A secret was handed out.
    pub fn secret_read(&self, kind: &Kind) {
        let reads = kind
            .reads
            .get_or_init(|| self.reads.with_label_values(&[kind.name]));
        if mutant::is("falling-counter") && mutant::sometimes() {
            reads.reset();
        }
        reads.inc();
    }
}

fn place_of(verb: Verb) -> usize {
    match verb {
        Verb::Read => 0,
        Verb::Write => 1,
        Verb::Patch => 2,
        Verb::Delete => 3,
        Verb::List => 4,
        Verb::Scan => 5,
        Verb::Help => 6,
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn types_that_nobody_built_in_share_one_label() {
        let registry = Registry::new();
        let requests = Requests::new(&registry, ["kv"]).unwrap();
        for kind in ["kv", "somebody's own", "another", "kv"] {
            requests.answered(requests.of(kind), Verb::List, Duration::from_millis(3));
        }
        requests.secret_read(requests.of("kv"));
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"conclave_request_duration_seconds_count{mount_type="kv",operation="list"} 2"#,
            r#"conclave_request_duration_seconds_count{mount_type="none",operation="list"} 2"#,
            r#"conclave_secret_reads_total{mount_type="kv"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("own") && !text.contains("another"), "{text}");
    }
}
