//! Sealed names: the published vectors, determinism, and what a sealed name must not open as.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use aes_siv::KeyInit;
use aes_siv::siv::Aes128Siv;
use common::{Seeded, barrier};
use conclave_barrier::{CLUSTER_RING, Error, MAX_SEGMENT_BYTES, NAME_OVERHEAD, NameKey, NameSuite};
use proptest::prelude::*;

const TAMPERED: Option<Error> = Some(Error::Tampered { what: "sealed name" });

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

/// RFC 5297 appendices A.1 and A.2: they are for AES-128, so they check the mode beneath our suite.
#[test]
fn the_vectors_of_rfc_5297() {
    let vectors = [
        (
            "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            vec!["101112131415161718191a1b1c1d1e1f2021222324252627"],
            "112233445566778899aabbccddee",
            "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
        ),
        (
            "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f",
            vec![
                "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100",
                "102030405060708090a0",
                "09f911029d74e35bd84156c5635688c0",
            ],
            "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
            "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a27\
             2e9c485b62a3fd5c0d",
        ),
    ];
    for (key, associated, plaintext, sealed) in vectors {
        let associated: Vec<Vec<u8>> = associated.into_iter().map(bytes).collect();
        let mut siv = Aes128Siv::new_from_slice(&bytes(key)).unwrap();
        assert_eq!(
            siv.encrypt(&associated, &bytes(plaintext)).unwrap(),
            bytes(sealed)
        );
        assert_eq!(
            siv.decrypt(&associated, &bytes(sealed)).unwrap(),
            bytes(plaintext)
        );
    }
}

/// Miscreant's vector for AES-256-SIV with one string of associated data, which is exactly our suite; then an empty
/// segment, an empty parent and one of several blocks as OpenSSL (through pyca/cryptography 48) seals them.
#[test]
fn vectors_of_aes_256_siv_through_our_suite() {
    let key = NameKey::from_slice(&bytes(
        "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f06f6e6d6c6b6a69686766656463626160\
         f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f",
    ))
    .unwrap();
    let parent = bytes("101112131415161718191a1b1c1d1e1f2021222324252627");
    let segment = bytes("112233445566778899aabbccddee");
    let sealed = bytes("f125274c598065cfc26b0e71575029088b035217e380cac8919ee800c126");
    assert_eq!(key.seal(&parent, &segment).unwrap(), sealed);
    assert_eq!(key.open(&parent, &sealed).unwrap().expose(), segment);

    let long: Vec<u8> = (0..40).collect();
    for (parent, segment, sealed) in [
        (&b"parent"[..], &b""[..], "cca86b1eded54bc4c9f994249b108c4a"),
        (b"", b"segment", "7893b23b9d30f806711d7e0f573986a25bbbb7e1ecc0ba"),
        (
            b"parent",
            &long,
            "9a645fb02140570aa1ff3b9ec4c1e95c607344921052b2785c764a40ad24b5f57cca3b364324c37a11b3219ef035eac2472bd65e6c47012f",
        ),
    ] {
        assert_eq!(hex::encode(key.seal(parent, segment).unwrap()), sealed);
        assert_eq!(key.open(parent, &bytes(sealed)).unwrap().expose(), segment);
    }
}

#[test]
fn sealing_is_deterministic_and_length_preserving() {
    let barrier = barrier(1);
    for len in [0, 1, 15, 16, 17, 31, 32, 255, MAX_SEGMENT_BYTES] {
        let segment = vec![b'n'; len];
        let sealed = barrier.seal_segment(CLUSTER_RING, b"parent", &segment).unwrap();
        assert_eq!(
            sealed,
            barrier.seal_segment(CLUSTER_RING, b"parent", &segment).unwrap()
        );
        assert_eq!(sealed.len(), len + NAME_OVERHEAD);
        assert_eq!(
            barrier
                .open_segment(CLUSTER_RING, b"parent", &sealed)
                .unwrap()
                .expose(),
            segment
        );
    }
}

#[test]
fn equal_names_look_different_under_different_parents_and_keys() {
    let home = barrier(1);
    let one = home.seal_segment(CLUSTER_RING, b"a", b"database").unwrap();
    let two = home.seal_segment(CLUSTER_RING, b"b", b"database").unwrap();
    assert_ne!(one, two);
    assert_ne!(
        one,
        barrier(2).seal_segment(CLUSTER_RING, b"a", b"database").unwrap()
    );
    assert_eq!(home.open_segment(CLUSTER_RING, b"b", &one).err(), TAMPERED);
    assert_eq!(home.open_segment(CLUSTER_RING, b"", &one).err(), TAMPERED);
    assert_eq!(barrier(2).open_segment(CLUSTER_RING, b"a", &one).err(), TAMPERED);
}

#[test]
fn what_is_too_long_or_too_short_is_refused() {
    let barrier = barrier(1);
    let too_large = Some(Error::TooLarge {
        what: "path segment, in bytes,",
        limit: MAX_SEGMENT_BYTES,
    });
    assert_eq!(
        barrier
            .seal_segment(CLUSTER_RING, b"", &vec![0; MAX_SEGMENT_BYTES + 1])
            .err(),
        too_large
    );
    assert_eq!(
        barrier
            .open_segment(CLUSTER_RING, b"", &vec![0; MAX_SEGMENT_BYTES + NAME_OVERHEAD + 1])
            .err(),
        too_large
    );
    for len in 0..NAME_OVERHEAD {
        let cut = Some(Error::Truncated { what: "sealed name" });
        assert_eq!(barrier.open_segment(CLUSTER_RING, b"", &vec![0; len]).err(), cut);
    }
    assert_eq!(
        NameKey::from_slice(&[0; 32]).err(),
        Some(Error::KeyLength {
            what: "name key",
            expected: 64,
            found: 32
        })
    );
    let mut raw = [0; 64];
    conclave_barrier::Entropy::fill(&mut Seeded::new(8), &mut raw);
    let generated = NameKey::generate(&mut Seeded::new(8)).seal(b"p", b"s").unwrap();
    assert_eq!(
        NameKey::from_slice(&raw).unwrap().seal(b"p", b"s").unwrap(),
        generated
    );
}

proptest! {
    #[test]
    fn a_name_opens_under_its_parent_and_no_flipped_bit_does(
        parent in prop::collection::vec(any::<u8>(), 0..100),
        segment in prop::collection::vec(any::<u8>(), 0..100),
        bit in any::<prop::sample::Index>(),
    ) {
        let barrier = barrier(1);
        let mut sealed = barrier.seal_segment(CLUSTER_RING, &parent, &segment).unwrap();
        let opened = barrier.open_segment(CLUSTER_RING, &parent, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), segment.as_slice());
        prop_assert_eq!(barrier.open_segment(CLUSTER_RING, &[&parent[..], b"x"].concat(), &sealed).err(), TAMPERED);
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(barrier.open_segment(CLUSTER_RING, &parent, &sealed).err(), TAMPERED);
    }
}
