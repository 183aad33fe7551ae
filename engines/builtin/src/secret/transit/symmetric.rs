//! Authenticated encryption under a symmetric key or one derived from it, with a random nonce or, for convergent keys, one
//! made of the plaintext. A sealed text is the nonce followed by ciphertext and tag.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305};
use conclave_engine_api::{Env, Error};
use zeroize::Zeroizing;

use super::hash::Hash;
use super::kind::Kind;

/// Bytes of the key that makes nonces of convergent keys.
pub(super) const NONCE_KEY_LEN: usize = 32;
/// Bytes of the tag of every cipher here.
const TAG_LEN: usize = 16;
/// Bytes of the nonce of XChaCha20-Poly1305.
const LONG_NONCE: usize = 24;
/// Bytes of all other nonces.
const SHORT_NONCE: usize = 12;

/// Where the nonce comes from.
pub(super) enum Nonces<'a, 'e> {
    /// It is drawn.
    Random(&'a mut Env<'e>),
    /// It is the keyed hash of the plaintext: equal plaintexts make equal ciphertexts.
    OfPlaintext(&'a [u8]),
}

/// Encrypts.
pub(super) fn seal(
    kind: Kind,
    key: &[u8],
    nonces: Nonces<'_, '_>,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut nonce = vec![0; nonce_len(kind)];
    match nonces {
        Nonces::Random(env) => env.fill(&mut nonce),
        Nonces::OfPlaintext(key) => {
            for (slot, byte) in nonce.iter_mut().zip(Hash::Sha256.hmac(key, plaintext)) {
                *slot = byte;
            }
        }
    }
    let failed = || Error::internal("the plaintext could not be encrypted");
    let mut body = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LEN));
    body.extend_from_slice(plaintext);
    let mut out = nonce;
    match fast(kind) {
        Some(algorithm) => {
            let nonce = Nonce::try_assume_unique_for_key(&out).map_err(|_| failed())?;
            unbound(algorithm, key)?
                .seal_in_place_append_tag(nonce, Aad::from(aad), &mut *body)
                .map_err(|_| failed())?;
        }
        None => {
            let nonce = <[u8; LONG_NONCE]>::try_from(out.as_slice()).map_err(|_| failed())?;
            let tag = long(key)?.encrypt_inout_detached(&nonce.into(), aad, body.as_mut_slice().into());
            body.extend_from_slice(&tag.map_err(|_| failed())?);
        }
    }
    out.extend_from_slice(&body);
    Ok(out)
}

/// Decrypts what `seal` made.
pub(super) fn open(kind: Kind, key: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let Some((nonce, body)) = sealed.split_at_checked(nonce_len(kind)) else {
        return Err(Error::invalid("invalid ciphertext length"));
    };
    let forged = || {
        let cipher = match kind {
            Kind::Aes128 | Kind::Aes256 => "cipher",
            _ => "chacha20poly1305",
        };
        Error::invalid(format!("{cipher}: message authentication failed"))
    };
    let mut body = Zeroizing::new(body.to_vec());
    match fast(kind) {
        Some(algorithm) => {
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| forged())?;
            let opened = unbound(algorithm, key)?.open_in_place(nonce, Aad::from(aad), &mut body);
            let length = opened.map_err(|_| forged())?.len();
            body.truncate(length);
        }
        None => {
            let nonce = <[u8; LONG_NONCE]>::try_from(nonce).map_err(|_| forged())?;
            let length = body.len().checked_sub(TAG_LEN).ok_or_else(forged)?;
            let (text, tag) = body.split_at_mut(length);
            let tag = <[u8; TAG_LEN]>::try_from(&*tag).map_err(|_| forged())?;
            long(key)?
                .decrypt_inout_detached(&nonce.into(), aad, text.into(), &tag.into())
                .map_err(|_| forged())?;
            body.truncate(length);
        }
    }
    Ok(body)
}

/// Derives `length` bytes of `key` for a context: HKDF with SHA-256 and no salt (RFC 5869).
pub(super) fn derive(key: &[u8], context: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut out = Zeroizing::new(vec![0; length]);
    let context = [context];
    Salt::new(HKDF_SHA256, &[])
        .extract(key)
        .expand(&context, Length(length))
        .and_then(|derived| derived.fill(&mut out))
        .map_err(|_| Error::internal("a key could not be derived"))?;
    Ok(out)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn nonce_len(kind: Kind) -> usize {
    match kind {
        Kind::XChaCha20 => LONG_NONCE,
        _ => SHORT_NONCE,
    }
}

fn fast(kind: Kind) -> Option<&'static Algorithm> {
    match kind {
        Kind::Aes128 => Some(&AES_128_GCM),
        Kind::Aes256 => Some(&AES_256_GCM),
        Kind::ChaCha20 => Some(&CHACHA20_POLY1305),
        _ => None,
    }
}

fn unbound(algorithm: &'static Algorithm, key: &[u8]) -> Result<LessSafeKey, Error> {
    let key = UnboundKey::new(algorithm, key);
    key.map(LessSafeKey::new)
        .map_err(|_| Error::internal("a stored key has a wrong length"))
}

fn long(key: &[u8]) -> Result<XChaCha20Poly1305, Error> {
    XChaCha20Poly1305::new_from_slice(key).map_err(|_| Error::internal("a stored key has a wrong length"))
}
