//! The bytes of every stored format, made with fixed entropy. If one changes, rows that exist can no longer be read:
//! then a new format number is due, not a new golden file. Each old file must also still open.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{ID, Seeded, barrier};
use conclave_barrier::{CLUSTER_RING, Keyring, Recipient, RootKey, SealConfig, SecretBytes, seal_to};
use expect_test::expect_file;

macro_rules! golden {
    ($name:literal, $bytes:expr) => {{
        let bytes: Vec<u8> = $bytes;
        expect_file![concat!("golden/", $name, ".hex")].assert_eq(&(hex::encode(&bytes) + "\n"));
        hex::decode(include_str!(concat!("golden/", $name, ".hex")).trim_end()).unwrap()
    }};
}

fn root() -> RootKey {
    RootKey::generate(&mut Seeded::new(100))
}

fn keyring() -> Keyring {
    let mut keyring = Keyring::generate(1_700_000_000_000, &mut Seeded::new(101));
    keyring
        .rotate(CLUSTER_RING, 1_800_000_000_000, &mut Seeded::new(102))
        .unwrap();
    keyring
        .put_secret("cluster-ca", SecretBytes::copy_of(b"private key"))
        .unwrap();
    keyring
}

#[test]
fn a_value() {
    let barrier = barrier(103);
    let sealed = barrier
        .seal_value(CLUSTER_RING, 9, b"row", b"plaintext", &mut Seeded::new(104))
        .unwrap();
    let stored = golden!("envelope", sealed);
    assert_eq!(
        barrier.open_value(9, b"row", &stored).unwrap().expose(),
        b"plaintext"
    );
}

#[test]
fn a_name() {
    let barrier = barrier(103);
    let stored = golden!(
        "name",
        barrier.seal_segment(CLUSTER_RING, b"parent", b"child").unwrap()
    );
    assert_eq!(
        barrier
            .open_segment(CLUSTER_RING, b"parent", &stored)
            .unwrap()
            .expose(),
        b"child"
    );
}

#[test]
fn keyed_hashes() {
    let barrier = barrier(103);
    golden!("token-hmac", barrier.token_hmac(b"s.token").to_vec());
    golden!("lease-hmac", barrier.lease_hmac(b"lease").to_vec());
    golden!("audit-hmac", barrier.audit_hmac(b"salt", b"value").to_vec());
    golden!("snapshot-mac", barrier.snapshot_mac(b"sums").to_vec());
}

#[test]
fn a_sealed_keyring() {
    let stored = golden!(
        "keyring",
        keyring().seal(&root(), ID, &mut Seeded::new(105)).unwrap()
    );
    let opened = Keyring::open(&root(), ID, &stored).unwrap();
    assert_eq!(opened.generation(), 3);
    assert_eq!(opened.secret("cluster-ca").unwrap().expose(), b"private key");
}

#[test]
fn a_root_key_handover() {
    let new_root = RootKey::generate(&mut Seeded::new(106));
    let handover = keyring()
        .seal_root_handover(CLUSTER_RING, &new_root, 4, ID, &mut Seeded::new(107))
        .unwrap();
    let (opened, generation) = keyring()
        .open_root_handover(ID, &golden!("handover", handover))
        .unwrap();
    assert!(opened.is(&new_root));
    assert_eq!(generation, 4);
}

#[test]
fn a_seal_configuration_and_its_shares() {
    let (config, shares) = SealConfig::create(&root(), 3, 2, 8, &mut Seeded::new(108)).unwrap();
    let config = SealConfig::decode(&golden!("seal", config.encode())).unwrap();
    let stored = golden!(
        "shares",
        shares.iter().flat_map(|share| share.expose().to_vec()).collect()
    );
    let shares: Vec<SecretBytes> = stored.chunks(33).map(SecretBytes::copy_of).collect();
    assert!(config.open_root(&shares[1..]).unwrap().is(&root()));
}

#[test]
fn a_key_offer() {
    let recipient = Recipient::new(&mut Seeded::new(109)).unwrap();
    let offer = seal_to(recipient.public(), b"context", b"payload", &mut Seeded::new(110)).unwrap();
    let stored = golden!("offer", offer);
    assert_eq!(recipient.open(b"context", &stored).unwrap().expose(), b"payload");
}
