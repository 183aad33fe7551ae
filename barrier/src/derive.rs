//! Subkeys and key commitments by HKDF-SHA256 (RFC 5869). One label for each use, so that no key does two jobs.

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{Error, Key32};

/// What a derived key is for. Every label is used with one kind of parent key only.
#[derive(Clone, Copy)]
pub(crate) enum Label {
    /// Unseal key: wraps the root key.
    UnsealWrapsRoot,
    /// Unseal key: its commitment, in the seal configuration.
    UnsealCommitment,
    /// Root key: wraps the keyring.
    RootWrapsKeyring,
    /// Root key: its commitment, in front of the keyring and of a handover.
    RootCommitment,
    /// Data key: seals values.
    DataSealsValues,
    /// Data key: wraps a new root key for nodes that hold the old keyring.
    DataWrapsRoot,
    /// Data key: its commitment, in the keyring.
    DataCommitment,
    /// Audit key: vouches for operators' snapshots. It never rotates, so a snapshot is known for as long as its barrier.
    AuditVouchesForSnapshots,
    /// Token key: seals tokens that carry themselves what they are. It never rotates, so they live as long as they say.
    TokenSealsBatch,
}

impl Label {
    fn info(self) -> &'static [u8] {
        match self {
            Self::UnsealWrapsRoot => b"conclave barrier 1: unseal wraps root",
            Self::UnsealCommitment => b"conclave barrier 1: unseal commitment",
            Self::RootWrapsKeyring => b"conclave barrier 1: root wraps keyring",
            Self::RootCommitment => b"conclave barrier 1: root commitment",
            Self::DataSealsValues => b"conclave barrier 1: data seals values",
            Self::DataWrapsRoot => b"conclave barrier 1: data wraps root",
            Self::DataCommitment => b"conclave barrier 1: data commitment",
            Self::AuditVouchesForSnapshots => b"conclave barrier 1: audit vouches for snapshots",
            Self::TokenSealsBatch => b"conclave barrier 1: token seals batch",
        }
    }
}

/// A commitment to a key: reveals nothing of it, and no second key has the same one.
pub(crate) type Commitment = [u8; 32];

/// The subkey of `parent` for one use.
pub(crate) fn subkey(parent: &Key32, label: Label) -> Result<Key32, Error> {
    let mut key = Key32::zeroed();
    expand(parent, label, key.expose_mut())?;
    Ok(key)
}

pub(crate) fn commitment(key: &Key32, label: Label) -> Result<Commitment, Error> {
    let mut out = [0; 32];
    expand(key, label, &mut out)?;
    Ok(out)
}

/// Refuses `key` unless it is the one committed to. Neither AEAD commits to its key, so this comes before
/// anything is opened; constant time.
pub(crate) fn check_commitment(
    key: &Key32,
    label: Label,
    committed: &Commitment,
    what: &'static str,
) -> Result<(), Error> {
    let own = commitment(key, label)?;
    if bool::from(own.ct_eq(committed)) {
        Ok(())
    } else {
        Err(Error::WrongKey { what })
    }
}

fn expand(parent: &Key32, label: Label, out: &mut [u8; 32]) -> Result<(), Error> {
    Hkdf::<Sha256>::new(None, parent.expose())
        .expand(label.info(), out)
        .map_err(|_| Error::Primitive {
            primitive: "HKDF-SHA256",
        })
}
