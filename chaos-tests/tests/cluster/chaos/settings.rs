//! What a person may ask of a run, by the environment; `make chaos` names it all.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::Fault;
use crate::harness::Seed;

/// Minutes after which a run of `make test` takes up no more rounds once it has been through its faults: about three in all.
const SHORT: f64 = 2.7;
const MINUTES: &str = "CONCLAVE_CHAOS_MINUTES";
const SEEDS: &str = "CONCLAVE_CHAOS_SEEDS";
const FAULTS: &str = "CONCLAVE_CHAOS_FAULTS";
const NODES: &str = "CONCLAVE_CHAOS_NODES";
const REPORT: &str = "CONCLAVE_CHAOS_REPORT";
const RECORD: &str = "CONCLAVE_CHAOS_RECORD";
const COMMIT: &str = "CONCLAVE_CHAOS_COMMIT";

/// Answers awaited in each stage of a fault, in a run of a few minutes and in a longer one.
const ENOUGH: [u64; 2] = [250, 1200];
/// Sizes of clusters.
const SIZES: [usize; 2] = [3, 5];

/// A run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Clusters, one after the other, with the seeds from `first` on.
    pub seeds: u64,
    pub first: u64,
    /// How long each goes on; every fault happens once however short that is.
    pub each: Duration,
    pub faults: Vec<Fault>,
    pub nodes: usize,
    pub enough: u64,
    /// Where the page goes that shows the run.
    pub report: PathBuf,
    /// The document to which a line about the run is added.
    pub record: Option<PathBuf>,
    /// What was run.
    pub commit: String,
}

impl Settings {
    /// As the environment says; a run of `make test` where it says nothing.
    pub fn of_environment() -> Self {
        let minutes: Option<f64> = number(MINUTES);
        let seeds: u64 = number(SEEDS).unwrap_or(1).max(1);
        let named = text(FAULTS);
        let short = minutes.is_none() && named.is_none();
        let total = minutes.unwrap_or(if short { SHORT } else { 0.0 });
        let total = Duration::from_secs_f64(total * 60.0);
        let faults = match named.as_deref() {
            None if short => Fault::SHORT.to_vec(),
            None | Some("all") => Fault::ALL.to_vec(),
            Some(names) => names.split(',').map(|name| named_fault(name.trim())).collect(),
        };
        let nodes = number(NODES).unwrap_or(SIZES[0]);
        assert!(
            SIZES.contains(&nodes),
            "{NODES}={nodes}: a cluster has 3 or 5 nodes"
        );
        Self {
            seeds,
            first: Seed::of_this_run().number(),
            each: total / u32::try_from(seeds).expect("few seeds"),
            faults,
            nodes,
            enough: ENOUGH[usize::from(minutes.is_some())],
            report: text(REPORT).map_or_else(default_report, PathBuf::from),
            record: text(RECORD).map(PathBuf::from),
            commit: text(COMMIT).unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// Whether no seed comes after this one.
    pub fn is_last(&self, seed: u64) -> bool {
        seed == self.first.wrapping_add(self.seeds - 1)
    }

    /// Goes on without the faults that need namespaces, and says so.
    pub fn leave_out_cables(&mut self) {
        for fault in self.faults.extract_if(.., |fault| fault.needs_cables()) {
            eprintln!("NOT RUN: {}: network namespaces need root", fault.name());
        }
        assert!(!self.faults.is_empty(), "A POOR RUN: no fault is left");
    }

    /// The command that makes the same choices again.
    pub fn again(&self, seed: u64) -> String {
        let names: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
        let faults = if self.faults.len() == Fault::ALL.len() {
            "all".to_owned()
        } else {
            names.join(",")
        };
        let minutes = (self.each.as_secs_f64() / 60.0).max(0.1);
        format!(
            "make chaos SEED={seed} MINUTES={minutes:.1} NODES={} FAULTS={faults}",
            self.nodes
        )
    }
}

fn text(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|text| !text.is_empty())
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = text(variable)?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

fn named_fault(name: &str) -> Fault {
    let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    Fault::named(name).unwrap_or_else(|| panic!("{FAULTS}: {name} is none of {}", names.join(", ")))
}

fn default_report() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chaos.html")
}
