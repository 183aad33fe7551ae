//! Shamir's scheme: what any threshold of shares gives, what fewer give, and shares made by other programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use common::{Scripted, Seeded, subsets};
use conclave_barrier::shamir::{MAX_SECRET_BYTES, combine, split};
use conclave_barrier::{Entropy, Error, SecretBytes};

const SECRET: &[u8] = b"\0\xff a secret of 32 bytes, or so.";

fn shares_of(n: u8, t: u8) -> Vec<SecretBytes> {
    split(SECRET, n, t, &mut Seeded::new(u64::from(n) << 8 | u64::from(t))).unwrap()
}

#[test]
fn every_subset_of_the_threshold_or_more_gives_the_secret_back() {
    for n in 2..=6 {
        for t in 2..=n {
            let shares = shares_of(n, t);
            assert_eq!(shares.len(), usize::from(n));
            for size in usize::from(t)..=usize::from(n) {
                for subset in subsets(&shares, size) {
                    assert_eq!(combine(&subset, t).unwrap().expose(), SECRET, "{size} of {t}/{n}");
                }
            }
            let reversed: Vec<_> = shares.iter().rev().cloned().collect();
            assert_eq!(combine(&reversed, t).unwrap().expose(), SECRET);
        }
    }
}

#[test]
fn the_largest_sharing_works() {
    let shares = shares_of(255, 255);
    assert_eq!(combine(&shares, 255).unwrap().expose(), SECRET);
}

#[test]
fn one_share_of_one_is_the_secret_itself() {
    let shares = shares_of(1, 1);
    assert_eq!(shares.len(), 1);
    assert_eq!(shares[0].expose(), SECRET);
    assert_eq!(combine(&shares, 1).unwrap().expose(), SECRET);
}

#[test]
fn fewer_shares_than_the_threshold_are_refused() {
    let shares = shares_of(5, 3);
    for given in 0..3 {
        assert_eq!(
            combine(&shares[..given], 3).err(),
            Some(Error::TooFewShares { given, needed: 3 })
        );
    }
    assert_eq!(
        combine(&shares, 0).err(),
        Some(Error::TooFewShares { given: 5, needed: 1 })
    );
    // Taken for a sharing with a lower threshold they give something else.
    assert_ne!(combine(&shares[..2], 2).unwrap().expose(), SECRET);
}

#[test]
fn numbers_that_make_no_sharing_are_refused() {
    for (n, t) in [(0, 0), (0, 1), (1, 0), (5, 0), (2, 3), (1, 2), (2, 1), (255, 1)] {
        let refused = split(SECRET, n, t, &mut Seeded::new(1)).err();
        assert!(
            matches!(refused, Some(Error::ShareNumbers { shares, threshold, .. }) if (shares, threshold) == (n, t))
        );
    }
    assert!(matches!(
        split(b"", 3, 2, &mut Seeded::new(1)).err(),
        Some(Error::MalformedShare { .. })
    ));
    let long = vec![1; MAX_SECRET_BYTES + 1];
    assert!(matches!(
        split(&long, 3, 2, &mut Seeded::new(1)).err(),
        Some(Error::TooLarge { .. })
    ));
}

#[test]
fn malformed_shares_are_refused() {
    let shares = shares_of(3, 2);
    let of = |bytes: &[u8]| SecretBytes::copy_of(bytes);
    let malformed =
        |shares: &[SecretBytes]| matches!(combine(shares, 2).err(), Some(Error::MalformedShare { .. }));

    let twice = [shares[0].clone(), shares[1].clone(), shares[0].clone()];
    assert_eq!(combine(&twice, 2).err(), Some(Error::DuplicateShare));
    let mut same_x = shares[1].expose().to_vec();
    *same_x.last_mut().unwrap() = *shares[0].expose().last().unwrap();
    assert_eq!(
        combine(&[shares[0].clone(), of(&same_x)], 2).err(),
        Some(Error::DuplicateShare)
    );

    let mut zero_x = shares[1].expose().to_vec();
    *zero_x.last_mut().unwrap() = 0;
    assert!(malformed(&[shares[0].clone(), of(&zero_x)]));
    assert!(malformed(&[shares[0].clone(), of(&shares[1].expose()[1..])]));
    assert!(malformed(&[of(&[1]), of(&[2])]));
    assert!(malformed(&[of(&[]), of(&[])]));
}

#[test]
fn xs_are_distinct_and_never_zero_and_the_first_is_any() {
    let mut firsts = [0u32; 256];
    for seed in 0..5_100 {
        let shares = split(b"s", 2, 2, &mut Seeded::new(seed)).unwrap();
        let x = |share: &SecretBytes| *share.expose().last().unwrap();
        assert_ne!(x(&shares[0]), x(&shares[1]));
        firsts[usize::from(x(&shares[0]))] += 1;
    }
    assert_eq!(firsts[0], 0);
    assert!(firsts[1..].iter().all(|&n| n > 0), "20 expected of each");

    let mut all: Vec<u8> = shares_of(255, 2)
        .iter()
        .map(|share| *share.expose().last().unwrap())
        .collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(1..=255));
}

/// Exhaustive for a one-byte secret: whatever a single share of two says, every secret fits it equally often.
#[test]
fn one_share_of_two_leaves_every_secret_equally_likely() {
    for x_place in 0..2 {
        let mut seen = vec![[0u32; 256]; 256];
        for secret in 0..=255u8 {
            for coefficient in 0..=255u8 {
                let shares = split(&[secret], 2, 2, &mut Scripted(&[coefficient])).unwrap();
                let y = shares[x_place].expose()[0];
                seen[usize::from(y)][usize::from(secret)] += 1;
            }
        }
        assert!(seen.iter().flatten().all(|&count| count == 1));
    }
}

/// Exhaustive over the coefficients: for a secret, two shares of three take every pair of values exactly once, so
/// they look the same whatever the secret is.
#[test]
fn two_shares_of_three_look_the_same_for_every_secret() {
    for secret in [0u8, 1, 0xa5] {
        let mut seen = vec![false; 1 << 16];
        for coefficients in 0..=u16::MAX {
            let shares = split(&[secret], 3, 3, &mut Scripted(&coefficients.to_be_bytes())).unwrap();
            let pair = usize::from(shares[0].expose()[0]) << 8 | usize::from(shares[1].expose()[0]);
            assert!(!std::mem::replace(&mut seen[pair], true));
        }
    }
}

/// Takes coefficients from a uniform source and makes the first x 1, where the share is the sum of the secret and
/// all coefficients.
struct FirstXIsOne(Seeded, bool);

impl Entropy for FirstXIsOne {
    fn fill(&mut self, out: &mut [u8]) {
        if std::mem::replace(&mut self.1, false) {
            self.0.fill(out)
        } else {
            out.fill(0)
        }
    }
}

#[test]
fn coefficients_are_uniform_with_zero_among_them() {
    const SAMPLES: u32 = 65_536;
    let mut counts = [0u32; 256];
    for seed in 0..u64::from(SAMPLES) / 256 {
        let secret = [0; 256];
        let shares = split(&secret, 2, 2, &mut FirstXIsOne(Seeded::new(seed), true)).unwrap();
        let (x, coefficients) = shares[0].expose().split_last().unwrap();
        assert_eq!(*x, 1);
        for &coefficient in coefficients {
            counts[usize::from(coefficient)] += 1;
        }
    }
    assert!(counts[0] > 0);
    let expected = f64::from(SAMPLES) / 256.0;
    let chi_square: f64 = counts
        .iter()
        .map(|&n| (f64::from(n) - expected).powi(2) / expected)
        .sum();
    // 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert!((150.0..360.0).contains(&chi_square), "{chi_square}");
}

/// vsss-rs writes x first; the field and the rest are the same.
#[test]
fn vsss_rs_combines_our_shares() {
    for (n, t) in [(2, 2), (5, 3), (7, 7)] {
        let shares = shares_of(n, t);
        for subset in subsets(&shares, usize::from(t)) {
            let theirs: Vec<Vec<u8>> = subset
                .iter()
                .map(|share| {
                    let (x, y) = share.expose().split_last().unwrap();
                    [&[*x], y].concat()
                })
                .collect();
            assert_eq!(vsss_rs::Gf256::combine_bytes(&theirs).unwrap(), SECRET);
        }
    }
}

#[test]
fn we_combine_shares_made_by_vsss_rs() {
    let rng = || getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    for (n, t) in [(2usize, 2u8), (5, 3), (7, 7)] {
        let theirs = vsss_rs::Gf256::split_bytes(usize::from(t), n, SECRET, rng()).unwrap();
        let shares: Vec<SecretBytes> = theirs
            .iter()
            .map(|share| {
                let (x, y) = share.split_first().unwrap();
                SecretBytes::new([y, &[*x]].concat())
            })
            .collect();
        for subset in subsets(&shares, usize::from(t)) {
            assert_eq!(combine(&subset, t).unwrap().expose(), SECRET);
        }
    }
}

/// Shares that a real `bao operator init` printed: every threshold of them gives one key, and that key opens what the
/// server itself stored under it.
#[test]
fn shares_of_a_real_openbao_open_what_it_sealed() {
    let fixture: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/openbao-shares.json")).unwrap();
    let sets = fixture["sets"].as_array().unwrap();
    assert_eq!(sets.len(), 5);
    for set in sets {
        let threshold = u8::try_from(set["threshold"].as_u64().unwrap()).unwrap();
        let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
        let shares: Vec<SecretBytes> = set["keys_hex"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| SecretBytes::new(bytes(key)))
            .collect();
        assert_eq!(shares.len() as u64, set["shares"].as_u64().unwrap());

        let key = combine(&shares, threshold).unwrap();
        assert_eq!(key.len(), 32);
        for subset in subsets(&shares, usize::from(threshold)) {
            assert!(combine(&subset, threshold).unwrap().matches(key.expose()));
        }
        let sealed = bytes(&set["sealed_root_hex"]);
        let (nonce, text) = sealed.split_first_chunk::<12>().unwrap();
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.expose()).unwrap();
        let mut text = text.to_vec();
        let root = cipher
            .open_in_place(Nonce::from(nonce), Aad::empty(), &mut text)
            .unwrap();
        assert!(
            root.starts_with(b"[\"") && root.len() == 48,
            "a JSON list of one base64 key"
        );
    }
}
