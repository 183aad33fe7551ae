//! Sources of bytes for the tests: repeatable, and scripted.
#![allow(dead_code, reason = "each test binary uses its own part")]

use conclave_barrier::{Barrier, BarrierId, Entropy, Keyring, SecretBytes};
use sha2::{Digest, Sha256};

/// SHA-256 of `seed | counter`: uniform for every purpose of a test, and the same in each run.
pub struct Seeded {
    seed: u64,
    counter: u64,
    rest: Vec<u8>,
}

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: 0,
            rest: Vec::new(),
        }
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.rest.is_empty() {
                let block = Sha256::new()
                    .chain_update(self.seed.to_be_bytes())
                    .chain_update(self.counter.to_be_bytes())
                    .finalize();
                self.rest = block.to_vec();
                self.rest.reverse();
                self.counter += 1;
            }
            *byte = self.rest.pop().unwrap();
        }
    }
}

/// Gives the scripted bytes, then zeros for ever.
pub struct Scripted<'a>(pub &'a [u8]);

impl Entropy for Scripted<'_> {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            *byte = match self.0.split_first() {
                Some((&first, rest)) => {
                    self.0 = rest;
                    first
                }
                None => 0,
            };
        }
    }
}

pub const ID: BarrierId = BarrierId::from_bytes(*b"barrier-id-16-by");

pub fn barrier(seed: u64) -> Barrier {
    Barrier::new(ID, Keyring::generate(1_700_000_000_000, &mut Seeded::new(seed))).unwrap()
}

/// Every way to choose `size` of `items`, in order.
pub fn subsets(items: &[SecretBytes], size: usize) -> Vec<Vec<SecretBytes>> {
    let Some((first, rest)) = items.split_first() else {
        return if size == 0 { vec![Vec::new()] } else { Vec::new() };
    };
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut with: Vec<_> = subsets(rest, size - 1);
    for subset in &mut with {
        subset.insert(0, first.clone());
    }
    with.extend(subsets(rest, size));
    with
}
