//! Many seeds: how many, which, on how many threads; what is compared with itself.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use conclave_chaos_chance::seed_this_thread;
use parking_lot::Mutex;

use crate::plan::Plan;
use crate::record::record;
use crate::run::{Report, run};
use crate::sum::Sum;

/// Seeds of an ordinary run of all tests.
const SEEDS: u64 = 300;
/// Seeds whose runs are compared with a second run of them, vaults among them.
const TWICE: u64 = 8;
/// Runs of one of these among which two must be alike.
const TRIES: usize = 4;

pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

pub fn jobs() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    number("JOBS", cores as u64)
}

/// Runs seeds on some threads, in any order; the sum does not depend on it.
fn run_all(first: u64, seeds: u64) -> Sum {
    let next = AtomicU64::new(first);
    let sum = Mutex::new(Sum::default());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs().min(seeds) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + seeds {
                        return;
                    }
                    let report = run(Plan::new(seed, None));
                    report.tell();
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
    let sum = run_all(first, seeds);
    sum.tell(first);
    let verdict = sum.verdict();
    record(first, &sum, &verdict);
    if let Err(why) = verdict {
        panic!("{why}");
    }
}

#[test]
fn chance_is_of_the_seed_where_one_was_given_and_nowhere_else() {
    let drawn = |seed: Option<u64>| {
        let thread = std::thread::spawn(move || {
            if let Some(seed) = seed {
                seed_this_thread(seed);
            }
            RandomState::new().hash_one(0_u8)
        });
        thread.join().unwrap()
    };
    assert_eq!(drawn(Some(1)), drawn(Some(1)));
    assert_ne!(drawn(Some(1)), drawn(Some(2)));
    assert_ne!(drawn(None), drawn(None));
}

/// Two runs of a seed that say the same, down to each message. HTTP/2 itself looks at the machine's clock once: a stream that was
/// reset is forgotten after a second of it (`DEFAULT_RESET_STREAM_SECS` of h2), and what comes for it later is answered. On a machine
/// that stands still for so long, one run has a message more. Chance of our own makes each run another one.
#[test]
fn a_seed_runs_twice_alike() {
    let first = number("FIRST", 1);
    for seed in first..first + number("TWICE", TWICE) {
        let plan = Plan {
            wire: number("WIRE", 0) == 1,
            ..Plan::new(seed, None)
        };
        let mut runs = vec![run(plan.clone())];
        loop {
            let next = run(plan.clone());
            assert!(next.lines > 100, "seed {seed} has a trace that says something");
            let is_next = |one: &Report| one.trace == next.trace && one.hash == next.hash;
            if runs.iter().any(is_next) {
                break;
            }
            runs.push(next);
            if let (Some(one), Some(other), true) = (runs.first(), runs.last(), runs.len() == TRIES) {
                tell_difference(seed, one, other);
            }
        }
    }
}

/// Fails with the first line in which two runs differ, and leaves their traces.
fn tell_difference(seed: u64, one: &Report, other: &Report) -> ! {
    assert_ne!(
        one.trace, other.trace,
        "seed {seed}: messages differ; WIRE=1 shows which"
    );
    let differs = one.trace.lines().zip(other.trace.lines());
    let at = differs.take_while(|(one, other)| one == other).count();
    for (report, name) in [(one, "one"), (other, "other")] {
        let path = std::env::temp_dir().join(format!("conclave-sim-{seed}-{name}.trace"));
        std::fs::write(path, &report.trace).unwrap();
    }
    panic!(
        "seed {seed}: no two of {TRIES} runs are alike; these differ from line {}:\n{:?}\n{:?}",
        at + 1,
        one.trace.lines().nth(at),
        other.trace.lines().nth(at)
    );
}
