//! Sealed names: one path segment under its parent, deterministically, so that equal names have equal sealed
//! forms and a listing is a prefix scan. It knows no key layout: framing the segments is the caller's.

use aes::Aes256;
use aes_siv::KeyInit;
use aes_siv::siv::CmacSiv;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Entropy, Error, SecretBytes};

/// How much longer a sealed segment is than the segment, in bytes: the synthetic IV in front.
pub const NAME_OVERHEAD: usize = 16;

/// The longest segment that can be sealed, in bytes.
pub const MAX_SEGMENT_BYTES: usize = 4096;

const WHAT: &str = "sealed name";

/// A cipher suite for names. What it must keep: sealing is deterministic, a sealed segment opens under its own
/// parent only, and its length depends on the segment's length only.
pub trait NameSuite: Send + Sync {
    /// Seals `segment` under `parent`, the sealed key prefix it stands behind.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MAX_SEGMENT_BYTES`].
    fn seal(&self, parent: &[u8], segment: &[u8]) -> Result<Vec<u8>, Error>;

    /// The segment that [`NameSuite::seal`] gave `sealed` for under the same parent.
    ///
    /// # Errors
    /// [`Error::Truncated`], or [`Error::Tampered`] if it was altered or stands under another parent.
    fn open(&self, parent: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error>;
}

/// Suite 1: AES-256-SIV (RFC 5297) with the parent as its one associated-data string; sealed as
/// `iv 16 | ciphertext`. Wiped when dropped.
#[derive(Clone)]
pub struct NameKey(Box<[u8; NameKey::LEN]>);

impl NameKey {
    /// Length in bytes: 32 for S2V and 32 for CTR.
    pub const LEN: usize = 64;

    /// A fresh random key.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut key = Box::new([0; Self::LEN]);
        entropy.fill(key.as_mut_slice());
        Self(key)
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are exactly 64 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let mut key = Box::new([0; Self::LEN]);
        if bytes.len() != Self::LEN {
            return Err(Error::KeyLength {
                what: "name key",
                expected: Self::LEN,
                found: bytes.len(),
            });
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    /// The key itself.
    pub(crate) fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The cipher needs `&mut` and cannot be cloned, so each operation schedules its own: no lock on a path that
    /// every request takes.
    fn cipher(&self) -> CmacSiv<Aes256> {
        CmacSiv::new(self.expose().into())
    }
}

impl NameSuite for NameKey {
    fn seal(&self, parent: &[u8], segment: &[u8]) -> Result<Vec<u8>, Error> {
        if segment.len() > MAX_SEGMENT_BYTES {
            return Err(Error::TooLarge {
                what: "path segment, in bytes,",
                limit: MAX_SEGMENT_BYTES,
            });
        }
        self.cipher()
            .encrypt([parent], segment)
            .map_err(|_| Error::Primitive { primitive: "AES-SIV" })
    }

    fn open(&self, parent: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
        if sealed.len() < NAME_OVERHEAD {
            return Err(Error::Truncated { what: WHAT });
        }
        if sealed.len() > NAME_OVERHEAD + MAX_SEGMENT_BYTES {
            return Err(Error::TooLarge {
                what: "path segment, in bytes,",
                limit: MAX_SEGMENT_BYTES,
            });
        }
        self.cipher()
            .decrypt([parent], sealed)
            .map(SecretBytes::new)
            .map_err(|_| Error::Tampered { what: WHAT })
    }
}

impl Drop for NameKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for NameKey {}
