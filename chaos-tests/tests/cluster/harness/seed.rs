//! All randomness of a scenario, from one printed number. Not for secrets that matter.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::Command;

/// Repeats a run: `CONCLAVE_CHAOS_SEED=... cargo nextest run ...`.
const VARIABLE: &str = "CONCLAVE_CHAOS_SEED";

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone)]
pub struct Seed(u64);

impl Seed {
    /// The seed of this run: from the environment, else a fresh one. Printed, so that a failure can be repeated.
    pub fn of_this_run() -> Self {
        let given = std::env::var(VARIABLE).ok();
        let seed = match given {
            Some(text) => Self(
                text.parse()
                    .unwrap_or_else(|_| panic!("{VARIABLE}={text} is no number")),
            ),
            None => Self::fresh(),
        };
        eprintln!("seed: {VARIABLE}={}", seed.0);
        seed
    }

    /// The one that this number makes.
    pub fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// The number that makes this one.
    pub fn number(&self) -> u64 {
        self.0
    }

    /// One that differs in each process.
    pub fn fresh() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// Makes it the seed of a program's run.
    pub fn give_to(&self, program: &mut Command) {
        program.env(VARIABLE, self.0.to_string());
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// A generator of its own for a part of the scenario.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// `length` random lower-case letters and digits.
    pub fn text(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..length)
            .map(|_| char::from(ALPHABET[self.below(ALPHABET.len())]))
            .collect()
    }

    /// The items in a random order.
    pub fn shuffled<T: Clone>(&mut self, items: &[T]) -> Vec<T> {
        let mut items = items.to_vec();
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
        items
    }
}
