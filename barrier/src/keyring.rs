//! The keyring: every key that the barrier works with, and how they change. How it is laid out, sealed and
//! handed over is in its submodules; it knows no clock (creation times are given) and no storage.

mod blob;
mod codec;
mod handover;

use std::collections::BTreeMap;

use crate::derive::{self, Commitment, Label};
use crate::envelope::SUITE;
use crate::{Entropy, Error, Key32, NameKey, SecretBytes};

/// Terms that one ring can hold at a time. Old terms are dropped after re-encryption, so a few is usual.
const MAX_TERMS: usize = 4096;
/// Rings in one keyring.
const MAX_RINGS: usize = 4096;
/// Named secrets in one keyring.
const MAX_SECRETS: usize = 1024;
/// One named secret, in bytes.
const MAX_SECRET_BYTES: usize = 256 * 1024;
/// The name of a named secret, in bytes.
const MAX_SECRET_NAME_BYTES: usize = 255;

const FIRST_TERM: u32 = 1;

/// Data keys by ring and term, the name key, the HMAC keys, and the cluster's own secrets. None of the name and
/// HMAC keys derives from a key that rotates: a rotation must not orphan every path and token.
///
/// Every change raises the generation by one; a change that is refused changes nothing.
#[derive(Clone)]
pub struct Keyring {
    generation: u64,
    name_key: NameKey,
    token_key: Key32,
    audit_key: Key32,
    lease_key: Key32,
    rings: BTreeMap<u16, Ring>,
    secrets: BTreeMap<String, SecretBytes>,
}

/// What may be shown of a data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermInfo {
    /// The term.
    pub term: u32,
    /// When the key was made, in milliseconds since the Unix epoch, as the caller said.
    pub created_ms: u64,
}

/// The data keys of one ring. `active` seals; the others only open, and only while rows of theirs are left.
#[derive(Clone)]
pub(crate) struct Ring {
    active: u32,
    min_term: u32,
    terms: BTreeMap<u32, DataKey>,
}

/// One data key. It is never used itself: its subkeys are.
#[derive(Clone)]
pub(crate) struct DataKey {
    suite: u8,
    created_ms: u64,
    key: Key32,
}

impl Keyring {
    /// A new keyring: generation 1, ring [`crate::CLUSTER_RING`] at term 1, fresh random keys, no named secrets.
    /// `created_ms` is the time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn generate(created_ms: u64, entropy: &mut dyn Entropy) -> Self {
        Self::generate_ring(crate::CLUSTER_RING, created_ms, entropy)
    }

    /// The same for another ring, which has a root key of its own: it is kept beside the cluster's keyring, not in it.
    #[must_use]
    pub fn generate_ring(number: u16, created_ms: u64, entropy: &mut dyn Entropy) -> Self {
        let first = DataKey::generate(created_ms, entropy);
        let ring = Ring {
            active: FIRST_TERM,
            min_term: FIRST_TERM,
            terms: BTreeMap::from([(FIRST_TERM, first)]),
        };
        Self {
            generation: 1,
            name_key: NameKey::generate(entropy),
            token_key: Key32::generate(entropy),
            audit_key: Key32::generate(entropy),
            lease_key: Key32::generate(entropy),
            rings: BTreeMap::from([(number, ring)]),
            secrets: BTreeMap::new(),
        }
    }

    /// How often this keyring has changed; the number its sealed form carries in clear.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Raises the generation without another change: for sealing the same keys under a new root key.
    ///
    /// # Errors
    /// [`Error::Exhausted`] after 2^64 changes.
    pub fn advance(&mut self) -> Result<u64, Error> {
        self.generation = self.next_generation()?;
        Ok(self.generation)
    }

    /// Adds a data key to `ring` under the next term and makes it the active one; answers that term. The older
    /// keys stay until [`Keyring::drop_terms_below`].
    ///
    /// # Errors
    /// [`Error::UnknownRing`], [`Error::TooLarge`] with too many terms left, [`Error::Exhausted`] at the last.
    pub fn rotate(&mut self, ring: u16, created_ms: u64, entropy: &mut dyn Entropy) -> Result<u32, Error> {
        let generation = self.next_generation()?;
        let ring = self.ring_mut(ring)?;
        if ring.terms.len() >= MAX_TERMS {
            return Err(Error::TooLarge {
                what: "number of terms in a ring",
                limit: MAX_TERMS,
            });
        }
        let term = ring
            .active
            .checked_add(1)
            .ok_or(Error::Exhausted { what: "key term" })?;
        ring.terms.insert(term, DataKey::generate(created_ms, entropy));
        ring.active = term;
        self.generation = generation;
        Ok(term)
    }

    /// Sets the oldest term of `ring` that may still be written.
    ///
    /// # Errors
    /// [`Error::UnknownRing`]; [`Error::TermOutOfRange`] below the present `min_term` or above the active term.
    pub fn set_min_term(&mut self, ring: u16, term: u32) -> Result<(), Error> {
        let generation = self.next_generation()?;
        let ring = self.ring_mut(ring)?;
        if !(ring.min_term..=ring.active).contains(&term) {
            return Err(Error::TermOutOfRange {
                term,
                lowest: ring.min_term,
                highest: ring.active,
            });
        }
        ring.min_term = term;
        self.generation = generation;
        Ok(())
    }

    /// Wipes the keys of `ring` below `term` and answers how many there were. What they sealed is lost: the caller
    /// has made sure that no row, log entry or change record of those terms is left.
    ///
    /// # Errors
    /// [`Error::UnknownRing`]; [`Error::TermOutOfRange`] above the ring's `min_term`.
    pub fn drop_terms_below(&mut self, ring: u16, term: u32) -> Result<usize, Error> {
        let generation = self.next_generation()?;
        let ring = self.ring_mut(ring)?;
        if term > ring.min_term {
            return Err(Error::TermOutOfRange {
                term,
                lowest: FIRST_TERM,
                highest: ring.min_term,
            });
        }
        let before = ring.terms.len();
        ring.terms.retain(|&held, _| held >= term);
        let dropped = before - ring.terms.len();
        if dropped > 0 {
            self.generation = generation;
        }
        Ok(dropped)
    }

    /// The term that seals in `ring`.
    ///
    /// # Errors
    /// [`Error::UnknownRing`].
    pub fn active_term(&self, ring: u16) -> Result<u32, Error> {
        self.ring(ring).map(|ring| ring.active)
    }

    /// The oldest term of `ring` that may still be written.
    ///
    /// # Errors
    /// [`Error::UnknownRing`].
    pub fn min_term(&self, ring: u16) -> Result<u32, Error> {
        self.ring(ring).map(|ring| ring.min_term)
    }

    /// The terms that `ring` holds keys of, oldest first.
    ///
    /// # Errors
    /// [`Error::UnknownRing`].
    pub fn terms(&self, ring: u16) -> Result<Vec<TermInfo>, Error> {
        let info = |(&term, key): (&u32, &DataKey)| TermInfo {
            term,
            created_ms: key.created_ms,
        };
        self.ring(ring).map(|ring| ring.terms.iter().map(info).collect())
    }

    /// Stores a secret of the cluster itself (a CA key, for instance) under `name`, in place of an older one.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a name above 255 bytes, a value above 256 KiB, or more than 1024 secrets;
    /// [`Error::Malformed`] for an empty name.
    pub fn put_secret(&mut self, name: &str, value: SecretBytes) -> Result<(), Error> {
        let generation = self.next_generation()?;
        check_secret(name, value.len())?;
        if self.secrets.len() >= MAX_SECRETS && !self.secrets.contains_key(name) {
            return Err(Error::TooLarge {
                what: "number of cluster secrets",
                limit: MAX_SECRETS,
            });
        }
        self.secrets.insert(name.to_owned(), value);
        self.generation = generation;
        Ok(())
    }

    /// The secret stored under `name`.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&SecretBytes> {
        self.secrets.get(name)
    }

    /// Wipes the secret under `name`; answers whether there was one.
    ///
    /// # Errors
    /// [`Error::Exhausted`] after 2^64 changes.
    pub fn remove_secret(&mut self, name: &str) -> Result<bool, Error> {
        let generation = self.next_generation()?;
        let removed = self.secrets.remove(name).is_some();
        if removed {
            self.generation = generation;
        }
        Ok(removed)
    }

    pub(crate) fn name_key(&self) -> &NameKey {
        &self.name_key
    }

    pub(crate) fn token_key(&self) -> &Key32 {
        &self.token_key
    }

    pub(crate) fn audit_key(&self) -> &Key32 {
        &self.audit_key
    }

    pub(crate) fn lease_key(&self) -> &Key32 {
        &self.lease_key
    }

    fn data_key(&self, ring: u16, term: u32) -> Result<&DataKey, Error> {
        self.ring(ring)?
            .terms
            .get(&term)
            .ok_or(Error::UnknownTerm { ring, term })
    }

    pub(crate) fn ring(&self, ring: u16) -> Result<&Ring, Error> {
        self.rings.get(&ring).ok_or(Error::UnknownRing { ring })
    }

    fn ring_mut(&mut self, ring: u16) -> Result<&mut Ring, Error> {
        self.rings.get_mut(&ring).ok_or(Error::UnknownRing { ring })
    }

    fn next_generation(&self) -> Result<u64, Error> {
        self.generation.checked_add(1).ok_or(Error::Exhausted {
            what: "keyring generation",
        })
    }
}

impl Ring {
    pub(crate) fn active(&self) -> u32 {
        self.active
    }

    pub(crate) fn terms(&self) -> impl Iterator<Item = (u32, &DataKey)> {
        self.terms.iter().map(|(&term, key)| (term, key))
    }
}

impl DataKey {
    fn generate(created_ms: u64, entropy: &mut dyn Entropy) -> Self {
        Self {
            suite: SUITE,
            created_ms,
            key: Key32::generate(entropy),
        }
    }

    /// The key that seals values.
    pub(crate) fn value_key(&self) -> Result<Key32, Error> {
        derive::subkey(&self.key, Label::DataSealsValues)
    }

    fn commitment(&self) -> Result<Commitment, Error> {
        derive::commitment(&self.key, Label::DataCommitment)
    }
}

fn check_secret(name: &str, value_len: usize) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::Malformed {
            what: "cluster secret",
            reason: "its name is empty",
        });
    }
    if name.len() > MAX_SECRET_NAME_BYTES {
        return Err(Error::TooLarge {
            what: "name of a cluster secret, in bytes,",
            limit: MAX_SECRET_NAME_BYTES,
        });
    }
    if value_len > MAX_SECRET_BYTES {
        return Err(Error::TooLarge {
            what: "cluster secret, in bytes,",
            limit: MAX_SECRET_BYTES,
        });
    }
    Ok(())
}
