//! The barrier's identity. It knows nothing of Raft's or TLS's cluster identity, which a restore renews.

use crate::{Entropy, Error};

/// The cryptographic identity of one barrier: bound into every sealed value and keyring, kept across snapshots
/// and restores, made once at initialisation. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BarrierId([u8; BarrierId::LEN]);

impl BarrierId {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// A fresh random identity.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut id = [0; Self::LEN];
        entropy.fill(&mut id);
        Self(id)
    }

    /// The identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The identity in `bytes`, as stored.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are exactly 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::KeyLength {
            what: "barrier id",
            expected: Self::LEN,
            found: bytes.len(),
        })
    }

    /// The bytes, as stored and as bound into every sealed value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}
