//! The keyring: its changes, its sealed form, and every sealed form that must be refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use common::{ID, Scripted, Seeded};
use conclave_barrier::{BarrierId, CLUSTER_RING, Error, Keyring, RootKey, SecretBytes, TermInfo};
use hkdf::Hkdf;
use sha2::Sha256;

fn keyring() -> Keyring {
    Keyring::generate(1_700_000_000_000, &mut Seeded::new(1))
}

fn root(seed: u64) -> RootKey {
    RootKey::generate(&mut Seeded::new(seed))
}

fn seal(keyring: &Keyring) -> Vec<u8> {
    keyring.seal(&root(7), ID, &mut Seeded::new(2)).unwrap()
}

/// Two keyrings are the same if they seal to the same bytes under the same nonce.
fn assert_same(one: &Keyring, other: &Keyring) {
    assert_eq!(seal(one), seal(other));
}

fn full() -> Keyring {
    let mut keyring = keyring();
    keyring
        .rotate(CLUSTER_RING, 1_800_000_000_000, &mut Seeded::new(3))
        .unwrap();
    keyring
        .rotate(CLUSTER_RING, 1_900_000_000_000, &mut Seeded::new(4))
        .unwrap();
    keyring.set_min_term(CLUSTER_RING, 2).unwrap();
    keyring
        .put_secret("cluster-ca", SecretBytes::copy_of(b"a private key"))
        .unwrap();
    keyring.put_secret("empty", SecretBytes::new(Vec::new())).unwrap();
    keyring
}

#[test]
fn a_new_keyring_has_one_term() {
    let keyring = keyring();
    assert_eq!(keyring.generation(), 1);
    assert_eq!(keyring.active_term(CLUSTER_RING), Ok(1));
    assert_eq!(keyring.min_term(CLUSTER_RING), Ok(1));
    assert_eq!(
        keyring.terms(CLUSTER_RING).unwrap(),
        [TermInfo {
            term: 1,
            created_ms: 1_700_000_000_000
        }]
    );
    assert_eq!(keyring.active_term(1), Err(Error::UnknownRing { ring: 1 }));
    assert!(keyring.secret("cluster-ca").is_none());
}

#[test]
fn what_is_sealed_opens_to_the_same_keyring() {
    for original in [keyring(), full()] {
        let opened = Keyring::open(&root(7), ID, &seal(&original)).unwrap();
        assert_same(&opened, &original);
        assert_eq!(opened.generation(), original.generation());
        assert_eq!(opened.terms(CLUSTER_RING), original.terms(CLUSTER_RING));
        assert_eq!(opened.min_term(CLUSTER_RING), original.min_term(CLUSTER_RING));
        let ca = |keyring: &Keyring| keyring.secret("cluster-ca").map(|ca| ca.expose().to_vec());
        assert_eq!(ca(&opened), ca(&original));
        assert_eq!(
            Keyring::generation_of(&seal(&original)),
            Ok(original.generation())
        );
    }
}

#[test]
fn every_change_raises_the_generation_and_a_refused_one_does_not() {
    let mut keyring = keyring();
    let mut entropy = Seeded::new(5);
    assert_eq!(keyring.rotate(CLUSTER_RING, 2, &mut entropy), Ok(2));
    assert_eq!(keyring.generation(), 2);
    assert_eq!(
        (keyring.active_term(CLUSTER_RING), keyring.min_term(CLUSTER_RING)),
        (Ok(2), Ok(1))
    );
    keyring.set_min_term(CLUSTER_RING, 2).unwrap();
    assert_eq!(keyring.generation(), 3);
    assert_eq!(keyring.drop_terms_below(CLUSTER_RING, 2), Ok(1));
    assert_eq!(keyring.generation(), 4);
    assert_eq!(
        keyring.terms(CLUSTER_RING).unwrap(),
        [TermInfo {
            term: 2,
            created_ms: 2
        }]
    );
    keyring.put_secret("ca", SecretBytes::copy_of(b"1")).unwrap();
    assert_eq!(keyring.generation(), 5);
    assert_eq!(keyring.remove_secret("ca"), Ok(true));
    assert_eq!(keyring.generation(), 6);
    assert_eq!(keyring.advance(), Ok(7));

    let before = keyring.clone();
    let range = |term, lowest, highest| {
        Err(Error::TermOutOfRange {
            term,
            lowest,
            highest,
        })
    };
    assert_eq!(
        keyring.rotate(9, 2, &mut entropy),
        Err(Error::UnknownRing { ring: 9 })
    );
    assert_eq!(keyring.set_min_term(9, 1), Err(Error::UnknownRing { ring: 9 }));
    assert_eq!(keyring.set_min_term(CLUSTER_RING, 1), range(1, 2, 2));
    assert_eq!(keyring.set_min_term(CLUSTER_RING, 3), range(3, 2, 2));
    assert_eq!(
        keyring.drop_terms_below(CLUSTER_RING, 3).map(|_| ()),
        range(3, 1, 2)
    );
    assert_eq!(keyring.drop_terms_below(CLUSTER_RING, 2), Ok(0));
    assert_eq!(keyring.remove_secret("ca"), Ok(false));
    let malformed = Err(Error::Malformed {
        what: "cluster secret",
        reason: "its name is empty",
    });
    assert_eq!(keyring.put_secret("", SecretBytes::copy_of(b"1")), malformed);
    let too_large = |result| matches!(result, Err(Error::TooLarge { .. }));
    assert!(too_large(
        keyring.put_secret(&"n".repeat(256), SecretBytes::copy_of(b"1"))
    ));
    assert!(too_large(
        keyring.put_secret("n", SecretBytes::new(vec![0; 256 * 1024 + 1]))
    ));
    assert_same(&keyring, &before);
}

#[test]
fn secrets_are_limited_in_number_but_can_be_replaced() {
    let mut keyring = keyring();
    for number in 0..1024 {
        keyring
            .put_secret(&format!("s{number}"), SecretBytes::copy_of(b"1"))
            .unwrap();
    }
    let refused = keyring.put_secret("one more", SecretBytes::copy_of(b"1"));
    assert_eq!(
        refused,
        Err(Error::TooLarge {
            what: "number of cluster secrets",
            limit: 1024
        })
    );
    keyring.put_secret("s7", SecretBytes::copy_of(b"2")).unwrap();
    assert_eq!(keyring.secret("s7").unwrap().expose(), b"2");
    assert_same(&Keyring::open(&root(7), ID, &seal(&keyring)).unwrap(), &keyring);
}

#[test]
fn another_root_key_is_named_as_such_and_another_barrier_is_refused() {
    let blob = seal(&full());
    assert_eq!(
        Keyring::open(&root(8), ID, &blob).err(),
        Some(Error::WrongKey {
            what: "sealed keyring"
        })
    );
    let elsewhere = BarrierId::from_bytes([0; 16]);
    assert_eq!(
        Keyring::open(&root(7), elsewhere, &blob).err(),
        Some(Error::Tampered {
            what: "sealed keyring"
        })
    );
}

#[test]
fn a_damaged_blob_never_opens() {
    let blob = seal(&full());
    for bit in 0..blob.len() * 8 {
        let mut flipped = blob.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Keyring::open(&root(7), ID, &flipped).is_err(), "bit {bit}");
    }
    for len in 0..blob.len() {
        assert!(Keyring::open(&root(7), ID, &blob[..len]).is_err(), "{len}");
    }
    let longer = [blob.as_slice(), b"x"].concat();
    assert!(Keyring::open(&root(7), ID, &longer).is_err());
    let mut newer = blob;
    newer[0] = 2;
    let unknown = Error::UnknownFormat {
        what: "sealed keyring",
        format: 2,
    };
    assert_eq!(Keyring::open(&root(7), ID, &newer).err(), Some(unknown.clone()));
    assert_eq!(Keyring::generation_of(&newer), Err(unknown));
}

#[test]
fn a_root_key_rotation_can_be_followed_with_the_old_keyring() {
    let (mut leader, follower) = (full(), full());
    let generation = leader.advance().unwrap();
    let new_root = root(9);
    let blob = leader.seal(&new_root, ID, &mut Seeded::new(10)).unwrap();
    let handover = leader
        .seal_root_handover(CLUSTER_RING, &new_root, generation, ID, &mut Seeded::new(11))
        .unwrap();

    let (followed, opens) = follower.open_root_handover(ID, &handover).unwrap();
    assert!(followed.is(&new_root) && !followed.is(&root(7)));
    assert_eq!(opens, generation);
    assert_same(&Keyring::open(&followed, ID, &blob).unwrap(), &leader);

    let elsewhere = BarrierId::from_bytes([0; 16]);
    let tampered = Some(Error::Tampered {
        what: "root key handover",
    });
    assert_eq!(follower.open_root_handover(elsewhere, &handover).err(), tampered);
    let stranger = keyring();
    assert_eq!(
        stranger.open_root_handover(ID, &handover).err(),
        Some(Error::UnknownTerm {
            ring: CLUSTER_RING,
            term: 3
        })
    );
    for bit in 0..handover.len() * 8 {
        let mut flipped = handover.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(follower.open_root_handover(ID, &flipped).is_err(), "bit {bit}");
    }
    for len in 0..handover.len() {
        assert!(follower.open_root_handover(ID, &handover[..len]).is_err());
    }
}

/// Seals any plaintext as a keyring of generation 1, as the format's documentation says; independent of the crate.
fn by_hand(plaintext: &[u8]) -> Vec<u8> {
    let root = root(7);
    let subkey = |info: &str| {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, root.expose())
            .expand(info.as_bytes(), &mut key)
            .unwrap();
        key
    };
    let mut out = vec![1, 0, 0, 0, 0, 0, 0, 0, 1];
    out.extend_from_slice(&subkey("conclave barrier 1: root commitment"));
    let mut aad = Vec::new();
    for field in [out.as_slice(), ID.as_bytes()] {
        aad.extend_from_slice(&(field.len() as u64).to_be_bytes());
        aad.extend_from_slice(field);
    }
    let mut text = plaintext.to_vec();
    let cipher = XChaCha20Poly1305::new(&subkey("conclave barrier 1: root wraps keyring").into());
    cipher.encrypt_in_place(&[9; 24].into(), &aad, &mut text).unwrap();
    [out.as_slice(), &[9; 24], &text].concat()
}

/// A keyring's plaintext, written out field by field.
struct Plain {
    format: u8,
    terms: Vec<(u32, u8)>,
    active: u32,
    min_term: u32,
    rings: Vec<u16>,
    secrets: Vec<(Vec<u8>, u32)>,
    bad_commitment: bool,
    tail: Vec<u8>,
}

impl Plain {
    fn good() -> Self {
        Self {
            format: 1,
            terms: vec![(1, 1), (2, 1)],
            active: 2,
            min_term: 1,
            rings: vec![0, 5],
            secrets: vec![(b"a".to_vec(), 1), (b"b".to_vec(), 0)],
            bad_commitment: false,
            tail: Vec::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.format];
        out.extend_from_slice(&[3; 64 + 3 * 32]);
        out.extend_from_slice(&(self.rings.len() as u16).to_be_bytes());
        for ring in &self.rings {
            out.extend_from_slice(&ring.to_be_bytes());
            out.extend_from_slice(&self.active.to_be_bytes());
            out.extend_from_slice(&self.min_term.to_be_bytes());
            out.extend_from_slice(&(self.terms.len() as u16).to_be_bytes());
            for (term, suite) in &self.terms {
                let key = [*term as u8; 32];
                let mut commitment = [0; 32];
                let hkdf = Hkdf::<Sha256>::new(None, &key);
                hkdf.expand(b"conclave barrier 1: data commitment", &mut commitment)
                    .unwrap();
                commitment[31] ^= u8::from(self.bad_commitment);
                out.extend_from_slice(&term.to_be_bytes());
                out.push(*suite);
                out.extend_from_slice(&77u64.to_be_bytes());
                out.extend_from_slice(&key);
                out.extend_from_slice(&commitment);
            }
        }
        out.extend_from_slice(&(self.secrets.len() as u16).to_be_bytes());
        for (name, len) in &self.secrets {
            out.push(name.len() as u8);
            out.extend_from_slice(name);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend(std::iter::repeat_n(4, *len as usize));
        }
        out.extend_from_slice(&self.tail);
        out
    }

    fn refused(change: impl FnOnce(&mut Self)) -> Error {
        let mut plain = Self::good();
        change(&mut plain);
        Keyring::open(&root(7), ID, &by_hand(&plain.bytes()))
            .err()
            .unwrap()
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let keyring = Keyring::open(&root(7), ID, &by_hand(&Plain::good().bytes())).unwrap();
    for ring in [0, 5] {
        assert_eq!(
            (keyring.active_term(ring), keyring.min_term(ring)),
            (Ok(2), Ok(1))
        );
        let terms = [
            TermInfo {
                term: 1,
                created_ms: 77,
            },
            TermInfo {
                term: 2,
                created_ms: 77,
            },
        ];
        assert_eq!(keyring.terms(ring).unwrap(), terms);
    }
    assert_eq!(keyring.secret("a").unwrap().expose(), [4]);
    assert!(keyring.secret("b").unwrap().is_empty());
    // And what this crate seals under the same nonce is the same to the byte.
    assert_eq!(
        keyring.seal(&root(7), ID, &mut Scripted(&[9; 24])).unwrap(),
        by_hand(&Plain::good().bytes())
    );
}

#[test]
fn a_genuine_blob_with_contradictory_contents_is_refused() {
    let malformed = |reason| Error::Malformed {
        what: "keyring",
        reason,
    };
    let not_newest = malformed("its active term is not the newest it holds");
    assert_eq!(
        Plain::refused(|p| p.format = 2),
        Error::UnknownFormat {
            what: "keyring",
            format: 2
        }
    );
    assert_eq!(
        Plain::refused(|p| p.bad_commitment = true),
        Error::WrongKey { what: "data key" }
    );
    assert_eq!(
        Plain::refused(|p| p.terms[1].1 = 2),
        Error::UnknownSuite {
            what: "keyring",
            suite: 2
        }
    );
    assert_eq!(Plain::refused(|p| p.active = 3), not_newest);
    assert_eq!(Plain::refused(|p| p.active = 1), not_newest);
    assert_eq!(Plain::refused(|p| p.min_term = 3), not_newest);
    assert_eq!(Plain::refused(|p| p.terms.clear()), not_newest);
    assert_eq!(
        Plain::refused(|p| p.terms.swap(0, 1)),
        malformed("its terms are out of order")
    );
    assert_eq!(
        Plain::refused(|p| p.terms[0].0 = 2),
        malformed("its terms are out of order")
    );
    assert_eq!(
        Plain::refused(|p| p.rings.swap(0, 1)),
        malformed("its rings are out of order")
    );
    assert_eq!(
        Plain::refused(|p| p.rings = vec![]),
        malformed("it holds no ring")
    );
    assert_eq!(
        Plain::refused(|p| p.secrets.swap(0, 1)),
        malformed("its secrets are out of order")
    );
    assert_eq!(
        Plain::refused(|p| p.secrets[0].0 = vec![0xff]),
        malformed("a secret's name is not UTF-8")
    );
    assert!(matches!(
        Plain::refused(|p| p.secrets[0].0.clear()),
        Error::Malformed { .. }
    ));
    assert!(matches!(
        Plain::refused(|p| p.secrets[0].1 = 300_000),
        Error::TooLarge { .. }
    ));
    assert_eq!(
        Plain::refused(|p| p.tail = vec![0]),
        Error::TrailingBytes { what: "keyring" }
    );
    let good = Plain::good().bytes();
    for len in 0..good.len() {
        let cut = Keyring::open(&root(7), ID, &by_hand(&good[..len])).err();
        assert_eq!(cut, Some(Error::Truncated { what: "keyring" }), "{len}");
    }
}

#[test]
fn counters_end_with_an_error() {
    let plain = Plain {
        terms: vec![(u32::MAX, 1)],
        active: u32::MAX,
        ..Plain::good()
    };
    let mut keyring = Keyring::open(&root(7), ID, &by_hand(&plain.bytes())).unwrap();
    let generation = keyring.generation();
    let exhausted = Err(Error::Exhausted { what: "key term" });
    assert_eq!(keyring.rotate(CLUSTER_RING, 1, &mut Seeded::new(1)), exhausted);
    assert_eq!(
        (keyring.generation(), keyring.active_term(CLUSTER_RING)),
        (generation, Ok(u32::MAX))
    );
}

#[test]
fn a_ring_holds_a_limited_number_of_terms() {
    let mut keyring = keyring();
    let mut entropy = Seeded::new(1);
    for term in 2..=4096 {
        assert_eq!(keyring.rotate(CLUSTER_RING, 1, &mut entropy), Ok(term));
    }
    let refused = keyring.rotate(CLUSTER_RING, 1, &mut entropy);
    assert_eq!(
        refused,
        Err(Error::TooLarge {
            what: "number of terms in a ring",
            limit: 4096
        })
    );
    assert_same(&Keyring::open(&root(7), ID, &seal(&keyring)).unwrap(), &keyring);
}
