//! Seals: which shares open them, which are named as wrong at once, and gathering.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{Seeded, subsets};
use conclave_barrier::{Error, Given, RootKey, SealConfig, SealKind, SecretBytes, ShareProgress};
use proptest::prelude::*;

fn root() -> RootKey {
    RootKey::generate(&mut Seeded::new(1))
}

fn seal(n: u8, t: u8, seed: u64) -> (SealConfig, Vec<SecretBytes>) {
    SealConfig::create(&root(), n, t, 6, &mut Seeded::new(seed)).unwrap()
}

const NOT_A_SHARE: Error = Error::NotAShare { generation: 6 };

#[test]
fn every_threshold_of_shares_opens_the_seal() {
    for n in 1..=6 {
        for t in if n == 1 { 1..=1 } else { 2..=n } {
            let (config, shares) = seal(n, t, 2);
            assert_eq!((config.shares(), config.threshold()), (usize::from(n), t));
            assert_eq!((config.generation(), config.kind()), (6, SealKind::Shamir));
            let len = if n == 1 { 32 } else { 33 };
            assert!(shares.iter().all(|share| share.len() == len));
            for (index, share) in shares.iter().enumerate() {
                assert_eq!(config.check_share(share.expose()), Ok(index));
            }
            for size in usize::from(t)..=usize::from(n) {
                for subset in subsets(&shares, size) {
                    assert!(config.open_root(&subset).unwrap().is(&root()));
                }
            }
            for subset in subsets(&shares, usize::from(t) - 1) {
                let few = Error::TooFewShares {
                    given: usize::from(t) - 1,
                    needed: usize::from(t),
                };
                assert_eq!(config.open_root(&subset).err(), Some(few));
            }
        }
    }
}

#[test]
fn numbers_that_make_no_sharing_are_refused() {
    for (n, t) in [(0, 0), (0, 1), (1, 0), (2, 3), (2, 1)] {
        let refused = SealConfig::create(&root(), n, t, 1, &mut Seeded::new(1)).err();
        assert!(matches!(refused, Some(Error::ShareNumbers { .. })), "{t} of {n}");
    }
}

#[test]
fn a_wrong_share_is_named_at_once() {
    let (config, shares) = seal(5, 3, 2);
    let (_, foreign) = seal(5, 3, 3);
    let (_, older) = SealConfig::create(&root(), 5, 3, 5, &mut Seeded::new(2)).unwrap();
    let mut typo = shares[0].expose().to_vec();
    typo[4] ^= 1;
    let mut other_x = shares[0].expose().to_vec();
    *other_x.last_mut().unwrap() ^= 1;
    let short = &shares[0].expose()[..32];
    for wrong in [foreign[0].expose(), &typo, &other_x, short, b""] {
        assert_eq!(config.check_share(wrong), Err(NOT_A_SHARE));
        let set = [shares[1].clone(), shares[2].clone(), SecretBytes::copy_of(wrong)];
        assert_eq!(config.open_root(&set).err(), Some(NOT_A_SHARE));
    }
    // The same bytes at another generation have another hash.
    assert_eq!(older[0].expose(), shares[0].expose());
    let (next, _) = SealConfig::create(&root(), 5, 3, 7, &mut Seeded::new(2)).unwrap();
    let mut renumbered = config.encode();
    renumbered[18..26].copy_from_slice(&7u64.to_be_bytes());
    let renumbered = SealConfig::decode(&renumbered).unwrap();
    assert_eq!(
        renumbered.check_share(shares[0].expose()),
        Err(Error::NotAShare { generation: 7 })
    );
    assert_eq!(next.check_share(shares[0].expose()), Ok(0));
}

#[test]
fn the_same_share_twice_is_refused() {
    let (config, shares) = seal(5, 3, 2);
    let twice = [shares[0].clone(), shares[1].clone(), shares[0].clone()];
    assert_eq!(config.open_root(&twice).err(), Some(Error::DuplicateShare));
}

#[test]
fn the_stored_form_reads_back_and_nothing_in_it_can_be_altered() {
    let (config, shares) = seal(3, 2, 2);
    let bytes = config.encode();
    assert_eq!(SealConfig::decode(&bytes).unwrap(), config);
    assert!(
        SealConfig::decode(&bytes)
            .unwrap()
            .open_root(&shares[..2])
            .unwrap()
            .is(&root())
    );
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = SealConfig::decode(&flipped).and_then(|config| config.open_root(&shares));
        assert!(opened.is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert_eq!(
            SealConfig::decode(&bytes[..len]),
            Err(Error::Truncated {
                what: "seal configuration"
            }),
            "{len}"
        );
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(
        SealConfig::decode(&longer),
        Err(Error::TrailingBytes {
            what: "seal configuration"
        })
    );
}

#[test]
fn unknown_formats_and_reserved_kinds_are_errors() {
    let mut bytes = seal(3, 2, 2).0.encode();
    for (kind, name) in [(2, "static"), (3, "transit"), (4, "kms")] {
        bytes[1] = kind;
        assert_eq!(
            SealConfig::decode(&bytes),
            Err(Error::UnsupportedSeal { kind: name })
        );
    }
    bytes[1] = 5;
    assert!(matches!(SealConfig::decode(&bytes), Err(Error::Malformed { .. })));
    bytes[0] = 2;
    let unknown = Error::UnknownFormat {
        what: "seal configuration",
        format: 2,
    };
    assert_eq!(SealConfig::decode(&bytes), Err(unknown));
}

#[test]
fn gathering_counts_distinct_shares_and_opens_at_the_threshold() {
    let (config, shares) = seal(5, 3, 2);
    let mut progress = ShareProgress::new(&config, [1; 16]);
    assert_eq!(
        (progress.given(), progress.threshold(), progress.is_complete()),
        (0, 3, false)
    );
    assert_eq!(progress.add(&config, shares[4].clone()), Ok(Given::New));
    assert_eq!(progress.add(&config, shares[4].clone()), Ok(Given::Again));
    assert_eq!(progress.given(), 1);
    assert_eq!(
        progress.add(&config, SecretBytes::copy_of(b"no share")),
        Err(NOT_A_SHARE)
    );
    assert_eq!(progress.given(), 1);
    assert_eq!(
        progress.open_root(&config).err(),
        Some(Error::TooFewShares { given: 1, needed: 3 })
    );
    assert_eq!(progress.add(&config, shares[0].clone()), Ok(Given::New));
    assert!(!progress.is_complete());
    assert_eq!(progress.add(&config, shares[2].clone()), Ok(Given::New));
    assert!(progress.is_complete());
    assert!(progress.open_root(&config).unwrap().is(&root()));
    let handed_on: Vec<&[u8]> = progress.shares().map(SecretBytes::expose).collect();
    assert_eq!(
        handed_on,
        [shares[0].expose(), shares[2].expose(), shares[4].expose()]
    );
    assert_eq!(progress.nonce(), &[1; 16]);
}

#[test]
fn a_reset_forgets_the_shares_and_takes_a_new_nonce() {
    let (config, shares) = seal(5, 3, 2);
    let mut progress = ShareProgress::new(&config, [1; 16]);
    progress.add(&config, shares[0].clone()).unwrap();
    progress.reset([2; 16]);
    assert_eq!((progress.given(), progress.nonce()), (0, &[2; 16]));
    assert_eq!(progress.add(&config, shares[0].clone()), Ok(Given::New));
}

#[test]
fn shares_gathered_for_another_seal_do_not_carry_over() {
    let (config, shares) = seal(5, 3, 2);
    let (rekeyed, new_shares) = SealConfig::create(&root(), 5, 3, 7, &mut Seeded::new(9)).unwrap();
    let mut progress = ShareProgress::new(&config, [1; 16]);
    progress.add(&config, shares[0].clone()).unwrap();
    assert_eq!(
        progress.add(&rekeyed, new_shares[0].clone()),
        Err(Error::StaleProgress)
    );
    assert_eq!(progress.open_root(&rekeyed).err(), Some(Error::StaleProgress));
    assert_eq!(progress.given(), 1);
}

proptest! {
    #[test]
    fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..400), n in 0u8..6, t in 0u8..6) {
        let mut headed = vec![1, 1];
        headed.extend_from_slice(&[0; 24]);
        headed.extend_from_slice(&[n, t]);
        headed.extend_from_slice(&bytes);
        for input in [bytes, headed] {
            if let Ok(config) = SealConfig::decode(&input) {
                prop_assert_eq!(config.encode(), input);
            }
        }
    }
}
