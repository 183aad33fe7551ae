//! The seals of namespaces that have their own: shares are counted like those of the cluster, and what they open is a ring of
//! keys beside the cluster's. That a ring is sealed is a row: every node drops its keys when it applies that. Knows no paths
//! and no bodies; how keys go from member to member is told elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use conclave_barrier::{Entropy as _, Error as BarrierError, RootKey, SecretBytes};
use conclave_raft::{Op, View};

use crate::catalog::{CONFIG, EPOCH};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::namespaces::id;
use crate::seal::gather::{Counted, Gathering, Held, Nonce, Origin};
use crate::seal::ring_rows::{self, RingRow};
use crate::seal::share_error;
use crate::session::Session;
use crate::store::layout::{RING, owner_of};
use crate::store::{CommitError, Proposal, commit};

/// Tries of a command that conflicts.
const TRIES: u32 = 8;
/// Shortest share, in bytes, as upstream.
const MIN_SHARE: usize = 16;

/// What a node keeps of the seals of namespaces while it is open.
#[derive(Default)]
pub struct Rings {
    /// Shares given since the last reset, by ring.
    gathering: Mutex<BTreeMap<u16, Gathering>>,
    /// When members were asked last for the keys of a ring, and had none.
    pub(super) asked: Mutex<BTreeMap<u16, Instant>>,
    /// Looking for rings whose keys are not here, once at a time.
    pub(super) looking: tokio::sync::Mutex<()>,
    /// Asking members, one request at a time.
    pub(super) asking: tokio::sync::Mutex<()>,
}

impl Rings {
    /// Forgets all shares. Part of sealing the node.
    pub fn forget(&self) {
        self.gathering.lock().clear();
    }

    /// Forgets shares given for rings that were closed since, or of which it is not told how often they were.
    pub(super) fn follow(&self, epoch: impl Fn(u16) -> Option<u64>) {
        let mut gathering = self.gathering.lock();
        for (ring, gathering) in gathering.iter_mut().filter(|(_, of)| of.progress().0 > 0) {
            match epoch(*ring) {
                Some(epoch) => gathering.follow(epoch),
                None => drop(gathering.end()),
            }
        }
    }

    /// Whether a share of a ceremony that a member counted would change anything.
    pub(super) fn wants(&self, ring: u16, epoch: u64, share: &SecretBytes, name: Nonce) -> bool {
        let mut gathering = self.gathering.lock();
        let known = gathering.get_mut(&ring);
        known.is_none_or(|gathering| gathering.wants(epoch, share, name))
    }

    /// Shares given for a ring, and the ceremony's name.
    pub fn progress(&self, ring: u16) -> (usize, Option<Nonce>) {
        let gathering = self.gathering.lock();
        gathering.get(&ring).map_or((0, None), Gathering::progress)
    }

    pub(super) fn drop_late(&self, ring: u16, names: &[Nonce]) {
        let mut gathering = self.gathering.lock();
        let gathering = gathering.entry(ring).or_insert_with(|| Gathering::of(ring));
        gathering.end();
        gathering.drop_late(names);
    }
}

impl Core {
    /// Whether the keys of a ring are here.
    pub(crate) fn ring_is_open(&self, ring: u16) -> bool {
        ring == RING || self.seal.session().is_ok_and(|session| session.has_ring(ring))
    }

    /// Takes one share of a ring as its holder gives it, and hands on all that were given: any node may be given any of them.
    pub(crate) async fn give_ring_share(
        self: &Arc<Self>,
        ring: u16,
        share: SecretBytes,
    ) -> Result<(), Error> {
        let row = self.ring_row(ring).await?;
        if self.ring_is_open(ring) || row.opened && self.ask_for_ring(ring).await {
            return Ok(());
        }
        if share.len() < MIN_SHARE {
            return Err(Error::invalid(format!(
                "invalid key: key is shorter than minimum {MIN_SHARE} bytes"
            )));
        }
        row.config
            .check_share(share.expose())
            .map_err(|error| unseal_error(ring, &error))?;
        let mut name = Nonce::default();
        OsEntropy.fill(&mut name);
        if let Some(held) = self
            .count_ring_share(ring, &row, share, Origin::Operator(name))
            .await?
        {
            self.hand_ring_shares_on(ring, &held).await;
        }
        Ok(())
    }

    /// Counts a share; when it completes them, opens the ring here. Returns all shares of the ceremony, unless it is over.
    pub(super) async fn count_ring_share(
        &self,
        ring: u16,
        row: &RingRow,
        share: SecretBytes,
        from: Origin,
    ) -> Result<Option<Held>, Error> {
        let counted = {
            let mut gathering = self.seal.rings.gathering.lock();
            gathering
                .entry(ring)
                .or_insert_with(|| Gathering::of(ring))
                .count((&row.config, row.epoch), share, from)?
        };
        match counted {
            Counted::Late => Ok(None),
            Counted::Going(held) => Ok(Some(held)),
            Counted::Complete(held, root) => {
                self.open_ring(ring, row.epoch, &root).await?;
                Ok(Some(held))
            }
        }
    }

    /// Forgets the shares given for a ring so far, here and on all members that are reached.
    pub(crate) async fn reset_ring_shares(&self, ring: u16) {
        let names = {
            let mut gathering = self.seal.rings.gathering.lock();
            gathering.get_mut(&ring).map(Gathering::end).unwrap_or_default()
        };
        self.tell_ring_reset(ring, &names).await;
    }

    /// Tells all nodes that a ring is open, unless they know, and takes its keys into this one.
    async fn open_ring(&self, ring: u16, epoch: u64, root: &RootKey) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        for _ in 0..TRIES {
            let view = replica.read().await?;
            let (row, revision) = ring_rows::required(&view, ring)?;
            if row.epoch != epoch {
                return Err(Error::invalid(
                    "the namespace was sealed again meanwhile; begin again",
                ));
            }
            if row.opened {
                if session.take_ring(view, ring, root)? {
                    tracing::info!(ring, "a namespace is unsealed");
                    return Ok(());
                }
                continue;
            }
            let (opened, _) = session.view(view)?;
            let told = RingRow { opened: true, ..row };
            let ops = vec![ring_rows::put(ring, &told)?, touch(&opened)?];
            drop(opened);
            let proposal = Proposal::new(vec![ring_rows::expect(ring, Some(revision))], ops);
            applied(commit(replica.as_ref(), proposal).await)?;
        }
        Err(Error::Contention)
    }

    /// Seals a ring and those within it: one command, on which every node drops their keys.
    pub(crate) async fn seal_ring(&self, ring: u16) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        for _ in 0..TRIES {
            let view = replica.read().await?;
            let (mut expect, mut ops) = (Vec::new(), Vec::new());
            for number in with_nested(&view, ring)? {
                let (row, revision) = ring_rows::required(&view, number)?;
                if row.opened {
                    let sealed = RingRow {
                        opened: false,
                        epoch: row.epoch.saturating_add(1),
                        ..row
                    };
                    expect.push(ring_rows::expect(number, Some(revision)));
                    ops.push(ring_rows::put(number, &sealed)?);
                }
            }
            if ops.is_empty() {
                self.reset_ring_shares(ring).await;
                return Ok(());
            }
            let (opened, _) = session.view(view)?;
            // No request that began before it commits after it.
            ops.push(touch(&opened)?);
            drop(opened);
            if applied(commit(replica.as_ref(), Proposal::new(expect, ops)).await)? {
                // The others see it with their next look at the state; this one is asked to now.
                session.view(replica.view()?)?;
                self.forget_closed_rings(&session);
                self.reset_ring_shares(ring).await;
                tracing::warn!(ring, "a namespace is sealed");
                return Ok(());
            }
        }
        Err(Error::Contention)
    }

    /// Asks members for the keys of a ring, if somebody opened it since it was sealed. Whether they are here now.
    pub(crate) async fn ask_for_ring_if_open(&self, ring: u16) -> bool {
        let view = self.seal.replica().and_then(|replica| Ok(replica.view()?));
        match view.and_then(|view| ring_rows::ring(&view, ring)) {
            Ok(Some((row, _))) => row.opened && self.ask_for_ring(ring).await,
            _ => false,
        }
    }

    /// Forgets what share holders gave in ceremonies of rings that are closed here by now.
    pub(super) fn forget_closed_rings(&self, session: &Session) {
        self.ceremonies
            .keep(|ring| ring == RING || session.has_ring(ring));
    }

    /// A ring as the newest state has it.
    pub(super) async fn ring_row(&self, ring: u16) -> Result<RingRow, Error> {
        Ok(ring_rows::required(self.newest_view().await?.as_ref(), ring)?.0)
    }
}

/// What happens to a ring by itself, as records call it: a namespace by its id, for its path is not told to who holds no keys of it.
pub(crate) fn record_path(ring: u16, beneath: &str) -> String {
    match ring {
        RING => format!("sys/{beneath}"),
        other => format!("sys/namespaces/{}/{beneath}", id::text_of(owner_of(other))),
    }
}

/// A ring and all rings of namespaces within the one it is of.
pub(crate) fn with_nested(view: &View, ring: u16) -> Result<Vec<u16>, Error> {
    let mut found = vec![ring];
    // A ring is younger than the one it lies in, so its number is greater and one walk finds all.
    for number in ring_rows::numbers(view)? {
        let row = ring_rows::ring(view, number)?;
        if number != ring && row.is_some_and(|(row, _)| found.contains(&row.parent)) {
            found.push(number);
        }
    }
    Ok(found)
}

/// Moves the epoch, that every node looks at the rings again.
fn touch(opened: &crate::store::Opened) -> Result<Op, Error> {
    Ok(Op::Touch {
        key: opened.key(CONFIG, EPOCH)?,
    })
}

/// Whether a command was applied; otherwise it is to be made again on a newer view.
fn applied<T>(outcome: Result<T, CommitError>) -> Result<bool, Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(CommitError::Retry) => Ok(false),
        Err(CommitError::Failed(error)) => Err(error),
        Err(CommitError::Refused) => Err(Error::internal("a change of a ring was refused")),
    }
}

/// What is wrong with a share that was given to unseal a namespace, as the original begins to say it.
fn unseal_error(ring: u16, error: &BarrierError) -> Error {
    match share_error(ring, error) {
        Error::Invalid(why) => Error::invalid(format!("invalid key: {why}")),
        other => other,
    }
}
