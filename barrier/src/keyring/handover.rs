//! A new root key sealed under the active data key, so that every node that holds the old keyring can follow a
//! root key rotation without its share holders.
//!
//! `format u8 | ring u16 | term u32 | generation u64 | commitment to the new root key 32 | nonce 24 | ciphertext |
//! tag 16`, big-endian.

use super::{DataKey, Keyring};
use crate::aead::Cipher;
use crate::codec::Reader;
use crate::derive::{self, Commitment, Label};
use crate::{BarrierId, Entropy, Error, RootKey};

const WHAT: &str = "root key handover";
const FORMAT: u8 = 1;

impl Keyring {
    /// Seals `new_root` under the active data key of `ring`, whose root key it is to be. `generation` is that of the
    /// keyring blob which `new_root` opens.
    ///
    /// # Errors
    /// [`Error::UnknownRing`] if this keyring holds no such ring.
    pub fn seal_root_handover(
        &self,
        ring: u16,
        new_root: &RootKey,
        generation: u64,
        barrier: BarrierId,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let term = self.active_term(ring)?;
        let head = head(ring, term, generation, &new_root.commitment()?);
        self.data_key(ring, term)?.handover_cipher()?.seal(
            &head,
            &[barrier.as_bytes()],
            new_root.expose(),
            entropy,
        )
    }

    /// Opens what [`Keyring::seal_root_handover`] made: the new root key, and the generation of the keyring blob
    /// it opens.
    ///
    /// # Errors
    /// [`Error::UnknownTerm`] if this keyring lacks the data key, [`Error::Tampered`] if the handover was altered or
    /// is of another barrier, [`Error::WrongKey`] if the key inside is not the one committed to.
    pub fn open_root_handover(&self, barrier: BarrierId, blob: &[u8]) -> Result<(RootKey, u64), Error> {
        let mut reader = Reader::new(WHAT, blob);
        reader.format(FORMAT)?;
        let ring = reader.u16()?;
        let term = reader.u32()?;
        let generation = reader.u64()?;
        let commitment = reader.array()?;
        let cipher = self.data_key(ring, term)?.handover_cipher()?;
        let head = head(ring, term, generation, commitment);
        let root = cipher.open(&head, &[barrier.as_bytes()], reader.rest(), WHAT)?;
        let root = RootKey::from_slice(root.expose())?;
        root.check_commitment(commitment, WHAT)?;
        Ok((root, generation))
    }
}

impl DataKey {
    fn handover_cipher(&self) -> Result<Cipher, Error> {
        Ok(Cipher::new(&derive::subkey(&self.key, Label::DataWrapsRoot)?))
    }
}

fn head(ring: u16, term: u32, generation: u64, commitment: &Commitment) -> Vec<u8> {
    let mut head = Vec::with_capacity(1 + 2 + 4 + 8 + 32);
    head.push(FORMAT);
    head.extend_from_slice(&ring.to_be_bytes());
    head.extend_from_slice(&term.to_be_bytes());
    head.extend_from_slice(&generation.to_be_bytes());
    head.extend_from_slice(commitment);
    head
}
