//! The root key: what the seals guard and what wraps the keyring. It knows neither.

use crate::aead::Cipher;
use crate::derive::{self, Commitment, Label};
use crate::{Entropy, Error, Key32};

/// The key over the keyring, wiped when dropped. Seals hand it out, [`crate::Keyring`] takes it.
#[derive(Clone)]
pub struct RootKey(Key32);

impl RootKey {
    /// A fresh random root key.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self(Key32::generate(entropy))
    }

    /// A copy of `bytes`, for instance as a peer offered them.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        Key32::from_slice(bytes).map(Self)
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; Key32::LEN] {
        self.0.expose()
    }

    /// Whether this is the same key as `other`, in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.matches(other.expose())
    }

    pub(crate) fn commitment(&self) -> Result<Commitment, Error> {
        derive::commitment(&self.0, Label::RootCommitment)
    }

    pub(crate) fn check_commitment(&self, committed: &Commitment, what: &'static str) -> Result<(), Error> {
        derive::check_commitment(&self.0, Label::RootCommitment, committed, what)
    }

    pub(crate) fn keyring_cipher(&self) -> Result<Cipher, Error> {
        Ok(Cipher::new(&derive::subkey(&self.0, Label::RootWrapsKeyring)?))
    }
}
