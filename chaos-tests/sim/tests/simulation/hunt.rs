//! Bugs that are put back, and whether the simulation finds them. Each seed has a process of its own: what a bug does to
//! the product may panic in the middle of a panic, which ends a process.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::plan::{MUTANTS, Mutant, Plan};
use crate::run::{HARNESS, run};
use crate::seeds::{jobs, number};

/// A mutant is caught within this many seeds.
const CATCH: u64 = 200;
/// Set in the process of one seed, to its number.
const PREY: &str = "HUNTED_SEED";
/// What such a process says last: what it found, that it found nothing, or that the simulation itself failed.
const FOUND: &str = "found: ";
const NOTHING: &str = "nothing found";
const BROKEN: &str = "broken: ";

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
    if std::env::var_os(PREY).is_some() {
        return mutants.iter().for_each(|(mutant, _)| meet(*mutant));
    }
    let variable = match built_in {
        Some(_) => "CONCLAVE_MUTANT",
        None => "MUTANT",
    };
    for (_, name) in mutants {
        hunt(name, variable);
    }
}

/// One seed, in the process that is there for it.
fn meet(mutant: Option<Mutant>) {
    let report = run(Plan::new(number(PREY, 1), mutant));
    match (report.broken.first(), report.findings.first()) {
        (Some(broken), _) => println!("{BROKEN}{broken}"),
        (None, Some(found)) => println!("{FOUND}{found}"),
        (None, None) => println!("{NOTHING}"),
    }
}

fn hunt(name: &str, variable: &str) {
    let (first, seeds) = (number("FIRST", 1), number("SEEDS", CATCH));
    let (next, end) = (AtomicU64::new(first), AtomicU64::new(first + seeds));
    let caught: Mutex<Option<(u64, String)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs().min(seeds) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end.load(Ordering::SeqCst) {
                        return;
                    }
                    let Some(found) = apart(seed, name, variable) else {
                        continue;
                    };
                    end.fetch_min(seed, Ordering::SeqCst);
                    let mut caught = caught.lock();
                    if caught.as_ref().is_none_or(|(known, _)| *known > seed) {
                        *caught = Some((seed, found));
                    }
                }
            });
        }
    });
    let caught = caught.into_inner();
    let (seed, found) = caught.unwrap_or_else(|| panic!("{name} survives {seeds} seeds"));
    println!("{name}: caught within {} seeds: {found}", seed - first + 1);
    println!(
        "  again: FIRST={seed} {variable}={name} cargo test -p conclave-chaos-sim every_mutant -- --nocapture"
    );
}

/// What a seed finds in a process of its own. A simulation that fails by itself has caught nothing, and is no pass either.
fn apart(seed: u64, name: &str, variable: &str) -> Option<String> {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hunt::every_mutant_is_caught", "--nocapture"])
        .env(PREY, seed.to_string())
        .env(variable, name)
        .output()
        .unwrap();
    let (told, complaint) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    let said = |what: &str| {
        told.lines()
            .find_map(|line| line.split_once(what))
            .map(|(_, rest)| rest.to_owned())
    };
    if let Some(broken) = said(BROKEN) {
        panic!("{name}: the simulation failed with seed {seed}: {broken}");
    }
    if said(NOTHING).is_some() && ran.status.success() {
        return None;
    }
    // A process that ended has said first which check of the product did that.
    said(FOUND).or_else(|| {
        let mut panics = complaint
            .lines()
            .filter_map(|line| line.split_once("panicked at "));
        let (_, first) = panics
            .next()
            .unwrap_or_else(|| panic!("{name}, seed {seed}: {complaint}"));
        assert!(
            !first.contains(HARNESS),
            "{name}: the simulation failed with seed {seed}: {first}"
        );
        let file = first.rsplit('/').next().unwrap_or(first);
        Some(format!(
            "a check in {} ends the process",
            file.trim_end_matches(':')
        ))
    })
}
