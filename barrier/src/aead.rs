//! XChaCha20-Poly1305 over `head | nonce | ciphertext | tag`, the shape of every sealed thing that is stored.
//! It knows neither what the head says nor where the bytes go.

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

use crate::{Entropy, Error, Key32, MAX_PLAINTEXT_BYTES, SecretBytes, mutant};

/// Random 192-bit nonces: 2^80 values under one key stay below a collision chance of 2^-32, so no counter has
/// to survive a crash or a rolled-back disk.
pub(crate) const NONCE_LEN: usize = 24;
pub(crate) const TAG_LEN: usize = 16;
/// How much longer a sealed thing is than head and plaintext.
pub(crate) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// A cipher ready for use; `new` once per key, not once per value.
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &Key32) -> Self {
        Self(XChaCha20Poly1305::new(key.expose().into()))
    }

    /// `head | nonce | ciphertext | tag`. The head and every field of `bound` are authenticated, each with its
    /// length in front. One allocation: the associated data are laid out behind the result and cut off.
    pub(crate) fn seal(
        &self,
        head: &[u8],
        bound: &[&[u8]],
        plaintext: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(Error::TooLarge {
                what: "plaintext, in bytes,",
                limit: MAX_PLAINTEXT_BYTES,
            });
        }
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        if mutant::is("nonce-reuse") {
            nonce[1..].fill(0);
        }
        let total = head.len() + OVERHEAD + plaintext.len();
        let mut out = Zeroizing::new(Vec::with_capacity(total + associated_len(head, bound)));
        out.extend_from_slice(head);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        out.extend_from_slice(&[0; TAG_LEN]);
        push_associated(&mut out, head, bound);

        if mutant::is("plain-values") {
            out.truncate(total);
            return Ok(std::mem::take(&mut *out));
        }

        let (sealed, associated) = out.split_at_mut(total);
        let (_, body) = sealed.split_at_mut(head.len() + NONCE_LEN);
        let (text, tag_place) = body.split_at_mut(plaintext.len());
        let tag = self
            .0
            .encrypt_inout_detached(&nonce.into(), associated, text.into())
            .map_err(|_| Error::Primitive {
                primitive: "XChaCha20-Poly1305",
            })?;
        tag_place.copy_from_slice(&tag);
        out.truncate(total);
        Ok(std::mem::take(&mut *out))
    }

    /// Opens `body` (`nonce | ciphertext | tag`), which stood behind `head`. `what` names it in errors.
    pub(crate) fn open(
        &self,
        head: &[u8],
        bound: &[&[u8]],
        body: &[u8],
        what: &'static str,
    ) -> Result<SecretBytes, Error> {
        let (nonce, rest) = body
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(Error::Truncated { what })?;
        let (text, tag) = rest
            .split_last_chunk::<TAG_LEN>()
            .ok_or(Error::Truncated { what })?;
        let mut out = Zeroizing::new(Vec::with_capacity(text.len() + associated_len(head, bound)));
        out.extend_from_slice(text);
        if mutant::is("plain-values") {
            return Ok(SecretBytes::from(out));
        }
        push_associated(&mut out, head, bound);

        let (buffer, associated) = out.split_at_mut(text.len());
        self.0
            .decrypt_inout_detached(nonce.into(), associated, buffer.into(), tag.into())
            .map_err(|_| Error::Tampered { what })?;
        out.truncate(text.len());
        Ok(SecretBytes::from(out))
    }
}

fn associated_len(head: &[u8], bound: &[&[u8]]) -> usize {
    bound.iter().fold(LENGTH_PREFIX + head.len(), |sum, field| {
        sum + LENGTH_PREFIX + field.len()
    })
}

const LENGTH_PREFIX: usize = size_of::<u64>();

fn push_associated(out: &mut Vec<u8>, head: &[u8], bound: &[&[u8]]) {
    for field in std::iter::once(&head).chain(bound) {
        out.extend_from_slice(&(field.len() as u64).to_be_bytes());
        out.extend_from_slice(field);
    }
}
