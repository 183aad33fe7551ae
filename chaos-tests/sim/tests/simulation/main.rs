//! Whole clusters on a simulated network, disk and clock, from a seed: what must always hold does, whatever goes wrong, and
//! a seed that shows otherwise shows it again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod clock;
mod dice;
mod disk;
mod history;
mod hunt;
mod invariants;
mod nemesis;
mod net;
mod node;
mod plan;
mod record;
mod run;
mod scenarios;
mod seeds;
mod sum;
mod trace;
mod vault;
mod wire;
mod workload;
mod world;
