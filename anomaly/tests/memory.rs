//! What detection costs in memory, as the operating system counts it: at a million pairs of identity and path.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::sync::Arc;

use conclave_anomaly::{Act, Detector, Fact, Keyer, MAX_PROFILES, RuleSet};

/// Pairs of the promise.
const PAIRS: u64 = 1_000_000;
/// Identities they are of: far more than are remembered.
const IDENTITIES: u64 = 40_000;
/// The promise in KB.
const MOST_KB: u64 = 64 * 1024;

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_million_pairs_take_less_than_64_mb() {
    let before = resident_kb();
    let keyer = Keyer::new(&[3; 16]);
    let mut detector = Detector::new(Arc::new(RuleSet::default()));
    let mut found = Vec::new();
    for n in 0..PAIRS {
        let (who, network) = (n % IDENTITIES, n % 7919);
        let what = keyer.key(3, &[&n.to_be_bytes()]);
        detector.learn_name(what, &format!("secret/data/team-{who}/application-{n}/password"));
        let fact = Fact {
            who: keyer.key(1, &[&who.to_be_bytes()]),
            what,
            source: keyer.key(4, &[&network.to_be_bytes()]),
            ..Fact::new(Act::Read, 1_767_571_200_000 + n * 100)
        };
        detector.observe(1, &fact, &mut found);
        found.clear();
    }
    let known = detector.status(1_767_571_200_000 + PAIRS * 100).identities;
    assert!(known <= MAX_PROFILES && known > MAX_PROFILES / 2, "{known}");
    let used = resident_kb() - before;
    assert!(used < MOST_KB, "{used} KB for {PAIRS} pairs");
    // For who wants to know it.
    println!("{used} KB for {PAIRS} pairs of {known} identities");
}
