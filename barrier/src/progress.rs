//! Gathering of shares until the threshold is met. It knows neither who gave them nor how long ago.

use std::collections::BTreeMap;

use crate::{Error, RootKey, SealConfig, SecretBytes};

/// The shares given so far in one attempt to open a seal; wiped when dropped or reset. The nonce names the
/// attempt, so that share holders can see that they take part in the same one.
pub struct ShareProgress {
    nonce: [u8; ShareProgress::NONCE_LEN],
    seal: [u8; SealConfig::ID_LEN],
    generation: u64,
    threshold: u8,
    shares: BTreeMap<usize, SecretBytes>,
}

/// What came of giving a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It counts.
    New,
    /// It was here already; progress is as before.
    Again,
}

impl ShareProgress {
    /// Length of an attempt's nonce in bytes.
    pub const NONCE_LEN: usize = 16;

    /// An attempt to open `config`, without shares yet. `nonce` is random and unique, and the same on every node
    /// that takes part.
    #[must_use]
    pub fn new(config: &SealConfig, nonce: [u8; Self::NONCE_LEN]) -> Self {
        Self {
            nonce,
            seal: *config.id(),
            generation: config.generation(),
            threshold: config.threshold(),
            shares: BTreeMap::new(),
        }
    }

    /// Adds a share, unless it is here already.
    ///
    /// # Errors
    /// [`Error::NotAShare`] for a wrong share and [`Error::StaleProgress`] if `config` is not the one this attempt
    /// began with; progress is as before.
    pub fn add(&mut self, config: &SealConfig, share: SecretBytes) -> Result<Given, Error> {
        self.check_same(config)?;
        let index = config.check_share(share.expose())?;
        match self.shares.insert(index, share) {
            None => Ok(Given::New),
            Some(_) => Ok(Given::Again),
        }
    }

    /// Whether this share was given already.
    #[must_use]
    pub fn holds(&self, share: &[u8]) -> bool {
        self.shares.values().any(|held| held.matches(share))
    }

    /// Opens the seal with the shares given.
    ///
    /// # Errors
    /// [`Error::TooFewShares`] before the threshold is met, [`Error::StaleProgress`], and those of
    /// [`SealConfig::open_root`].
    pub fn open_root(&self, config: &SealConfig) -> Result<RootKey, Error> {
        self.check_same(config)?;
        let shares: Vec<SecretBytes> = self.shares.values().cloned().collect();
        config.open_root(&shares)
    }

    /// Wipes the shares and begins a new attempt.
    pub fn reset(&mut self, nonce: [u8; Self::NONCE_LEN]) {
        self.shares.clear();
        self.nonce = nonce;
    }

    /// The attempt's nonce.
    #[must_use]
    pub fn nonce(&self) -> &[u8; Self::NONCE_LEN] {
        &self.nonce
    }

    /// How many distinct shares were given.
    #[must_use]
    pub fn given(&self) -> usize {
        self.shares.len()
    }

    /// How many are needed.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Whether the threshold is met.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.given() >= usize::from(self.threshold)
    }

    /// The shares given, for handing on to a peer that gathers too.
    pub fn shares(&self) -> impl Iterator<Item = &SecretBytes> {
        self.shares.values()
    }

    fn check_same(&self, config: &SealConfig) -> Result<(), Error> {
        if self.seal == *config.id() && self.generation == config.generation() {
            Ok(())
        } else {
            Err(Error::StaleProgress)
        }
    }
}
