//! Every key of a cluster, worked out from its shares and a saved snapshot as an attacker with both would: a second reader
//! of the barrier's stored forms. Knows no node.

use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305};
use conclave_barrier::{SealConfig, SecretBytes, shamir};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::harness::THRESHOLD;

/// What every row of the seal's table begins with: format, table, ring, namespace, mount.
const SEAL_TABLE: [u8; 12] = [1, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Bytes of a stored row before its value.
const ROW_HEAD: usize = 30;
const KEY: usize = 32;
const NAME_KEY: usize = 64;
const NONCE: usize = 24;
const TAG: usize = 16;
/// Format, generation and commitment before a sealed keyring.
const KEYRING_HEAD: usize = 41;
/// Bytes of a keyring before its first data key: format, four keys, one ring of one term.
const BEFORE_DATA_KEY: usize = 1 + NAME_KEY + 3 * KEY + 2 + 12 + 4 + 1 + 8;

/// The shares themselves and all keys they lead to, those that are derived included. `state` is a snapshot's, unpacked.
pub fn of_cluster(shares: &[Vec<u8>], state: &[u8]) -> Vec<Vec<u8>> {
    let given: Vec<SecretBytes> = shares
        .iter()
        .take(THRESHOLD)
        .map(|share| SecretBytes::copy_of(share))
        .collect();
    let unseal = shamir::combine(&given, u8::try_from(THRESHOLD).expect("a few"))
        .expect("shares of one seal")
        .expose()
        .to_vec();
    let config = SealConfig::decode(row(state, "seal")).expect("a seal configuration");
    let root = config.open_root(&given).expect("a root key").expose().to_vec();
    let wraps_root = derived(&unseal, "unseal wraps root");
    let wraps_keyring = derived(&root, "root wraps keyring");
    let keyring = open_keyring(&wraps_keyring, row(state, "keyring"), row(state, "barrier-id"));
    let at = |from: usize, length: usize| keyring[from..from + length].to_vec();
    let data = at(BEFORE_DATA_KEY, KEY);
    let seals_values = derived(&data, "data seals values");
    // Name, token, audit and lease keys stand side by side, each a mark of its own; what follows the data key and its
    // commitment are the cluster's own secrets.
    let mut keys = vec![unseal, root, wraps_root, wraps_keyring, data, seals_values];
    keys.push(at(1, NAME_KEY / 2));
    keys.push(at(1 + NAME_KEY / 2, NAME_KEY / 2));
    keys.extend((0..3).map(|number| at(1 + NAME_KEY + number * KEY, KEY)));
    keys.extend(shares.iter().cloned());
    keys
}

fn derived(parent: &[u8], what: &str) -> Vec<u8> {
    let mut key = vec![0; KEY];
    Hkdf::<Sha256>::new(None, parent)
        .expand(format!("conclave barrier 1: {what}").as_bytes(), &mut key)
        .expect("a short key");
    key
}

/// The value of a row whose name is clear.
fn row<'s>(state: &'s [u8], name: &str) -> &'s [u8] {
    let mut key = SEAL_TABLE.to_vec();
    key.extend(u16::try_from(name.len()).expect("a short name").to_be_bytes());
    key.extend(name.as_bytes());
    let mut wanted = vec![1];
    wanted.extend(u16::try_from(key.len()).expect("a short key").to_be_bytes());
    wanted.extend(key);
    let at = state
        .windows(wanted.len())
        .position(|window| window == wanted)
        .unwrap_or_else(|| panic!("no row {name:?}"));
    let (length, rest) = state[at + wanted.len()..].split_first_chunk().expect("a row");
    let length = usize::try_from(u32::from_be_bytes(*length)).expect("a small row");
    &rest[ROW_HEAD..length]
}

/// `head | nonce | ciphertext | tag`; authenticated are the head and the barrier, each with its length in front.
fn open_keyring(key: &[u8], blob: &[u8], barrier: &[u8]) -> Vec<u8> {
    let (head, body) = blob.split_at(KEYRING_HEAD);
    let (nonce, body) = body.split_at(NONCE);
    let (text, tag) = body.split_at(body.len() - TAG);
    let mut associated = Vec::new();
    for part in [head, barrier] {
        associated.extend((part.len() as u64).to_be_bytes());
        associated.extend(part);
    }
    let mut text = text.to_vec();
    XChaCha20Poly1305::new_from_slice(key)
        .expect("a key of 32 bytes")
        .decrypt_inout_detached(
            nonce.try_into().expect("24 bytes"),
            &associated,
            text.as_mut_slice().into(),
            tag.try_into().expect("16 bytes"),
        )
        .expect("a keyring sealed under this root key");
    text
}
