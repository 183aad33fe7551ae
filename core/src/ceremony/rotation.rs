//! New shares and a new root key, given out by holders of the old shares. With verification the new shares are handed out
//! first and take effect only when a threshold of them came back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use conclave_barrier::{RootKey, SecretBytes, ShareProgress};

use crate::catalog::encode_record;
use crate::ceremony::swap::Swap;
use crate::ceremony::{check_nonce, fresh_nonce, give, nonce_text};
use crate::core::Core;
use crate::error::Error;
use crate::seal::{Handed, PgpKey, StoredSeal, Threshold, decode_share, hand_out, share_error};

/// What a rotation is to do.
pub struct Wanted {
    /// How the new root key is shared.
    pub split: Threshold,
    /// Whether the new shares must come back before they take effect.
    pub verify: bool,
    /// Whom the new shares are encrypted to, in their order; nobody: they are handed out as they are.
    pub keys: Vec<PgpKey>,
    /// Whether a copy of the encrypted shares is kept.
    pub backup: bool,
}

/// Encrypted shares that are kept: who lost what was handed out can be given it again.
#[derive(Serialize, Deserialize)]
pub struct Backup {
    /// The attempt that made them.
    pub nonce: String,
    /// By the fingerprint of the key that opens them, in hexadecimal.
    pub keys: BTreeMap<String, Vec<String>>,
}

/// A rotation under way.
pub(super) struct Rotation {
    wanted: Wanted,
    /// The seal whose shares are gathered.
    old: Arc<StoredSeal>,
    given: ShareProgress,
    made: Option<Made>,
}

/// The old shares are complete: what they allow is ready.
struct Made {
    swap: Arc<Swap>,
    /// The new shares as they are handed out.
    handed: Arc<Vec<Handed>>,
    /// New shares that came back.
    check: ShareProgress,
}

/// How far a rotation is.
pub struct RotationStatus {
    /// Shares needed of the present seal.
    pub required: u8,
    /// The rotation under way on this node.
    pub current: Option<RotationProgress>,
}

/// A rotation under way.
pub struct RotationProgress {
    /// Names the attempt.
    pub nonce: String,
    /// What was asked for.
    pub split: Threshold,
    /// Shares given so far.
    pub given: usize,
    /// Whether the new shares must come back before they take effect.
    pub verify: bool,
    /// Names the verification, once the new shares were handed out.
    pub verification_nonce: Option<String>,
    /// Fingerprints of the keys that the new shares are encrypted to.
    pub fingerprints: Vec<String>,
    /// Whether a copy of them is kept.
    pub backup: bool,
}

/// What came of giving a share.
pub enum Updated {
    /// More are needed.
    More(RotationStatus),
    /// The new shares.
    Made {
        /// The attempt's nonce.
        nonce: String,
        /// The new shares, handed out once.
        shares: Arc<Vec<Handed>>,
        /// Fingerprints of the keys they are encrypted to.
        fingerprints: Vec<String>,
        /// Whether a copy of them is kept.
        backup: bool,
        /// Names the verification without which they have no effect; `None` if they are in effect.
        verification_nonce: Option<String>,
    },
}

/// How far the verification is.
pub struct VerificationStatus {
    /// Names it; `None` before the new shares were handed out.
    pub nonce: Option<String>,
    /// What was asked for.
    pub split: Threshold,
    /// New shares that came back.
    pub given: usize,
}

/// What came of giving a new share back.
pub enum Verified {
    /// More are needed.
    More(VerificationStatus),
    /// The new shares are in effect.
    Done {
        /// The verification's nonce.
        nonce: String,
    },
}

impl Core {
    /// How far the rotation of a ring is.
    pub(crate) fn rotation_status(&self, ring: u16) -> Result<RotationStatus, Error> {
        let seal = StoredSeal::of(self.seal.replica()?.view()?.as_ref(), ring)?;
        let rotations = self.ceremonies.rotations.lock();
        Ok(status(&seal, rotations.get(&ring)))
    }

    /// Begins a rotation.
    pub(crate) async fn begin_rotation(&self, ring: u16, wanted: Wanted) -> Result<RotationStatus, Error> {
        self.seal.session()?;
        let old = StoredSeal::of(self.seal.replica()?.read().await?.as_ref(), ring)?;
        let mut rotations = self.ceremonies.rotations.lock();
        if rotations.contains_key(&ring) {
            return Err(Error::invalid("rotation already in progress"));
        }
        let rotation = Rotation {
            wanted,
            given: ShareProgress::new(&old.config, fresh_nonce()),
            made: None,
            old: Arc::new(old),
        };
        let begun = status(&rotation.old, Some(&rotation));
        rotations.insert(ring, rotation);
        Ok(begun)
    }

    /// Takes one of the present shares; with the last one makes the new ones. A try that fails after that, for lack of a
    /// leader for instance, is repeated by giving any of the shares again.
    pub(crate) async fn update_rotation(
        &self,
        ring: u16,
        nonce: &str,
        share: &str,
    ) -> Result<Updated, Error> {
        self.seal.session()?;
        let share = decode_share(share)?;
        let (swap, made) = {
            let mut rotations = self.ceremonies.rotations.lock();
            let rotation = rotations.get_mut(&ring).ok_or_else(none)?;
            check_nonce(rotation.given.nonce(), nonce)?;
            if !rotation.update(share)? {
                return Ok(Updated::More(status(&rotation.old, Some(rotation))));
            }
            let verification_nonce = rotation.verification().nonce;
            let made = rotation.made.as_ref().ok_or_else(none)?;
            let told = Updated::Made {
                nonce: nonce.to_owned(),
                shares: made.handed.clone(),
                fingerprints: rotation.wanted.fingerprints(),
                backup: rotation.wanted.backup,
                verification_nonce,
            };
            if rotation.wanted.verify {
                return Ok(told);
            }
            (made.swap.clone(), told)
        };
        self.put_in_effect(ring, nonce, &swap).await?;
        Ok(made)
    }

    /// Ends the rotation on this node. A nonce, if one is shown, must be the attempt's. If its last step was tried and failed, it is
    /// made sure first that it never takes effect: nobody would know the new shares.
    pub(crate) async fn cancel_rotation(&self, ring: u16, nonce: Option<&str>) -> Result<(), Error> {
        let (attempt, tried) = {
            let rotations = self.ceremonies.rotations.lock();
            let Some(rotation) = rotations.get(&ring) else {
                return Ok(());
            };
            if let Some(nonce) = nonce {
                check_nonce(rotation.given.nonce(), nonce)?;
            }
            (nonce_text(rotation.given.nonce()), rotation.tried())
        };
        if let Some(swap) = tried
            && !swap.abandon(self).await?
        {
            return Err(Error::invalid(
                "the new shares are in effect already; give one of the shares again to be told of it",
            ));
        }
        self.end_rotation(ring, &attempt);
        Ok(())
    }

    /// How far the verification is.
    pub(crate) fn verification_status(&self, ring: u16) -> Result<VerificationStatus, Error> {
        let rotations = self.ceremonies.rotations.lock();
        Ok(rotations.get(&ring).ok_or_else(none)?.verification())
    }

    /// Takes one of the new shares back; with the last one they take effect.
    pub(crate) async fn verify_rotation(
        &self,
        ring: u16,
        nonce: &str,
        share: &str,
    ) -> Result<Verified, Error> {
        self.seal.session()?;
        let share = decode_share(share)?;
        let (rotation_nonce, swap) = {
            let mut rotations = self.ceremonies.rotations.lock();
            let rotation = rotations.get_mut(&ring).ok_or_else(none)?;
            let Some(made) = rotation.made.as_mut().filter(|_| rotation.wanted.verify) else {
                return Err(Error::invalid("no rotation verification in progress"));
            };
            check_nonce(made.check.nonce(), nonce)?;
            if !made.verify(ring, share)? {
                return Ok(Verified::More(rotation.verification()));
            }
            (nonce_text(rotation.given.nonce()), made.swap.clone())
        };
        self.put_in_effect(ring, &rotation_nonce, &swap).await?;
        Ok(Verified::Done {
            nonce: nonce.to_owned(),
        })
    }

    /// Forgets the new shares that came back. The verification gets another nonce; the rotation stays.
    pub(crate) fn restart_verification(&self, ring: u16) -> Result<VerificationStatus, Error> {
        let mut rotations = self.ceremonies.rotations.lock();
        let rotation = rotations.get_mut(&ring).ok_or_else(none)?;
        if let Some(made) = rotation.made.as_mut().filter(|_| rotation.wanted.verify) {
            made.check.reset(fresh_nonce());
        }
        Ok(rotation.verification())
    }

    async fn put_in_effect(&self, ring: u16, nonce: &str, swap: &Swap) -> Result<(), Error> {
        swap.commit(self).await?;
        self.end_rotation(ring, nonce);
        Ok(())
    }

    fn end_rotation(&self, ring: u16, nonce: &str) {
        let mut rotations = self.ceremonies.rotations.lock();
        rotations.retain(|of, rotation| *of != ring || nonce_text(rotation.given.nonce()) != nonce);
    }
}

impl Rotation {
    /// Counts an old share. When all are there makes the new seal; whether they are.
    fn update(&mut self, share: SecretBytes) -> Result<bool, Error> {
        if self.wanted.verify && self.made.is_some() {
            return Err(Error::invalid(
                "the new keys were handed out already; they must be verified, or the rotation cancelled",
            ));
        }
        give(&mut self.given, (self.old.ring, &self.old.config), share)?;
        if !self.given.is_complete() {
            return Ok(false);
        }
        // Opening the seal is the proof; the key itself is in the session.
        let _: RootKey = self
            .given
            .open_root(&self.old.config)
            .map_err(|error| share_error(self.old.ring, &error))?;
        if self.made.is_none() {
            self.made = Some(self.make()?);
        }
        Ok(true)
    }

    fn make(&self) -> Result<Made, Error> {
        let swap = Swap::prepare(self.old.clone(), self.wanted.split)?;
        let handed = hand_out(swap.shares(), &self.wanted.keys)?;
        let backup = self.wanted.backup.then(|| {
            let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (fingerprint, share) in self.wanted.fingerprints().into_iter().zip(&handed) {
                keys.entry(fingerprint).or_default().push(hex::encode(share));
            }
            let nonce = nonce_text(self.given.nonce());
            encode_record(&Backup { nonce, keys })
        });
        let swap = swap.with_backup(backup.transpose()?);
        Ok(Made {
            check: ShareProgress::new(swap.seal(), fresh_nonce()),
            swap: Arc::new(swap),
            handed: Arc::new(handed),
        })
    }

    /// What the last step puts in effect, once all is there that it needs.
    fn tried(&self) -> Option<Arc<Swap>> {
        let made = self.made.as_ref();
        let made = made.filter(|made| !self.wanted.verify || made.check.is_complete());
        made.map(|made| made.swap.clone())
    }

    fn verification(&self) -> VerificationStatus {
        let made = self.made.as_ref().filter(|_| self.wanted.verify);
        VerificationStatus {
            nonce: made.map(|made| nonce_text(made.check.nonce())),
            split: self.wanted.split,
            given: made.map_or(0, |made| made.check.given()),
        }
    }
}

impl Wanted {
    fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(PgpKey::fingerprint).collect()
    }
}

impl Made {
    /// Counts a new share; whether they open the new seal.
    fn verify(&mut self, ring: u16, share: SecretBytes) -> Result<bool, Error> {
        if self.swap.seal().check_share(share.expose()).is_err() {
            return Err(Error::invalid(
                "rotation verification failed; incorrect key shares supplied",
            ));
        }
        give(&mut self.check, (ring, self.swap.seal()), share)?;
        if !self.check.is_complete() {
            return Ok(false);
        }
        let root = self
            .check
            .open_root(self.swap.seal())
            .map_err(|error| share_error(ring, &error))?;
        if self.swap.is_root(&root) {
            Ok(true)
        } else {
            Err(Error::internal("the new shares open another key"))
        }
    }
}

fn status(seal: &StoredSeal, rotation: Option<&Rotation>) -> RotationStatus {
    let current = rotation.map(|rotation| RotationProgress {
        nonce: nonce_text(rotation.given.nonce()),
        split: rotation.wanted.split,
        given: rotation.given.given(),
        verify: rotation.wanted.verify,
        verification_nonce: rotation.verification().nonce,
        fingerprints: rotation.wanted.fingerprints(),
        backup: rotation.wanted.backup,
    });
    RotationStatus {
        required: seal.config.threshold(),
        current,
    }
}

fn none() -> Error {
    Error::invalid(
        "no rotation is in progress on this node; a rotation is carried on by the node on which it began",
    )
}
