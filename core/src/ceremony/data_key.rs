//! A new data key: everything sealed from then on is sealed with it, and nothing sealed with an older one is taken any
//! more. Asked for by an operator, or by the settings below when the key is old or much used. The rows of older keys are
//! sealed anew by a job of the leader.

use serde::{Deserialize, Serialize};

use conclave_barrier::{CLUSTER_RING, Keyring};
use conclave_engine_api::Millis;
use conclave_raft::Op;

use crate::acts::Act;
use crate::catalog::{CONFIG, EPOCH, decode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::rows;
use crate::store::{CommitError, Opened, Proposal, commit};

/// Tries before a rotation that keeps losing to other changes of the keyring is given up.
const TRIES: u32 = 8;

/// When the data key is rotated by itself, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoRotation {
    /// Whether it is at all.
    pub enabled: bool,
    /// Values a key may seal.
    pub max_operations: u64,
    /// How old a key may become; 0 for any age.
    pub interval: Millis,
}

impl AutoRotation {
    /// The path of its row.
    pub const ROW: &str = "rotation";
    /// Least `max_operations`, and most (OpenBao's, far below what the cipher bears).
    pub const OPERATIONS: std::ops::RangeInclusive<u64> = 1_000_000..=3_865_470_566;
    /// Shortest interval: a day.
    pub const SHORTEST: Millis = 86_400_000;

    /// What a view says, or the default.
    pub fn of(opened: &Opened) -> Result<Self, Error> {
        match opened.space(CONFIG).row(Self::ROW)? {
            Some(row) => decode_record(&row.value),
            None => Ok(Self::default()),
        }
    }
}

impl Default for AutoRotation {
    fn default() -> Self {
        Self {
            enabled: true,
            max_operations: *Self::OPERATIONS.end(),
            interval: 0,
        }
    }
}

impl Core {
    /// Adds a data key and makes its term the least that is accepted, in one command; `acts` are what nobody asked for.
    pub(crate) async fn rotate_data_key(&self, acts: &[Act]) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        for _ in 0..TRIES {
            let view = replica.read().await?;
            let revision = rows::keyring_revision(&view)?;
            let (opened, _) = session.view(view)?;
            let Some((root, mut keyring)) = session.keyring(opened.view())? else {
                continue;
            };
            let term = keyring.rotate(CLUSTER_RING, replica.now(), &mut OsEntropy)?;
            keyring.set_min_term(CLUSTER_RING, term)?;
            let sealed = keyring.seal(&root, session.barrier_id(), &mut OsEntropy)?;
            let epoch = Op::Touch {
                key: opened.key(CONFIG, EPOCH)?,
            };
            let noted = self.note(&opened, replica.as_ref(), acts.to_vec())?;
            drop(opened);
            let mut proposal = Proposal::new(
                vec![rows::expect_keyring(revision)],
                vec![
                    rows::put_keyring(sealed),
                    rows::drop_encryptions(),
                    epoch,
                    Op::SetMinTerm { term },
                ],
            );
            proposal.ops.extend(noted.op());
            match commit(replica.as_ref(), proposal).await {
                Ok(_) => {
                    self.record_noted(noted).await;
                    tracing::info!(term, "there is a new data key");
                    return Ok(());
                }
                Err(CommitError::Retry) => {}
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => return Err(Error::internal("a rotation was refused")),
            }
        }
        Err(Error::Contention)
    }

    /// Rotates the data key if it is older, or has sealed more, than the settings allow. Whether it did.
    pub async fn rotate_if_due(&self) -> Result<bool, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let view = replica.read().await?;
        let used = rows::encryptions(&view)?;
        let (opened, _) = session.view(view)?;
        let settings = AutoRotation::of(&opened)?;
        let age = replica.now().saturating_sub(made_at(opened.barrier().keyring())?);
        drop(opened);
        let old = settings.interval > 0 && age >= settings.interval;
        if !settings.enabled || !(old || used >= settings.max_operations) {
            return Ok(false);
        }
        self.may_act()?;
        self.rotate_data_key(&[Act::change("sys/rotate")]).await?;
        Ok(true)
    }

    /// Reports how many values this node has sealed since it last did.
    pub async fn report_encryptions(&self) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.view()?)?;
        let sealed = opened.barrier().take_sealed();
        drop(opened);
        if sealed == 0 {
            return Ok(());
        }
        let proposal = Proposal::new(Vec::new(), vec![rows::add_encryptions(sealed)]);
        match commit(replica.as_ref(), proposal).await {
            Ok(_) => Ok(()),
            // What is not reported is counted too low: the bound is far below what the cipher bears.
            Err(CommitError::Failed(error)) => Err(error),
            Err(_) => Err(Error::Contention),
        }
    }
}

/// When the active data key was made.
fn made_at(keyring: &Keyring) -> Result<Millis, Error> {
    let active = keyring.active_term(CLUSTER_RING)?;
    let terms = keyring.terms(CLUSTER_RING)?;
    let made = terms.iter().find(|info| info.term == active);
    Ok(made.map_or(0, |info| info.created_ms))
}
