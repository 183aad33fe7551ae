//! Ed25519 (RFC 8032). A private key is the 64 bytes that Go keeps: seed and public key, for keys are derived from all of it.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use conclave_engine_api::Error;
use zeroize::Zeroizing;

use super::der::{self, BIT_STRING, INTEGER, OCTET_STRING, OID, SEQUENCE};

/// Bytes of a seed and of a public key.
pub(in crate::secret) const SEED_LEN: usize = 32;
/// `id-Ed25519` (RFC 8410).
pub(in crate::secret) const ED25519_OID: &[u8] = &[0x2b, 0x65, 0x70];

/// The key of a seed: seed and public key.
pub(in crate::secret) fn key_of(seed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let pair = pair_of(seed)?;
    let mut key = Zeroizing::new(Vec::with_capacity(2 * SEED_LEN));
    key.extend_from_slice(seed);
    key.extend_from_slice(pair.public_key().as_ref());
    Ok(key)
}

/// The public half of a key.
pub(in crate::secret) fn public_of(key: &[u8]) -> &[u8] {
    key.get(SEED_LEN..).unwrap_or_default()
}

/// Signs a message.
pub(in crate::secret) fn sign(key: &[u8], message: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(pair_of(seed_of(key))?.sign(message).as_ref().to_vec())
}

/// Whether `signature` is one of `message`.
pub(in crate::secret) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(message, signature)
        .is_ok()
}

/// The public key as a `SubjectPublicKeyInfo` (RFC 8410).
pub(in crate::secret) fn public_der(public: &[u8]) -> Zeroizing<Vec<u8>> {
    der::element(
        SEQUENCE,
        &[&algorithm(), &der::element(BIT_STRING, &[&[0], public])],
    )
}

/// The private key as a `PrivateKeyInfo` (RFC 8410).
pub(in crate::secret) fn pkcs8_der(key: &[u8]) -> Zeroizing<Vec<u8>> {
    let seed = der::element(OCTET_STRING, &[seed_of(key)]);
    der::element(
        SEQUENCE,
        &[
            &der::element(INTEGER, &[&[0]]),
            &algorithm(),
            &der::element(OCTET_STRING, &[&seed]),
        ],
    )
}

fn algorithm() -> Zeroizing<Vec<u8>> {
    der::element(SEQUENCE, &[&der::element(OID, &[ED25519_OID])])
}

fn seed_of(key: &[u8]) -> &[u8] {
    key.get(..SEED_LEN).unwrap_or_default()
}

fn pair_of(seed: &[u8]) -> Result<Ed25519KeyPair, Error> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::internal("a stored key is no Ed25519 key"))
}
