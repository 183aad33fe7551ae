//! One hash over all replicated state, so that operators and tests can compare nodes. It covers ciphertext only: a sealed
//! node gives it too.

use conclave_raft::state;

use crate::core::Core;
use crate::error::Error;

/// What one node has applied, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateDigest {
    /// Commands applied. Only digests of one revision can be compared.
    pub revision: u64,
    /// SHA-256, as [`state::digest`] defines it.
    pub digest: [u8; 32],
}

impl Core {
    /// Hashes everything this node has applied. Reads every row: call it on a thread that may block.
    pub fn digest(&self) -> Result<StateDigest, Error> {
        let view = self.seal.replica()?.view()?;
        Ok(StateDigest {
            revision: view.applied().revision,
            digest: state::digest(&view)?,
        })
    }
}
