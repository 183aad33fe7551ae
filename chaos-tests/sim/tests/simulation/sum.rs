//! What many runs met and found, and whether that shows anything: a fault that never occurred proves nothing, and a
//! simulation that fails by itself is neither a bug of the product nor a success.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{EFFECTS, FAULTS, VAULT_FAULTS};
use crate::run::Report;

/// With fewer seeds, that some fault never happened is chance.
const COVERING: u64 = 60;

#[derive(Default)]
pub struct Sum {
    pub seeds: u64,
    pub operations: u64,
    pub acknowledged: u64,
    pub compared: u64,
    pub simulated: Duration,
    pub took: Duration,
    /// Of all traces together, in any order: two runs of the same seeds tell the same, on any machine.
    hash: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// The run that took longest to heal, in milliseconds.
    slowest: (u128, u64),
    /// Seeds in which the product did what it must not.
    pub failed: Vec<u64>,
    /// Seeds in which the simulation itself failed.
    pub broken: Vec<u64>,
}

impl Sum {
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.operations += report.operations;
        self.acknowledged += report.acknowledged;
        self.compared += report.compared;
        self.simulated += report.simulated;
        self.hash = self.hash.wrapping_add(report.hash);
        let healed_in = report.healed_in.as_millis();
        self.slowest = self.slowest.max((healed_in, report.seed));
        for (fault, times) in &report.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        if !report.broken.is_empty() {
            self.broken.push(report.seed);
        } else if !report.findings.is_empty() {
            self.failed.push(report.seed);
        }
    }

    /// Whether the runs show what they are for.
    pub fn verdict(&self) -> Result<(), String> {
        if !self.failed.is_empty() {
            return Err(format!("seeds that failed: {:?}", sorted(&self.failed)));
        }
        if !self.broken.is_empty() {
            let seeds = sorted(&self.broken);
            return Err(format!(
                "the simulation itself failed, which shows nothing: seeds {seeds:?}"
            ));
        }
        let missing: Vec<_> = wanted()
            .filter(|wanted| !self.faults.contains_key(wanted))
            .collect();
        match self.seeds < COVERING || missing.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "never happened, so nothing is shown about it: {missing:?}"
            )),
        }
    }

    pub fn tell(&self, first: u64) {
        println!(
            "{} seeds from {first}, {} operations ({} acknowledged), {} states compared, {} s simulated in {} s",
            self.seeds,
            self.operations,
            self.acknowledged,
            self.compared,
            self.simulated.as_secs(),
            self.took.as_secs()
        );
        println!("traces: {:016x}", self.hash);
        println!("slowest to heal: {} ms, seed {}", self.slowest.0, self.slowest.1);
        for wanted in wanted() {
            println!("{:>8} {wanted}", self.faults.get(wanted).copied().unwrap_or(0));
        }
    }
}

fn sorted(seeds: &[u64]) -> Vec<u64> {
    let mut seeds = seeds.to_vec();
    seeds.sort_unstable();
    seeds
}

/// Everything that must have happened.
fn wanted() -> impl Iterator<Item = &'static str> {
    let faults = FAULTS.iter().chain(VAULT_FAULTS);
    let mut names: Vec<&str> = faults.map(|fault| fault.name()).collect();
    names.dedup();
    let mut all: Vec<&str> = Vec::new();
    for name in names.into_iter().chain(EFFECTS.iter().copied()) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.into_iter()
}

impl Report {
    /// Prints what a run found, if anything, how to run it again, and where its trace is.
    pub fn tell(&self) {
        let seed = self.seed;
        if self.findings.is_empty() && self.broken.is_empty() {
            return;
        }
        println!(
            "seed {seed} {}",
            if self.broken.is_empty() {
                "FAILED"
            } else {
                "is BROKEN"
            }
        );
        for found in self.findings.iter().chain(&self.broken) {
            println!("  {found}");
        }
        let path = std::env::temp_dir().join(format!("conclave-sim-{seed}.trace"));
        match std::fs::write(&path, &self.trace) {
            Ok(()) => println!("  trace: {} ({} lines)", path.display(), self.lines),
            Err(error) => println!("  no trace: {error}"),
        }
        println!("  again: FIRST={seed} SEEDS=1 make sim");
    }
}

#[test]
fn a_run_is_green_only_if_it_shows_something() {
    let full = || Sum {
        seeds: COVERING,
        faults: wanted().map(|wanted| (wanted, 1)).collect(),
        ..Sum::default()
    };
    assert_eq!(full().verdict(), Ok(()));
    for missing in wanted() {
        let mut sum = full();
        sum.faults.remove(missing);
        let why = sum.verdict().unwrap_err();
        assert!(why.contains(missing) && why.contains("never happened"), "{why}");
    }
    let broken = Sum {
        broken: vec![7],
        ..full()
    };
    assert!(
        broken
            .verdict()
            .unwrap_err()
            .contains("the simulation itself failed")
    );
    let failed = Sum {
        failed: vec![7],
        ..full()
    };
    assert!(failed.verdict().unwrap_err().contains("seeds that failed: [7]"));
}
