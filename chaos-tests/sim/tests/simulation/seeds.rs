//! Many seeds: how many, which, on how many threads; what is compared with itself; which bugs are found.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::plan::{MUTANTS, Mutant, Plan};
use crate::record::record;
use crate::run::{Report, run};
use crate::sum::Sum;

/// Seeds of an ordinary run of all tests.
const SEEDS: u64 = 300;
/// Seeds whose runs are compared with a second run of them.
const TWICE: u64 = 5;
/// A mutant is caught within this many seeds.
const CATCH: u64 = 200;
/// Seeds that mutants meet begin here. With one before it a mutant runs into a check of openraft in the middle of a drop,
/// which ends the process.
const MUTATED: u64 = 100;

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
                    sum.add(&report);
                    if sum.seeds.is_multiple_of(50) {
                        let (done, failed) = (sum.seeds, sum.failed.len());
                        let pace = done as f64 / started.elapsed().as_secs_f64();
                        println!("{done} of {seeds} seeds, {pace:.2} a second, {failed} failed");
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner();
    sum.took = started.elapsed();
    sum
}

#[test]
fn nothing_goes_wrong_whatever_goes_wrong() {
    let (first, seeds) = (number("FIRST", 1), number("SEEDS", SEEDS));
    let sum = run_all(first, seeds, None, |report| {
        report.tell();
        false
    });
    sum.tell(first);
    let verdict = sum.verdict();
    record(first, &sum, &verdict);
    if let Err(why) = verdict {
        panic!("{why}");
    }
}

#[test]
fn a_seed_runs_twice_alike() {
    let first = number("FIRST", 1);
    // Keys are drawn from the system in those that have any.
    let seeds = (first..).filter(|seed| !Plan::new(*seed, None).vault);
    for seed in seeds.take(usize::try_from(number("TWICE", TWICE)).unwrap()) {
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

/// With `CONCLAVE_MUTANT`, which builds with the feature `mutants` obey, the bug is in the product; else each of those that
/// the simulation itself has is put in, or the one that `MUTANT` names.
#[test]
fn every_mutant_is_caught() {
    let built_in = std::env::var("CONCLAVE_MUTANT").ok();
    let only = std::env::var("MUTANT").ok();
    let mutants: Vec<(Option<Mutant>, &str)> = match &built_in {
        Some(name) => vec![(None, name.as_str())],
        None => MUTANTS
            .iter()
            .map(|(mutant, name)| (Some(*mutant), *name))
            .filter(|(_, name)| only.as_ref().is_none_or(|only| only == name))
            .collect(),
    };
    assert!(!mutants.is_empty(), "no mutant is named {only:?}");
    let variable = if built_in.is_some() {
        "CONCLAVE_MUTANT"
    } else {
        "MUTANT"
    };
    for (mutant, name) in mutants {
        caught(mutant, name, variable);
    }
}

fn caught(mutant: Option<Mutant>, name: &str, variable: &str) {
    let first = number("FIRST", MUTATED);
    let caught: Mutex<Option<(u64, String)>> = Mutex::default();
    let sum = run_all(first, number("SEEDS", CATCH), mutant, |report| {
        let Some(found) = report.findings.first() else {
            return false;
        };
        let mut caught = caught.lock();
        if caught.as_ref().is_none_or(|(seed, _)| *seed > report.seed) {
            *caught = Some((report.seed, found.clone()));
        }
        true
    });
    // A simulation that fails by itself has caught nothing.
    assert!(
        sum.broken.is_empty(),
        "{name}: the simulation failed in seeds {:?}",
        sum.broken
    );
    let (seed, found) = caught
        .into_inner()
        .unwrap_or_else(|| panic!("{name} survives {} seeds", sum.seeds));
    let tried = seed - first + 1;
    println!("{name}: caught within {tried} seeds: {found}");
    println!(
        "  again: FIRST={seed} {variable}={name} cargo test -p conclave-chaos-sim every_mutant -- --nocapture"
    );
}
