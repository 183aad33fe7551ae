//! Every corpus through its target, and mutations of it from a seed: what a fuzzer once found stays found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::path::Path;

use conclave_fuzz::{TARGETS, Target};

/// Mutations of each entry of a corpus.
const MUTATIONS: u64 = 400;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_corpus_is_taken() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for entry in &corpus {
            target(entry);
        }
    }
}

#[test]
fn mutations_are_taken() {
    for (name, target) in TARGETS {
        mutate(name, target);
    }
}

fn mutate(name: &str, target: Target) {
    let corpus = corpus(name);
    let mut random = Random(0x5eed ^ name.len() as u64);
    for (number, entry) in corpus.iter().enumerate() {
        for round in 0..MUTATIONS {
            let other = &corpus[random.below(corpus.len())];
            let input = random.mutated(entry, other);
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(
                outcome.is_ok(),
                "{name}: entry {number}, round {round}: {input:?}"
            );
        }
    }
}

/// xorshift64*: the same mutations in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn mutated(&mut self, entry: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = entry.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len() + 1);
            match self.below(6) {
                0 if at < out.len() => out[at] ^= 1 << self.below(8),
                1 if at < out.len() => out[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'/', b'*'][self.below(8)],
                2 => out.insert(at, u8::try_from(self.below(256)).unwrap()),
                3 => out.truncate(at),
                4 => {
                    let from = self.below(other.len() + 1);
                    out.splice(at..at, other[from..].iter().copied());
                }
                _ => {
                    let end = (at + self.below(8)).min(out.len());
                    out.drain(at.min(end)..end);
                }
            }
        }
        out
    }
}
