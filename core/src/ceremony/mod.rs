//! What share holders do together besides unsealing: a new root key with new shares, or a new root token; and the data
//! key's rotation, which needs no shares. All of it is of one ring: the cluster's, or that of a namespace with a seal of its own.
//! Progress is kept in the memory of the node that began, like that of an unseal; it is gone when that node, or the namespace, is
//! sealed, or the node stops. Knows no paths and no bodies.

mod data_key;
mod generation;
mod minting;
mod once;
mod rotation;
mod swap;

use std::collections::BTreeMap;

use parking_lot::Mutex;

use conclave_barrier::{Entropy as _, Given, SealConfig, SecretBytes, ShareProgress};

use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::share_error;

use generation::Generation;
use rotation::Rotation;

pub use data_key::AutoRotation;
pub use generation::{GenerationStatus, unmask};
pub use rotation::{Backup, RotationStatus, Updated, VerificationStatus, Verified, Wanted};
pub use swap::BACKUP;

/// The ceremonies under way on one node, for each ring one of each kind.
#[derive(Default)]
pub struct Ceremonies {
    rotations: Mutex<BTreeMap<u16, Rotation>>,
    generations: Mutex<BTreeMap<u16, Generation>>,
}

impl Ceremonies {
    /// Ends all of them and wipes what was given. Part of sealing the node.
    pub fn forget(&self) {
        self.keep(|_| false);
    }

    /// Ends those of rings that are not to be kept. Part of sealing a namespace.
    pub fn keep(&self, is_kept: impl Fn(u16) -> bool) {
        self.rotations.lock().retain(|ring, _| is_kept(*ring));
        self.generations.lock().retain(|ring, _| is_kept(*ring));
    }
}

/// Names one attempt.
type Nonce = [u8; ShareProgress::NONCE_LEN];

fn fresh_nonce() -> Nonce {
    let mut nonce = Nonce::default();
    OsEntropy.fill(&mut nonce);
    nonce
}

fn nonce_text(nonce: &Nonce) -> String {
    crate::sys::uuid_text(*nonce)
}

fn check_nonce(nonce: &Nonce, shown: &str) -> Result<(), Error> {
    if nonce_text(nonce) == shown {
        Ok(())
    } else {
        Err(Error::invalid(
            "incorrect nonce supplied; it is not that of the operation in progress on this node",
        ))
    }
}

/// Counts a share of the seal of a ring. One that was given before is an error that changes nothing, unless all are there: then the request is
/// a second try of what follows.
fn give(
    progress: &mut ShareProgress,
    (ring, seal): (u16, &SealConfig),
    share: SecretBytes,
) -> Result<(), Error> {
    match progress.add(seal, share) {
        Ok(Given::Again) if !progress.is_complete() => Err(Error::invalid(
            "given key has already been provided during this operation",
        )),
        Ok(Given::New | Given::Again) => Ok(()),
        Err(error) => Err(share_error(ring, &error)),
    }
}
