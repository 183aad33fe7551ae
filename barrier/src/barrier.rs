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
pub struct Barrier {
    cluster: Arc<Opened>,
    /// Rings with root keys of their own, as far as they are open.
    beside: Arc<BTreeMap<u16, RingKeys>>,
}

struct Opened {
    id: BarrierId,
    ring: OpenRing,
    keyring: Keyring,
    token: MacKey,
    audit: MacKey,
    lease: MacKey,
    snapshot: MacKey,
    batch: Cipher,
    /// Values sealed since this was last asked for.
    sealed: AtomicU64,
}

/// The keys of a ring that has a root key of its own, opened. Cheap to clone; wiped when the last clone goes.
#[derive(Clone)]
pub struct RingKeys(Arc<OwnRing>);

struct OwnRing {
    number: u16,
    ring: OpenRing,
    keyring: Keyring,
    /// Seals what must survive the rotations of the ring.
    lasting: Cipher,
    /// As the cluster's.
    sealed: AtomicU64,
}

/// Ciphers made once, so that a request pays for no key derivation.
struct OpenRing {
    active: u32,
    ciphers: BTreeMap<u32, Cipher>,
    names: Box<dyn NameSuite>,
}

impl OpenRing {
    fn new(keyring: &Keyring, number: u16) -> Result<Self, Error> {
        let ring = keyring.ring(number)?;
        let mut ciphers = BTreeMap::new();
        for (term, key) in ring.terms() {
            ciphers.insert(term, Cipher::new(&key.value_key()?));
        }
        Ok(Self {
            active: ring.active(),
            ciphers,
            names: match mutant::is("plain-names") {
                true => Box::new(mutant::PlainNames),
                false => Box::new(keyring.name_key().clone()),
            },
        })
    }
}

impl RingKeys {
    /// Makes the keyring of ring `number` ready for use.
    ///
    /// # Errors
    /// [`Error::UnknownRing`] if it holds no such ring.
    pub fn new(number: u16, keyring: Keyring) -> Result<Self, Error> {
        Ok(Self(Arc::new(OwnRing {
            number,
            ring: OpenRing::new(&keyring, number)?,
            lasting: Cipher::new(&derive::subkey(keyring.token_key(), Label::TokenSealsBatch)?),
            keyring,
            sealed: AtomicU64::new(0),
        })))
    }

    fn number_bytes(&self) -> [u8; 2] {
        self.0.number.to_be_bytes()
    }

    /// Seals what lies in a row of the cluster's and is yet the ring's alone: `1 | nonce | ciphertext | tag`. It opens in
    /// this ring and barrier. Survives every rotation, for nobody seals such a row anew.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`crate::MAX_PLAINTEXT_BYTES`].
    pub fn seal_lasting(
        &self,
        barrier: BarrierId,
        plaintext: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let bound: [&[u8]; 2] = [barrier.as_bytes(), &self.number_bytes()];
        self.0.lasting.seal(&[BATCH_FORMAT], &bound, plaintext, entropy)
    }

    /// Opens what [`Self::seal_lasting`] sealed.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Tampered`] for everything else.
    pub fn open_lasting(&self, barrier: BarrierId, sealed: &[u8]) -> Result<SecretBytes, Error> {
        const WHAT: &str = "value of a ring";
        let bound: [&[u8]; 2] = [barrier.as_bytes(), &self.number_bytes()];
        match sealed.split_first() {
            Some((&BATCH_FORMAT, body)) => self.0.lasting.open(&[BATCH_FORMAT], &bound, body, WHAT),
            _ => Err(Error::Tampered { what: WHAT }),
        }
    }

    /// Which ring it is.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0.number
    }

    /// The keyring, to clone and change.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.0.keyring
    }
}

impl Barrier {
    /// Makes the cluster's `keyring` ready for use.
    ///
    /// # Errors
    /// [`Error::UnknownRing`] if it lacks the ring of the cluster; none is known for one made by this crate.
    pub fn new(id: BarrierId, keyring: Keyring) -> Result<Self, Error> {
        Ok(Self {
            cluster: Arc::new(Opened {
                id,
                ring: OpenRing::new(&keyring, CLUSTER_RING)?,
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
            }),
            beside: Arc::default(),
        })
    }

    /// The same keys with these rings beside the cluster's, in place of those that were.
    #[must_use]
    pub fn beside(&self, rings: impl IntoIterator<Item = RingKeys>) -> Self {
        let rings = rings.into_iter().filter(|ring| ring.number() != CLUSTER_RING);
        Self {
            cluster: self.cluster.clone(),
            beside: Arc::new(rings.map(|ring| (ring.number(), ring)).collect()),
        }
    }

    /// The rings beside the cluster's that are open.
    pub fn rings(&self) -> impl Iterator<Item = &RingKeys> {
        self.beside.values()
    }

    /// The keys of a ring beside the cluster's, if it is open.
    #[must_use]
    pub fn ring_keys(&self, ring: u16) -> Option<&RingKeys> {
        self.beside.get(&ring)
    }

    /// Whether names and values of this ring can be sealed and opened.
    #[must_use]
    pub fn has_ring(&self, ring: u16) -> bool {
        ring == CLUSTER_RING || self.beside.contains_key(&ring)
    }

    fn ring(&self, ring: u16) -> Result<&OpenRing, Error> {
        match ring {
            CLUSTER_RING => Ok(&self.cluster.ring),
            other => match self.beside.get(&other) {
                Some(keys) => Ok(&keys.0.ring),
                None => Err(Error::UnknownRing { ring }),
            },
        }
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
        let open = self.ring(ring)?;
        let term = open.active;
        let cipher = open.ciphers.get(&term).ok_or(Error::UnknownTerm { ring, term })?;
        let header = envelope::header(ring, term);
        if let Some(sealed) = self.sealed(ring) {
            sealed.fetch_add(1, Ordering::Relaxed);
        }
        cipher.seal(
            &header,
            &[self.cluster.id.as_bytes(), &[table], sealed_key],
            plaintext,
            entropy,
        )
    }

    /// How many values were sealed since this was last asked for, by keys of `ring` on this node.
    #[must_use]
    pub fn take_sealed(&self, ring: u16) -> u64 {
        self.sealed(ring)
            .map_or(0, |sealed| sealed.swap(0, Ordering::Relaxed))
    }

    fn sealed(&self, ring: u16) -> Option<&AtomicU64> {
        match ring {
            CLUSTER_RING => Some(&self.cluster.sealed),
            other => self.beside.get(&other).map(|keys| &keys.0.sealed),
        }
    }

    /// Opens the envelope found in row `sealed_key` of `table`, with the key its header names and no other. Whether a
    /// row may be of the ring that it names is for who knows where rows lie.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it was altered or belongs elsewhere; [`Error::UnknownRing`] or
    /// [`Error::UnknownTerm`] if this keyring lacks the key; the errors of [`Envelope::parse`].
    pub fn open_value(&self, table: u8, sealed_key: &[u8], envelope: &[u8]) -> Result<SecretBytes, Error> {
        let envelope = Envelope::parse(envelope)?;
        let (ring, term) = (envelope.ring(), envelope.term());
        let open = self.ring(ring)?;
        let cipher = open.ciphers.get(&term).ok_or(Error::UnknownTerm { ring, term })?;
        let bound: [&[u8]; 3] = [self.cluster.id.as_bytes(), &[table], sealed_key];
        cipher.open(&envelope.header(), &bound, envelope.body(), "sealed value")
    }

    /// Seals one path segment of `ring` under `parent`, the sealed key prefix it stands behind. Deterministic; the result
    /// is [`crate::NAME_OVERHEAD`] bytes longer than the segment.
    ///
    /// # Errors
    /// [`Error::UnknownRing`]; [`Error::TooLarge`] above [`crate::MAX_SEGMENT_BYTES`].
    pub fn seal_segment(&self, ring: u16, parent: &[u8], segment: &[u8]) -> Result<Vec<u8>, Error> {
        self.ring(ring)?.names.seal(parent, segment)
    }

    /// Opens a sealed path segment of `ring` that stands under `parent`.
    ///
    /// # Errors
    /// [`Error::UnknownRing`]; [`Error::Tampered`] if it was altered or stands elsewhere; [`Error::Truncated`].
    pub fn open_segment(&self, ring: u16, parent: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
        self.ring(ring)?.names.open(parent, sealed)
    }

    /// The name under which a token is stored: HMAC-SHA256 of it. Survives every rotation.
    #[must_use]
    pub fn token_hmac(&self, token: &[u8]) -> [u8; 32] {
        self.cluster.token.tag(&[token])
    }

    /// The name under which an accessor or a lease is stored: HMAC-SHA256 of it. Survives every rotation.
    #[must_use]
    pub fn lease_hmac(&self, id: &[u8]) -> [u8; 32] {
        self.cluster.lease.tag(&[id])
    }

    /// Seals what a token is that is stored nowhere: `1 | nonce | ciphertext | tag`, the first byte being the format. It
    /// opens in this barrier alone. Survives every rotation.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`crate::MAX_PLAINTEXT_BYTES`].
    pub fn seal_token(&self, record: &[u8], entropy: &mut dyn Entropy) -> Result<Vec<u8>, Error> {
        self.cluster
            .batch
            .seal(&[BATCH_FORMAT], &[self.cluster.id.as_bytes()], record, entropy)
    }

    /// Opens what [`Self::seal_token`] sealed.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Tampered`] for everything else.
    pub fn open_token(&self, sealed: &[u8]) -> Result<SecretBytes, Error> {
        const WHAT: &str = "sealed token";
        match sealed.split_first() {
            Some((&BATCH_FORMAT, body)) => {
                self.cluster
                    .batch
                    .open(&[BATCH_FORMAT], &[self.cluster.id.as_bytes()], body, WHAT)
            }
            _ => Err(Error::Tampered { what: WHAT }),
        }
    }

    /// The keyed hash of `value` in audit records of the device with this `salt`:
    /// HMAC-SHA256 of `length of the salt u64 | salt | value`. Survives every rotation.
    #[must_use]
    pub fn audit_hmac(&self, salt: &[u8], value: &[u8]) -> [u8; 32] {
        self.cluster
            .audit
            .tag(&[&(salt.len() as u64).to_be_bytes(), salt, value])
    }

    /// The keyed hash that vouches for an operator's snapshot whose list of checksums is `sums`: whoever can write the
    /// file but holds no keys cannot make one. Survives every rotation.
    #[must_use]
    pub fn snapshot_mac(&self, sums: &[u8]) -> [u8; 32] {
        self.cluster.snapshot.tag(&[sums])
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
        Ok(self.ring(ring)?.active)
    }

    /// The oldest term of `ring` that may still be written.
    ///
    /// # Errors
    /// [`Error::UnknownRing`].
    pub fn min_term(&self, ring: u16) -> Result<u32, Error> {
        match self.ring_keys(ring) {
            Some(keys) => keys.keyring().min_term(ring),
            None => self.cluster.keyring.min_term(ring),
        }
    }

    /// The barrier's identity.
    #[must_use]
    pub fn id(&self) -> BarrierId {
        self.cluster.id
    }

    /// The cluster's keyring, to read its secrets or to clone and change.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.cluster.keyring
    }
}
