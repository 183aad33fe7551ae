//! The keyring sealed under the root key. Which blob is the current one is the caller's to know: the generation
//! in its head is authenticated, but an older blob is as genuine as a newer one.
//!
//! `format u8 | generation u64 | commitment to the root key 32 | nonce 24 | ciphertext | tag 16`, big-endian.

use super::{Keyring, codec};
use crate::codec::Reader;
use crate::derive::Commitment;
use crate::{BarrierId, Entropy, Error, RootKey};

const WHAT: &str = "sealed keyring";
const FORMAT: u8 = 1;

impl Keyring {
    /// Seals this keyring under `root`, bound to the barrier.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it outgrew its format.
    pub fn seal(
        &self,
        root: &RootKey,
        barrier: BarrierId,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let head = head(self.generation, &root.commitment()?);
        root.keyring_cipher()?
            .seal(&head, &[barrier.as_bytes()], &codec::encode(self)?, entropy)
    }

    /// Opens what [`Keyring::seal`] made. The root key is checked against its commitment first.
    ///
    /// # Errors
    /// [`Error::WrongKey`] for another root key, [`Error::Tampered`] if altered or of another barrier, and the
    /// errors of an unreadable format.
    pub fn open(root: &RootKey, barrier: BarrierId, blob: &[u8]) -> Result<Self, Error> {
        let (generation, commitment, body) = parse(blob)?;
        root.check_commitment(commitment, WHAT)?;
        let head = head(generation, commitment);
        let plaintext = root
            .keyring_cipher()?
            .open(&head, &[barrier.as_bytes()], body, WHAT)?;
        codec::decode(generation, plaintext.expose())
    }

    /// The generation that a sealed keyring says it has; proven only by [`Keyring::open`].
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::UnknownFormat`].
    pub fn generation_of(blob: &[u8]) -> Result<u64, Error> {
        parse(blob).map(|(generation, ..)| generation)
    }
}

fn head(generation: u64, commitment: &Commitment) -> Vec<u8> {
    let mut head = Vec::with_capacity(1 + 8 + 32);
    head.push(FORMAT);
    head.extend_from_slice(&generation.to_be_bytes());
    head.extend_from_slice(commitment);
    head
}

fn parse(blob: &[u8]) -> Result<(u64, &Commitment, &[u8]), Error> {
    let mut reader = Reader::new(WHAT, blob);
    reader.format(FORMAT)?;
    let generation = reader.u64()?;
    let commitment = reader.array()?;
    Ok((generation, commitment, reader.rest()))
}
