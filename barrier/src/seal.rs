//! A seal: what stands between the share holders and the root key. Its configuration holds no secret in clear and
//! is stored as it is. It knows no rekey ceremony and no PGP: those are the caller's.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::aead::{self, Cipher};
use crate::codec::Reader;
use crate::derive::{self, Commitment, Label, check_commitment};
use crate::mac::MacKey;
use crate::{Entropy, Error, Key32, RootKey, SecretBytes, shamir};

const WHAT: &str = "seal configuration";
const FORMAT: u8 = 1;
const ROOT_LEN: usize = Key32::LEN + aead::OVERHEAD;

/// How a seal is opened. Only Shamir is built; the other numbers are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SealKind {
    /// By a threshold of key shares.
    Shamir = 1,
    /// By a key in the node's configuration. Reserved.
    Static = 2,
    /// By another cluster's transit engine. Reserved.
    Transit = 3,
    /// By a cloud's key management service. Reserved.
    Kms = 4,
}

/// One generation of a Shamir seal: the root key under an unseal key that exists as shares only, a commitment to
/// that key, and a salted hash of each share, which names a wrong share at once. (A hash of a share of 256 random
/// bits tells nothing about it.) A rekey makes a new configuration with the next generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealConfig {
    id: [u8; SealConfig::ID_LEN],
    generation: u64,
    threshold: u8,
    commitment: Commitment,
    salt: [u8; 16],
    share_hashes: Vec<[u8; 32]>,
    /// The root key: `nonce 24 | ciphertext 32 | tag 16`.
    root: [u8; ROOT_LEN],
}

impl SealConfig {
    /// Length of a seal's id in bytes.
    pub const ID_LEN: usize = 16;

    /// Seals `root` under a new unseal key and splits that key into `shares` shares, any `threshold` of which open
    /// the seal. The shares are 33 bytes in Vault's layout, or, for one share of one, the unseal key itself.
    ///
    /// # Errors
    /// [`Error::ShareNumbers`] unless `1 <= threshold <= shares`, with a threshold of 1 for a single share only.
    pub fn create(
        root: &RootKey,
        shares: u8,
        threshold: u8,
        generation: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<SecretBytes>), Error> {
        shamir::check_numbers(shares, threshold)?;
        let unseal = Key32::generate(entropy);
        let shares = shamir::split(unseal.expose(), shares, threshold, entropy)?;
        let mut config = Self {
            id: random(entropy),
            generation,
            threshold,
            commitment: derive::commitment(&unseal, Label::UnsealCommitment)?,
            salt: random(entropy),
            share_hashes: Vec::new(),
            root: [0; ROOT_LEN],
        };
        for share in &shares {
            config.share_hashes.push(config.share_hash(share.expose())?);
        }
        let sealed = root_cipher(&unseal)?.seal(&config.head(), &[], root.expose(), entropy)?;
        config.root = *sealed.last_chunk().ok_or(Error::Truncated { what: WHAT })?;
        Ok((config, shares))
    }

    /// The stored form: `format u8 | kind u8 | id 16 | generation u64 | shares u8 | threshold u8 | commitment 32 |
    /// salt 16 | hash of each share 32 | root key: nonce 24, ciphertext 32, tag 16`, big-endian. Everything before
    /// the root key is authenticated with it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.head();
        out.extend_from_slice(&self.root);
        out
    }

    /// Reads [`SealConfig::encode`]'s form. Total: any input gives a configuration or an error.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`], [`Error::UnsupportedSeal`], [`Error::ShareNumbers`], or the errors of a damaged
    /// layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.format(FORMAT)?;
        check_kind(reader.u8()?)?;
        let id = *reader.array()?;
        let generation = reader.u64()?;
        let (shares, threshold) = (reader.u8()?, reader.u8()?);
        shamir::check_numbers(shares, threshold)?;
        let commitment = *reader.array()?;
        let salt = *reader.array()?;
        let mut share_hashes = Vec::with_capacity(usize::from(shares));
        for _ in 0..shares {
            share_hashes.push(*reader.array()?);
        }
        let root = *reader.array()?;
        reader.finish()?;
        Ok(Self {
            id,
            generation,
            threshold,
            commitment,
            salt,
            share_hashes,
            root,
        })
    }

    /// Which share this is, from zero, in the order they were made.
    ///
    /// # Errors
    /// [`Error::NotAShare`] if it is none of this seal's at this generation.
    pub fn check_share(&self, share: &[u8]) -> Result<usize, Error> {
        let hash = self.share_hash(share)?;
        let mut found = Choice::from(0);
        let mut index = 0u32;
        for (candidate, known) in (0u32..).zip(&self.share_hashes) {
            let same = hash.ct_eq(known);
            index.conditional_assign(&candidate, same);
            found |= same;
        }
        match usize::try_from(index) {
            Ok(index) if bool::from(found) => Ok(index),
            _ => Err(Error::NotAShare {
                generation: self.generation,
            }),
        }
    }

    /// Opens the seal with `threshold` or more distinct shares.
    ///
    /// # Errors
    /// [`Error::NotAShare`], [`Error::DuplicateShare`], [`Error::TooFewShares`]; [`Error::WrongKey`] or
    /// [`Error::Tampered`] if the configuration was altered.
    pub fn open_root(&self, shares: &[SecretBytes]) -> Result<RootKey, Error> {
        let mut given = vec![false; self.share_hashes.len()];
        for share in shares {
            let index = self.check_share(share.expose())?;
            match given.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(Error::DuplicateShare),
            }
        }
        let unseal = Key32::from_slice(shamir::combine(shares, self.threshold)?.expose())?;
        check_commitment(&unseal, Label::UnsealCommitment, &self.commitment, WHAT)?;
        let root = root_cipher(&unseal)?.open(&self.head(), &[], &self.root, WHAT)?;
        RootKey::from_slice(root.expose())
    }

    /// The random id of this configuration.
    #[must_use]
    pub fn id(&self) -> &[u8; Self::ID_LEN] {
        &self.id
    }

    /// How the seal is opened.
    #[must_use]
    pub fn kind(&self) -> SealKind {
        SealKind::Shamir
    }

    /// Counts the rekeys: shares of an older generation open nothing.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many shares there are.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.share_hashes.len()
    }

    /// How many distinct shares open the seal.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(76 + 32 * self.share_hashes.len() + ROOT_LEN);
        head.extend_from_slice(&[FORMAT, SealKind::Shamir as u8]);
        head.extend_from_slice(&self.id);
        head.extend_from_slice(&self.generation.to_be_bytes());
        // At most 255: `create` and `decode` make them from a u8.
        head.extend_from_slice(&[
            u8::try_from(self.share_hashes.len()).unwrap_or(u8::MAX),
            self.threshold,
        ]);
        head.extend_from_slice(&self.commitment);
        head.extend_from_slice(&self.salt);
        for hash in &self.share_hashes {
            head.extend_from_slice(hash);
        }
        head
    }

    fn share_hash(&self, share: &[u8]) -> Result<[u8; 32], Error> {
        Ok(MacKey::from_slice(&self.salt)?.tag(&[&self.id, &self.generation.to_be_bytes(), share]))
    }
}

fn check_kind(kind: u8) -> Result<(), Error> {
    let reserved = |kind| Err(Error::UnsupportedSeal { kind });
    match kind {
        k if k == SealKind::Shamir as u8 => Ok(()),
        k if k == SealKind::Static as u8 => reserved("static"),
        k if k == SealKind::Transit as u8 => reserved("transit"),
        k if k == SealKind::Kms as u8 => reserved("kms"),
        _ => Err(Error::Malformed {
            what: WHAT,
            reason: "its kind is not known",
        }),
    }
}

fn root_cipher(unseal: &Key32) -> Result<Cipher, Error> {
    Ok(Cipher::new(&derive::subkey(unseal, Label::UnsealWrapsRoot)?))
}

fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill(&mut out);
    out
}
