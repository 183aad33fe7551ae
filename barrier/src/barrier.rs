//! An opened keyring at work: seals and opens values and names, and computes the keyed hashes. It knows nothing
//! of what the values mean or where they are stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use subtle::ConstantTimeEq;

use crate::aead::Cipher;
use crate::derive::{self, Label};
use crate::envelope::{self, Envelope};
use crate::mac::MacKey;
use crate::mutant;
use crate::{BarrierId, Entropy, Error, Keyring, NameSuite, SecretBytes};

/// Format of a token that is stored nowhere.
const BATCH_FORMAT: u8 = 1;

/// The ring of the cluster itself.
pub const CLUSTER_RING: u16 = 0;

/// An opened barrier. Cheap to clone; the keys are wiped when the last clone goes, so whoever seals the node
/// must see to it that none is kept.
#[derive(Clone)]
pub struct Barrier(Arc<Opened>);

struct Opened {
    id: BarrierId,
    keyring: Keyring,
    rings: BTreeMap<u16, OpenRing>,
    names: Box<dyn NameSuite>,
    token: MacKey,
    audit: MacKey,
    lease: MacKey,
    snapshot: MacKey,
    batch: Cipher,
    /// Values sealed since this was last asked for.
    sealed: AtomicU64,
}

/// Ciphers made once, so that a request pays for no key derivation.
struct OpenRing {
    active: u32,
    ciphers: BTreeMap<u32, Cipher>,
}

impl Barrier {
    /// Makes `keyring` ready for use.
    ///
    /// # Errors
    /// None is known for a keyring made by this crate.
    pub fn new(id: BarrierId, keyring: Keyring) -> Result<Self, Error> {
        let mut rings = BTreeMap::new();
        for (number, ring) in keyring.rings() {
            let mut ciphers = BTreeMap::new();
            for (term, key) in ring.terms() {
                ciphers.insert(term, Cipher::new(&key.value_key()?));
            }
            rings.insert(
                number,
                OpenRing {
                    active: ring.active(),
                    ciphers,
                },
            );
        }
        Ok(Self(Arc::new(Opened {
            id,
            rings,
            names: match mutant::is("plain-names") {
                true => Box::new(mutant::PlainNames),
                false => Box::new(keyring.name_key().clone()),
            },
            token: MacKey::new(keyring.token_key())?,
            audit: MacKey::new(keyring.audit_key())?,
            lease: MacKey::new(keyring.lease_key())?,
            snapshot: MacKey::new(&derive::subkey(
                keyring.audit_key(),
                Label::AuditVouchesForSnapshots,
            )?)?,
            batch: Cipher::new(&derive::subkey(keyring.token_key(), Label::TokenSealsBatch)?),
            keyring,
            sealed: AtomicU64::new(0),
        })))
    }

    /// Seals `plaintext` for the row `sealed_key` of `table`, under the active key of `ring`; answers an
    /// [`Envelope`]. It opens in that row, table and barrier only.
    ///
    /// # Errors
    /// [`Error::UnknownRing`]; [`Error::TooLarge`] above [`crate::MAX_PLAINTEXT_BYTES`].
    pub fn seal_value(
        &self,
        ring: u16,
        table: u8,
        sealed_key: &[u8],
        plaintext: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let open = self.0.rings.get(&ring).ok_or(Error::UnknownRing { ring })?;
        let term = open.active;
        let cipher = open.ciphers.get(&term).ok_or(Error::UnknownTerm { ring, term })?;
        let header = envelope::header(ring, term);
        self.0.sealed.fetch_add(1, Ordering::Relaxed);
        cipher.seal(
            &header,
            &[self.0.id.as_bytes(), &[table], sealed_key],
            plaintext,
            entropy,
        )
    }

    /// How many values were sealed since this was last asked for, by this keyring's keys on this node.
    #[must_use]
    pub fn take_sealed(&self) -> u64 {
        self.0.sealed.swap(0, Ordering::Relaxed)
    }

    /// Opens the envelope found in row `sealed_key` of `table`, with the key its header names and no other.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it was altered or belongs elsewhere; [`Error::UnknownRing`] or
    /// [`Error::UnknownTerm`] if this keyring lacks the key; the errors of [`Envelope::parse`].
    pub fn open_value(&self, table: u8, sealed_key: &[u8], envelope: &[u8]) -> Result<SecretBytes, Error> {
        let envelope = Envelope::parse(envelope)?;
        let (ring, term) = (envelope.ring(), envelope.term());
        let open = self.0.rings.get(&ring).ok_or(Error::UnknownRing { ring })?;
        let cipher = open.ciphers.get(&term).ok_or(Error::UnknownTerm { ring, term })?;
        let bound: [&[u8]; 3] = [self.0.id.as_bytes(), &[table], sealed_key];
        cipher.open(&envelope.header(), &bound, envelope.body(), "sealed value")
    }

    /// Seals one path segment under `parent`, the sealed key prefix it stands behind. Deterministic; the result is
    /// [`crate::NAME_OVERHEAD`] bytes longer than the segment.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`crate::MAX_SEGMENT_BYTES`].
    pub fn seal_segment(&self, parent: &[u8], segment: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.names.seal(parent, segment)
    }

    /// Opens a sealed path segment that stands under `parent`.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it was altered or stands elsewhere; [`Error::Truncated`].
    pub fn open_segment(&self, parent: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
        self.0.names.open(parent, sealed)
    }

    /// The name under which a token is stored: HMAC-SHA256 of it. Survives every rotation.
    #[must_use]
    pub fn token_hmac(&self, token: &[u8]) -> [u8; 32] {
        self.0.token.tag(&[token])
    }

    /// The name under which an accessor or a lease is stored: HMAC-SHA256 of it. Survives every rotation.
    #[must_use]
    pub fn lease_hmac(&self, id: &[u8]) -> [u8; 32] {
        self.0.lease.tag(&[id])
    }

    /// Seals what a token is that is stored nowhere: `1 | nonce | ciphertext | tag`, the first byte being the format. It
    /// opens in this barrier alone. Survives every rotation.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`crate::MAX_PLAINTEXT_BYTES`].
    pub fn seal_token(&self, record: &[u8], entropy: &mut dyn Entropy) -> Result<Vec<u8>, Error> {
        self.0
            .batch
            .seal(&[BATCH_FORMAT], &[self.0.id.as_bytes()], record, entropy)
    }

    /// Opens what [`Self::seal_token`] sealed.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Tampered`] for everything else.
    pub fn open_token(&self, sealed: &[u8]) -> Result<SecretBytes, Error> {
        const WHAT: &str = "sealed token";
        match sealed.split_first() {
            Some((&BATCH_FORMAT, body)) => {
                self.0
                    .batch
                    .open(&[BATCH_FORMAT], &[self.0.id.as_bytes()], body, WHAT)
            }
            _ => Err(Error::Tampered { what: WHAT }),
        }
    }

    /// The keyed hash of `value` in audit records of the device with this `salt`:
    /// HMAC-SHA256 of `length of the salt u64 | salt | value`. Survives every rotation.
    #[must_use]
    pub fn audit_hmac(&self, salt: &[u8], value: &[u8]) -> [u8; 32] {
        self.0
            .audit
            .tag(&[&(salt.len() as u64).to_be_bytes(), salt, value])
    }

    /// The keyed hash that vouches for an operator's snapshot whose list of checksums is `sums`: whoever can write the
    /// file but holds no keys cannot make one. Survives every rotation.
    #[must_use]
    pub fn snapshot_mac(&self, sums: &[u8]) -> [u8; 32] {
        self.0.snapshot.tag(&[sums])
    }

    /// Whether `mac` is the keyed hash of `sums`; constant time.
    #[must_use]
    pub fn vouches_for_snapshot(&self, sums: &[u8], mac: &[u8; 32]) -> bool {
        self.snapshot_mac(sums).ct_eq(mac).into()
    }

    /// The term that seals in `ring`.
    ///
    /// # Errors
    /// [`Error::UnknownRing`].
    pub fn active_term(&self, ring: u16) -> Result<u32, Error> {
        self.0.keyring.active_term(ring)
    }

    /// The oldest term of `ring` that may still be written.
    ///
    /// # Errors
    /// [`Error::UnknownRing`].
    pub fn min_term(&self, ring: u16) -> Result<u32, Error> {
        self.0.keyring.min_term(ring)
    }

    /// The barrier's identity.
    #[must_use]
    pub fn id(&self) -> BarrierId {
        self.0.id
    }

    /// The keyring, to read its secrets or to clone and change.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.0.keyring
    }
}
