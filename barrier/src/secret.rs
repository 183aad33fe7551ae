//! Types that hold secret bytes: wiped when dropped, compared in constant time, never printed or serialised.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Entropy, Error};

/// Secret bytes of any length, wiped when dropped. Deliberately without `Debug`, `Display`, `PartialEq` and
/// serialisation.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of `bytes`. Copies that the caller's vector left behind when it grew are not wiped: make
    /// it with its final capacity.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Copies `bytes` into a new wiped-on-drop buffer.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the secret equals `other`, in time that depends on the lengths only.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.expose().ct_eq(other).into()
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

/// A 256-bit key, wiped when dropped. It lives on the heap so that moving it leaves no copy on the stack.
#[derive(Clone)]
pub struct Key32(Box<[u8; Key32::LEN]>);

impl Key32 {
    /// Length of a key in bytes.
    pub const LEN: usize = 32;

    /// A fresh random key.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut key = Self::zeroed();
        entropy.fill(key.0.as_mut_slice());
        key
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != Self::LEN {
            return Err(Error::KeyLength {
                what: "key",
                expected: Self::LEN,
                found: bytes.len(),
            });
        }
        let mut key = Self::zeroed();
        key.0.copy_from_slice(bytes);
        Ok(key)
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Whether the key equals `other`, in time that depends on the lengths only.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }

    pub(crate) fn zeroed() -> Self {
        Self(Box::new([0; Self::LEN]))
    }

    /// For writing a derived key straight into its final place.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8; Self::LEN] {
        &mut self.0
    }
}

impl Drop for Key32 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Key32 {}
