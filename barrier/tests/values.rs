//! Sealed values: what opens them, and everything that must not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use common::{ID, Seeded, barrier};
use conclave_barrier::{Barrier, BarrierId, CLUSTER_RING, Envelope, Error, Keyring, MAX_PLAINTEXT_BYTES};
use hkdf::Hkdf;
use proptest::prelude::*;
use sha2::Sha256;

const TABLE: u8 = 3;
const KEY: &[u8] = b"sealed-row-key";

fn seal(barrier: &Barrier, plaintext: &[u8]) -> Vec<u8> {
    barrier
        .seal_value(CLUSTER_RING, TABLE, KEY, plaintext, &mut Seeded::new(99))
        .unwrap()
}

#[test]
fn a_value_opens_to_itself_at_every_small_length() {
    let barrier = barrier(1);
    for len in 0..300 {
        let plaintext: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let sealed = seal(&barrier, &plaintext);
        assert_eq!(sealed.len(), plaintext.len() + Envelope::OVERHEAD);
        assert_eq!(Envelope::parse(&sealed).unwrap().plaintext_len(), plaintext.len());
        assert_eq!(
            barrier.open_value(TABLE, KEY, &sealed).unwrap().expose(),
            plaintext
        );
    }
}

#[test]
fn the_layout_is_the_documented_one_and_opens_by_hand() {
    let mut data_key = [0; 32];
    conclave_barrier::Entropy::fill(&mut Seeded::new(1), &mut data_key);
    let mut value_key = [0; 32];
    let hkdf = Hkdf::<Sha256>::new(None, &data_key);
    hkdf.expand(b"conclave barrier 1: data seals values", &mut value_key)
        .unwrap();

    let sealed = seal(&barrier(1), b"the value");
    assert_eq!(sealed[..8], [1, 1, 0, 0, 0, 0, 0, 1]);
    let mut aad = Vec::new();
    for field in [&sealed[..8], ID.as_bytes(), &[TABLE], KEY] {
        aad.extend_from_slice(&(field.len() as u64).to_be_bytes());
        aad.extend_from_slice(field);
    }
    let nonce: [u8; 24] = sealed[8..32].try_into().unwrap();
    let mut buffer = sealed[32..].to_vec();
    let cipher = XChaCha20Poly1305::new(&value_key.into());
    cipher.decrypt_in_place(&nonce.into(), &aad, &mut buffer).unwrap();
    assert_eq!(buffer, b"the value");
}

/// draft-irtf-cfrg-xchacha-03 appendix A.3.1.
#[test]
fn the_vector_of_the_xchacha_draft() {
    let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
    let nonce: [u8; 24] = std::array::from_fn(|i| 0x40 + i as u8);
    let aad = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
    let mut buffer = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
        future, sunscreen would be it."
        .to_vec();
    XChaCha20Poly1305::new(&key.into())
        .encrypt_in_place(&nonce.into(), &aad, &mut buffer)
        .unwrap();
    assert_eq!(
        hex::encode(buffer),
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c\
         54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da976\
         8812f615c68b13b52ec0875924c1c7987947deafd8780acf49"
    );
}

#[test]
fn two_seals_of_one_value_differ() {
    let barrier = barrier(1);
    let mut entropy = Seeded::new(5);
    let mut one = || {
        barrier
            .seal_value(CLUSTER_RING, TABLE, KEY, b"same", &mut entropy)
            .unwrap()
    };
    assert_ne!(one(), one());
}

#[test]
fn a_value_opens_in_its_own_place_only() {
    let tampered = Some(Error::Tampered { what: "sealed value" });
    let home = barrier(1);
    let sealed = seal(&home, b"secret");
    assert_eq!(home.open_value(TABLE + 1, KEY, &sealed).err(), tampered);
    assert_eq!(home.open_value(TABLE, b"sealed-row-kez", &sealed).err(), tampered);
    assert_eq!(home.open_value(TABLE, b"", &sealed).err(), tampered);
    assert_eq!(
        home.open_value(TABLE, b"sealed-row-key\0", &sealed).err(),
        tampered
    );

    let keys = || Keyring::generate(1_700_000_000_000, &mut Seeded::new(1));
    let same_keys = Barrier::new(ID, keys()).unwrap();
    assert_eq!(
        same_keys.open_value(TABLE, KEY, &sealed).unwrap().expose(),
        b"secret"
    );
    let other_id = Barrier::new(BarrierId::from_bytes([7; 16]), keys()).unwrap();
    assert_eq!(other_id.open_value(TABLE, KEY, &sealed).err(), tampered);
    let other_keys = barrier(2);
    assert_eq!(other_keys.open_value(TABLE, KEY, &sealed).err(), tampered);
}

#[test]
fn the_key_is_chosen_by_term() {
    let mut keyring = Keyring::generate(1, &mut Seeded::new(1));
    let old = Barrier::new(ID, keyring.clone()).unwrap();
    let first = seal(&old, b"first");
    assert_eq!(keyring.rotate(CLUSTER_RING, 2, &mut Seeded::new(2)).unwrap(), 2);
    let new = Barrier::new(ID, keyring.clone()).unwrap();
    let second = seal(&new, b"second");

    assert_eq!(Envelope::term_of(&first), Ok(1));
    assert_eq!(Envelope::term_of(&second), Ok(2));
    assert_eq!(new.open_value(TABLE, KEY, &first).unwrap().expose(), b"first");
    assert_eq!(new.open_value(TABLE, KEY, &second).unwrap().expose(), b"second");
    assert_eq!(
        old.open_value(TABLE, KEY, &second).err(),
        Some(Error::UnknownTerm { ring: 0, term: 2 })
    );

    // A term rewritten in the header picks the other key, and that one refuses.
    let mut moved = first.clone();
    moved[7] = 2;
    assert_eq!(
        new.open_value(TABLE, KEY, &moved).err(),
        Some(Error::Tampered { what: "sealed value" })
    );
    let mut foreign = first.clone();
    foreign[3] = 9;
    assert_eq!(
        new.open_value(TABLE, KEY, &foreign).err(),
        Some(Error::UnknownRing { ring: 9 })
    );

    keyring.set_min_term(CLUSTER_RING, 2).unwrap();
    assert_eq!(keyring.drop_terms_below(CLUSTER_RING, 2), Ok(1));
    let dropped = Barrier::new(ID, keyring).unwrap();
    assert_eq!(
        dropped.open_value(TABLE, KEY, &first).err(),
        Some(Error::UnknownTerm { ring: 0, term: 1 })
    );
    assert_eq!(
        dropped.open_value(TABLE, KEY, &second).unwrap().expose(),
        b"second"
    );
    assert_eq!(
        (dropped.active_term(CLUSTER_RING), dropped.min_term(CLUSTER_RING)),
        (Ok(2), Ok(2))
    );
}

#[test]
fn sealing_refuses_what_it_cannot_do() {
    let barrier = barrier(1);
    let mut entropy = Seeded::new(1);
    let unknown = Some(Error::UnknownRing { ring: 4 });
    assert_eq!(
        barrier.seal_value(4, TABLE, KEY, b"x", &mut entropy).err(),
        unknown
    );
    let huge = vec![0; MAX_PLAINTEXT_BYTES + 1];
    let refused = barrier
        .seal_value(CLUSTER_RING, TABLE, KEY, &huge, &mut entropy)
        .err();
    assert_eq!(
        refused,
        Some(Error::TooLarge {
            what: "plaintext, in bytes,",
            limit: MAX_PLAINTEXT_BYTES
        })
    );
}

#[test]
fn an_envelope_of_an_unknown_format_or_suite_is_an_error() {
    let sealed = seal(&barrier(1), b"x");
    for number in (0..=255).filter(|&n| n != 1) {
        let mut other = sealed.clone();
        other[0] = number;
        assert_eq!(
            Envelope::parse(&other),
            Err(Error::UnknownFormat {
                what: "envelope",
                format: number
            })
        );
        other[0] = 1;
        other[1] = number;
        assert_eq!(
            Envelope::parse(&other),
            Err(Error::UnknownSuite {
                what: "envelope",
                suite: number
            })
        );
    }
}

#[test]
fn an_envelope_cut_anywhere_is_an_error() {
    let barrier = barrier(1);
    let sealed = seal(&barrier, b"plaintext");
    for len in 0..Envelope::OVERHEAD {
        assert_eq!(
            Envelope::parse(&sealed[..len]),
            Err(Error::Truncated { what: "envelope" }),
            "{len}"
        );
    }
    for len in Envelope::OVERHEAD..sealed.len() {
        assert!(barrier.open_value(TABLE, KEY, &sealed[..len]).is_err(), "{len}");
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    let barrier = barrier(1);
    let sealed = seal(&barrier, b"forty-two bytes of a value, give or take");
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(barrier.open_value(TABLE, KEY, &flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn keyed_hashes_differ_by_purpose_and_survive_rotation() {
    let mut keyring = Keyring::generate(1, &mut Seeded::new(1));
    let before = Barrier::new(ID, keyring.clone()).unwrap();
    keyring.rotate(CLUSTER_RING, 2, &mut Seeded::new(3)).unwrap();
    let after = Barrier::new(ID, keyring).unwrap();
    let hashes = |b: &Barrier| {
        [
            b.token_hmac(b"t"),
            b.lease_hmac(b"t"),
            b.audit_hmac(b"", b"t"),
            b.audit_hmac(b"t", b""),
            b.snapshot_mac(b"t"),
        ]
    };
    assert_eq!(hashes(&before), hashes(&after));
    let all = hashes(&before);
    for (i, one) in all.iter().enumerate() {
        assert!(all.iter().skip(i + 1).all(|other| other != one));
    }
    assert_ne!(hashes(&barrier(2)), all);
    // Where the salt ends is part of the hash.
    assert_ne!(before.audit_hmac(b"ab", b"c"), before.audit_hmac(b"a", b"bc"));
}

#[test]
fn a_barrier_vouches_for_its_own_snapshots_only() {
    let one = barrier(1);
    let mut mac = one.snapshot_mac(b"sums");
    assert!(one.vouches_for_snapshot(b"sums", &mac));
    assert!(!one.vouches_for_snapshot(b"sumz", &mac));
    assert!(!barrier(2).vouches_for_snapshot(b"sums", &mac));
    mac[31] ^= 1;
    assert!(!one.vouches_for_snapshot(b"sums", &mac));
}

proptest! {
    #[test]
    fn any_value_in_any_place_opens_there(
        table in any::<u8>(),
        key in prop::collection::vec(any::<u8>(), 0..200),
        value in prop::collection::vec(any::<u8>(), 0..2000),
        seed in any::<u64>(),
    ) {
        let barrier = barrier(1);
        let sealed = barrier.seal_value(CLUSTER_RING, table, &key, &value, &mut Seeded::new(seed)).unwrap();
        let opened = barrier.open_value(table, &key, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), value.as_slice());
        prop_assert!(barrier.open_value(table.wrapping_add(1), &key, &sealed).is_err());
        let longer = [key.as_slice(), b"x"].concat();
        prop_assert!(barrier.open_value(table, &longer, &sealed).is_err());
    }

    #[test]
    fn parsing_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200), headed in any::<bool>()) {
        let bytes = if headed { [&[1, 1], bytes.as_slice()].concat() } else { bytes };
        if let Ok(envelope) = Envelope::parse(&bytes) {
            prop_assert_eq!(envelope.plaintext_len() + Envelope::OVERHEAD, bytes.len());
        }
        prop_assert!(barrier(1).open_value(TABLE, KEY, &bytes).is_err());
    }
}
