//! How well the rules find what they are for: generated months of ordinary traffic with attacks in them, drawn from ranges that
//! the rules do not know. `cargo run -p conclave-anomaly --example backtest -- 101 120` prints the figures of
//! `docs/anomalies.md`; thresholds were tuned on seeds 1 to 20.

#![allow(
    clippy::indexing_slicing,
    reason = "a measurement: an index that is wrong ends it"
)]

mod attacks;
mod random;
mod score;
mod world;

use std::io::Write;

use score::Score;

/// How strong attacks are, of their usual strength.
const STRENGTHS: [f64; 3] = [1.0, 0.5, 0.25];

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse::<u64>().ok());
    let (from, to) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(20));
    let verbose = std::env::var_os("SHOW_FALSE_ALERTS").is_some();
    let mut out = std::io::stdout().lock();
    for strength in STRENGTHS {
        let mut score = Score::default();
        for seed in from..=to {
            score.add(&score::run(seed, strength));
        }
        writeln!(
            out,
            "seeds {from} to {to}, attacks at {strength} of their usual strength"
        )?;
        score.print(&mut out, verbose)?;
        writeln!(out)?;
    }
    Ok(())
}
