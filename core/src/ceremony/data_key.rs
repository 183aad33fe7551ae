//! A new data key: everything sealed from then on is sealed with it, and nothing sealed with an older one is taken any
//! more. Asked for by an operator, or by the settings below when the key is old or much used. The rows of older keys are
//! sealed anew by a job of the leader.

use serde::{Deserialize, Serialize};

use conclave_barrier::{Keyring, RingKeys};
use conclave_engine_api::Millis;
use conclave_raft::Op;

use crate::acts::Act;
use crate::catalog::{CONFIG, EPOCH, decode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::{StoredKeyring, record_path, ring_rows, rows};
use crate::store::layout::{RING, owner_of};
use crate::store::{CommitError, Opened, Proposal, Space, Table, commit};

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

    /// What a view says for a ring, or the default.
    pub fn of(opened: &Opened, ring: u16) -> Result<Self, Error> {
        let space = Space::within(Table::Config, owner_of(ring));
        match opened.space(space).row(Self::ROW)? {
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
    /// Adds a data key to a ring and makes its term the least that is accepted, in one command; `acts` are what nobody asked for.
    pub(crate) async fn rotate_data_key(&self, ring: u16, acts: &[Act]) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        for _ in 0..TRIES {
            let (opened, _) = session.view(replica.read().await?)?;
            let Some(mut stored) = StoredKeyring::of(&session, &opened, ring)? else {
                continue;
            };
            let term = stored.keyring.rotate(ring, replica.now(), &mut OsEntropy)?;
            stored.keyring.set_min_term(ring, term)?;
            let epoch = Op::Touch {
                key: opened.key(CONFIG, EPOCH)?,
            };
            let noted = self.note(&opened, replica.as_ref(), acts.to_vec())?;
            drop(opened);
            let expect = vec![stored.expect()];
            let mut proposal =
                Proposal::new(expect, vec![stored.put()?, rows::drop_encryptions(ring), epoch]);
            if ring == RING {
                // Of another ring it is the row that keeps commands out which were sealed before.
                proposal.ops.push(Op::SetMinTerm { term });
            }
            proposal.ops.extend(noted.op());
            match commit(replica.as_ref(), proposal).await {
                Ok(_) => {
                    self.record_noted(noted).await;
                    tracing::info!(ring, term, "there is a new data key");
                    return Ok(());
                }
                Err(CommitError::Retry) => {}
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => return Err(Error::internal("a rotation was refused")),
            }
        }
        Err(Error::Contention)
    }

    /// Rotates the data keys of rings that are open here and are older, or have sealed more, than their settings allow. Whether it
    /// did.
    pub async fn rotate_if_due(&self) -> Result<bool, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.read().await?)?;
        let now = replica.now();
        let looked: Vec<_> = open_rings(&opened)
            .map(|ring| (ring, is_due(&opened, ring, now)))
            .collect();
        drop(opened);
        let mut outcome = Ok(false);
        for (ring, due) in looked {
            let rotated = match due {
                Ok(true) => self.rotate_by_itself(ring).await,
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            // What is wrong with one keeps no other from its turn.
            outcome = rotated.and(outcome).map(|_| true);
        }
        outcome
    }

    async fn rotate_by_itself(&self, ring: u16) -> Result<(), Error> {
        self.may_act()?;
        let act = Act::change(record_path(ring, "rotate"));
        self.rotate_data_key(ring, &[act]).await
    }

    /// Reports how many values this node has sealed since it last did, with the keys of each ring that is open here.
    pub async fn report_encryptions(&self) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.view()?)?;
        let mut proposals = Vec::new();
        for ring in open_rings(&opened) {
            let sealed = opened.barrier().take_sealed(ring);
            if sealed == 0 {
                continue;
            }
            let expect = match ring {
                RING => Vec::new(),
                // One that is gone by now would leave its count behind.
                other => vec![ring_rows::expect_as_seen(opened.view(), other)?],
            };
            proposals.push(Proposal::new(expect, vec![rows::add_encryptions(ring, sealed)]));
        }
        drop(opened);
        let mut outcome = Ok(());
        for proposal in proposals {
            // What is not reported is counted too low: the bound is far below what the cipher bears.
            match commit(replica.as_ref(), proposal).await {
                Ok(_) => {}
                Err(CommitError::Failed(error)) => outcome = Err(error),
                Err(_) => outcome = Err(Error::Contention),
            }
        }
        outcome
    }
}

/// The cluster's ring and those beside it that are open.
fn open_rings(opened: &Opened) -> impl Iterator<Item = u16> {
    let others = opened.barrier().rings().map(RingKeys::number);
    std::iter::once(RING).chain(others)
}

/// Whether the data key of a ring is older, or has sealed more, than its settings allow.
fn is_due(opened: &Opened, ring: u16, now: Millis) -> Result<bool, Error> {
    let settings = AutoRotation::of(opened, ring)?;
    if !settings.enabled {
        return Ok(false);
    }
    let keys = opened.barrier().ring_keys(ring);
    let keyring = keys.map_or_else(|| opened.barrier().keyring(), RingKeys::keyring);
    let old = settings.interval > 0 && now.saturating_sub(made_at(keyring, ring)?) >= settings.interval;
    Ok(old || rows::encryptions(opened.view(), ring)? >= settings.max_operations)
}

/// When the active data key of a ring was made.
fn made_at(keyring: &Keyring, ring: u16) -> Result<Millis, Error> {
    let active = keyring.active_term(ring)?;
    let terms = keyring.terms(ring)?;
    let made = terms.iter().find(|info| info.term == active);
    Ok(made.map_or(0, |info| info.created_ms))
}
