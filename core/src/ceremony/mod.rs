//! What share holders do together besides unsealing: a new root key with new shares, or a new root token; and the data
//! key's rotation, which needs no shares. Progress is kept
//! in the memory of the node that began, like that of an unseal; it is gone when that node is sealed or stops. Knows no
//! paths and no bodies.

mod data_key;
mod generation;
mod rotation;
mod swap;

use parking_lot::Mutex;

use conclave_barrier::{Entropy as _, Given, SealConfig, SecretBytes, ShareProgress};

use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::share_error;

use generation::Generation;
use rotation::Rotation;

pub use data_key::AutoRotation;
pub use generation::{GenerationStatus, TOKEN_BYTES, unmask};
pub use rotation::{Backup, RotationStatus, Updated, VerificationStatus, Verified, Wanted};
pub use swap::BACKUP;

/// The ceremonies under way on one node, one of each kind.
#[derive(Default)]
pub struct Ceremonies {
    rotation: Mutex<Option<Rotation>>,
    generation: Mutex<Option<Generation>>,
}

impl Ceremonies {
    /// Ends all of them and wipes what was given. Part of sealing the node.
    pub fn forget(&self) {
        *self.rotation.lock() = None;
        *self.generation.lock() = None;
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

/// Counts a share. One that was given before is an error that changes nothing, unless all are there: then the request is
/// a second try of what follows.
fn give(progress: &mut ShareProgress, seal: &SealConfig, share: SecretBytes) -> Result<(), Error> {
    match progress.add(seal, share) {
        Ok(Given::Again) if !progress.is_complete() => Err(Error::invalid(
            "given key has already been provided during this operation",
        )),
        Ok(Given::New | Given::Again) => Ok(()),
        Err(error) => Err(share_error(&error)),
    }
}
