//! Many seeds: how many, which, on how many threads; what they met and what they found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::plan::{EFFECTS, FAULTS, MUTANTS, Mutant, Plan};
use crate::run::{Report, run};

/// Seeds of an ordinary run of all tests.
const SEEDS: u64 = 60;
/// Seeds whose runs are compared with a second run of them.
const TWICE: u64 = 5;
/// A mutant is caught within this many seeds.
const CATCH: u64 = 200;
/// Seeds that mutants meet begin here. With one before it a mutant runs into a check of openraft in the middle of a drop,
/// which ends the process.
const MUTATED: u64 = 100;
/// With fewer seeds, that some fault never happened is chance.
const COVERING: u64 = 60;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

fn jobs() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    number("JOBS", cores as u64)
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    operations: u64,
    acknowledged: u64,
    compared: u64,
    simulated: Duration,
    faults: BTreeMap<&'static str, u64>,
    /// The run that took longest to heal, in milliseconds.
    slowest: (u128, u64),
    failed: Vec<u64>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.operations += report.operations;
        self.acknowledged += report.acknowledged;
        self.compared += report.compared;
        self.simulated += report.simulated;
        let healed_in = report.healed_in.as_millis();
        self.slowest = self.slowest.max((healed_in, report.seed));
        for (fault, times) in &report.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        if !report.findings.is_empty() {
            self.failed.push(report.seed);
            tell(report);
        }
    }
}

/// Prints what a run found, how to run it again, and where its trace is.
fn tell(report: &Report) {
    let seed = report.seed;
    println!("seed {seed} FAILED");
    for found in &report.findings {
        println!("  {found}");
    }
    let path = std::env::temp_dir().join(format!("conclave-sim-{seed}.trace"));
    match std::fs::write(&path, &report.trace) {
        Ok(()) => println!("  trace: {} ({} lines)", path.display(), report.lines),
        Err(error) => println!("  no trace: {error}"),
    }
    println!("  again: FIRST={seed} SEEDS=1 make sim");
}

/// Runs seeds on some threads, in any order; the sum does not depend on it.
fn run_all(first: u64, seeds: u64, mutant: Option<Mutant>, until: impl Fn(&Report) -> bool + Sync) -> Sum {
    let (next, end) = (AtomicU64::new(first), AtomicU64::new(first + seeds));
    let sum = Mutex::new(Sum::default());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs().min(seeds) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end.load(Ordering::SeqCst) {
                        return;
                    }
                    let report = run(Plan::new(seed, mutant));
                    if until(&report) {
                        end.fetch_min(seed, Ordering::SeqCst);
                    }
                    let mut sum = sum.lock();
                    match mutant {
                        Some(_) => sum.seeds += 1,
                        None => sum.add(&report),
                    }
                    if mutant.is_none() && sum.seeds.is_multiple_of(50) {
                        let (done, failed) = (sum.seeds, sum.failed.len());
                        let pace = done as f64 / started.elapsed().as_secs_f64();
                        println!("{done} of {seeds} seeds, {pace:.2} a second, {failed} failed");
                    }
                }
            });
        }
    });
    sum.into_inner()
}

#[test]
fn nothing_goes_wrong_whatever_goes_wrong() {
    let (first, seeds) = (number("FIRST", 1), number("SEEDS", SEEDS));
    let started = Instant::now();
    let mut sum = run_all(first, seeds, None, |_| false);
    sum.failed.sort_unstable();
    println!(
        "{} seeds from {first}, {} operations ({} acknowledged), {} states compared, {} s simulated in {} s",
        sum.seeds,
        sum.operations,
        sum.acknowledged,
        sum.compared,
        sum.simulated.as_secs(),
        started.elapsed().as_secs()
    );
    println!("slowest to heal: {} ms, seed {}", sum.slowest.0, sum.slowest.1);
    let wanted = FAULTS
        .iter()
        .map(|fault| fault.name())
        .chain(EFFECTS.iter().copied());
    let mut missing = Vec::new();
    for fault in wanted {
        let times = sum.faults.get(fault).copied().unwrap_or(0);
        println!("{times:>8} {fault}");
        if times == 0 {
            missing.push(fault);
        }
    }
    assert!(sum.failed.is_empty(), "seeds that failed: {:?}", sum.failed);
    assert!(
        seeds < COVERING || missing.is_empty(),
        "never happened, so nothing is shown about it: {missing:?}"
    );
}

#[test]
fn a_seed_runs_twice_alike() {
    let first = number("FIRST", 1);
    for seed in first..first + number("TWICE", TWICE) {
        let plan = Plan {
            wire: number("WIRE", 0) == 1,
            ..Plan::new(seed, None)
        };
        let (one, other) = (run(plan.clone()), run(plan));
        if one.trace != other.trace {
            let differs = one.trace.lines().zip(other.trace.lines());
            let at = differs.take_while(|(one, other)| one == other).count();
            for (report, name) in [(&one, "one"), (&other, "other")] {
                let path = std::env::temp_dir().join(format!("conclave-sim-{seed}-{name}.trace"));
                std::fs::write(path, &report.trace).unwrap();
            }
            panic!(
                "seed {seed} differs from line {}:\n{:?}\n{:?}",
                at + 1,
                one.trace.lines().nth(at),
                other.trace.lines().nth(at)
            );
        }
        assert_eq!(
            one.hash, other.hash,
            "seed {seed}: messages differ; WIRE=1 shows which"
        );
        assert!(one.lines > 100, "seed {seed} has a trace that says something");
    }
}

#[test]
fn every_mutant_is_caught() {
    let only = std::env::var("MUTANT").ok();
    let first = number("FIRST", MUTATED);
    for (mutant, name) in MUTANTS {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let caught: Mutex<Option<(u64, String)>> = Mutex::default();
        let sum = run_all(first, CATCH, Some(*mutant), |report| {
            let Some(found) = report.findings.first() else {
                return false;
            };
            let mut caught = caught.lock();
            if caught.as_ref().is_none_or(|(seed, _)| *seed > report.seed) {
                *caught = Some((report.seed, found.clone()));
            }
            true
        });
        let caught = caught.into_inner();
        let (seed, found) = caught.unwrap_or_else(|| panic!("{name} survives {} seeds", sum.seeds));
        let tried = seed - first + 1;
        println!("{name}: caught within {tried} seeds: {found}");
        println!(
            "  again: FIRST={seed} MUTANT={name} cargo test -p conclave-chaos-sim every_mutant -- --nocapture"
        );
    }
}
