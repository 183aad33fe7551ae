//! What must hold after each round, whatever happened in it. Each file one promise; a broken one ends the run with words of
//! its own, which tell a finding from a failure of the run itself.

pub mod audit;
pub mod keys;
pub mod marks;
pub mod metrics;
pub mod tokens;
pub mod watches;

/// How findings begin. What a run says otherwise when it fails is its own fault.
pub const FINDINGS: &[&str] = &[
    "NOT LINEARIZABLE",
    "LOST",
    "UNTOLD",
    "diverged",
    "DIVERGED",
    "ABSURD",
    "UNRECORDED",
    "FELL",
    "TOKEN",
    "IN THE CLEAR",
    "not within",
    "NOBODY IS SERVED",
    "ended by itself",
    "ends as if all were well",
];
