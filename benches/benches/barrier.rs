//! What sealing and opening one value and one name costs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::hint::black_box;

use conclave_barrier::{Barrier, BarrierId, CLUSTER_RING, Entropy, Keyring};
use criterion::{Criterion, criterion_group, criterion_main};

/// Counts up: ciphers take as long whatever the bytes are.
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

fn barrier(c: &mut Criterion) {
    let mut entropy = Counting(1);
    let keyring = Keyring::generate(1_700_000_000_000, &mut entropy);
    let barrier = Barrier::new(BarrierId::from_bytes([7; 16]), keyring).unwrap();
    let row = [3; 60];
    for bytes in [256, 4096] {
        let value = vec![9; bytes];
        let sealed = barrier
            .seal_value(CLUSTER_RING, 0x16, &row, &value, &mut entropy)
            .unwrap();
        c.bench_function(&format!("barrier/seal value {bytes} bytes"), |b| {
            b.iter(|| barrier.seal_value(CLUSTER_RING, 0x16, &row, black_box(&value), &mut entropy))
        });
        c.bench_function(&format!("barrier/open value {bytes} bytes"), |b| {
            b.iter(|| barrier.open_value(0x16, &row, black_box(&sealed)))
        });
    }
    let sealed = barrier
        .seal_segment(CLUSTER_RING, &row, b"database-password")
        .unwrap();
    c.bench_function("barrier/seal name", |b| {
        b.iter(|| barrier.seal_segment(CLUSTER_RING, &row, black_box(b"database-password")))
    });
    c.bench_function("barrier/open name", |b| {
        b.iter(|| barrier.open_segment(CLUSTER_RING, &row, black_box(&sealed)))
    });
}

criterion_group!(benches, barrier);
criterion_main!(benches);
