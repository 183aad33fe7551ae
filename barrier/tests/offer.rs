//! Key offers: who can open them, and in which context.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::Seeded;
use conclave_barrier::{Error, Recipient, seal_to};
use proptest::prelude::*;

const CONTEXT: &[u8] = b"barrier, both nodes, both nonces, generation, epoch";
const TAMPERED: Option<Error> = Some(Error::Tampered { what: "key offer" });

fn recipient(seed: u64) -> Recipient {
    Recipient::new(&mut Seeded::new(seed)).unwrap()
}

fn offer(to: &Recipient) -> Vec<u8> {
    seal_to(
        to.public(),
        CONTEXT,
        b"a root key of 32 bytes, or so...",
        &mut Seeded::new(77),
    )
    .unwrap()
}

#[test]
fn the_recipient_opens_the_offer_in_its_context_only() {
    let peer = recipient(1);
    let blob = offer(&peer);
    assert_eq!(
        peer.open(CONTEXT, &blob).unwrap().expose(),
        b"a root key of 32 bytes, or so..."
    );
    assert_eq!(peer.open(b"", &blob).err(), TAMPERED);
    assert_eq!(peer.open(&[CONTEXT, b"x"].concat(), &blob).err(), TAMPERED);
    assert_eq!(recipient(2).open(CONTEXT, &blob).err(), TAMPERED);
}

#[test]
fn an_altered_offer_is_refused() {
    let peer = recipient(1);
    let blob = offer(&peer);
    // X25519 ignores the highest bit of a public key (RFC 7748 section 5), but the agreed key binds its bytes.
    for bit in 0..blob.len() * 8 {
        let mut flipped = blob.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(peer.open(CONTEXT, &flipped).is_err(), "bit {bit}");
    }
    for len in 0..blob.len() {
        assert!(peer.open(CONTEXT, &blob[..len]).is_err(), "{len}");
    }
    let mut other = blob.clone();
    other[0] = 2;
    let unknown = Error::UnknownFormat {
        what: "key offer",
        format: 2,
    };
    assert_eq!(peer.open(CONTEXT, &other).err(), Some(unknown));
    other[..2].copy_from_slice(&[1, 3]);
    let unknown = Error::UnknownSuite {
        what: "key offer",
        suite: 3,
    };
    assert_eq!(peer.open(CONTEXT, &other).err(), Some(unknown));
}

#[test]
fn unusable_keys_and_large_payloads_are_refused() {
    let refused = seal_to(&[0; 32], CONTEXT, b"x", &mut Seeded::new(1)).err();
    assert_eq!(refused, Some(Error::BadPublicKey));
    let too_large = Some(Error::TooLarge {
        what: "key offer, in bytes,",
        limit: 4096,
    });
    let peer = recipient(1);
    assert_eq!(
        seal_to(peer.public(), CONTEXT, &[0; 4097], &mut Seeded::new(1)).err(),
        too_large
    );
    let mut blob = offer(&peer);
    blob.resize(2 + 32 + 4097 + 16, 0);
    assert_eq!(peer.open(CONTEXT, &blob).err(), too_large);
}

#[test]
fn two_offers_of_one_key_differ() {
    let peer = recipient(1);
    let mut entropy = Seeded::new(3);
    let mut one = || seal_to(peer.public(), CONTEXT, b"key", &mut entropy).unwrap();
    assert_ne!(one(), one());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_payload_and_context_pass(
        context in prop::collection::vec(any::<u8>(), 0..200),
        payload in prop::collection::vec(any::<u8>(), 0..300),
        seed in any::<u64>(),
    ) {
        let peer = recipient(seed);
        let blob = seal_to(peer.public(), &context, &payload, &mut Seeded::new(!seed)).unwrap();
        let opened = peer.open(&context, &blob).unwrap();
        prop_assert_eq!(opened.expose(), payload.as_slice());
    }

    #[test]
    fn opening_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200), headed in any::<bool>()) {
        let bytes = if headed { [&[1, 1], bytes.as_slice()].concat() } else { bytes };
        prop_assert!(recipient(1).open(CONTEXT, &bytes).is_err());
    }
}
