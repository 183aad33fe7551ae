//! Seals anew what older data keys sealed, then deletes those keys. One round looks at a bounded stretch of rows and
//! commits them with the place to go on from, so that another leader goes on where this one ended.
//!
//! A key goes only after a whole pass met no row of it. A pass begins after the rotation made the new key's term the least
//! that is accepted, so no row of an older key can appear behind it. Change log and due index hold names and no values;
//! names are sealed with a key that never rotates.
//!
//! Rings take turns, and what is wrong with one is that one's alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use conclave_barrier::{Barrier, CLUSTER_RING, Envelope, RingKeys};
use conclave_raft::{Expect, Op, Replica, Row, View};

use crate::acts::Act;
use crate::catalog::{CONFIG, EPOCH};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::offload::off_thread;
use crate::seal::rows::{self, Rewrap};
use crate::seal::{StoredKeyring, record_path, ring_rows};
use crate::session::Session;
use crate::store::layout::{after_prefix, ring_prefix};
use crate::store::{CommitError, Opened, Proposal, commit};

/// Most rows of one round that are looked at.
const MAX_ROWS: usize = 4096;
/// Most rows of one round that are sealed anew.
const MAX_REWRAPS: usize = 512;
/// Bytes of values after which a round looks no further; with one more value of the largest size, well within a command.
const MAX_BYTES: usize = 2 << 20;
/// How long a ring is left alone that has rows which do not open.
const STUCK: Duration = Duration::from_secs(600);
/// How long one is left alone whose round failed.
const FAILED: Duration = Duration::from_secs(5);

/// What a round left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrapped {
    /// There is more to do.
    More,
    /// No old key is left.
    Nothing,
    /// A pass ended that met rows which do not open: their key stays, and there is no hurry to look again.
    Stuck,
}

/// What one round found.
#[derive(Default)]
struct Stretch {
    ops: Vec<Op>,
    /// Whether a row of a key that is to go was met, sealed anew or not.
    met: bool,
    /// Rows that could not be opened.
    damaged: u64,
    /// Where the next round goes on; `None` at the end of the rows.
    cursor: Option<Bytes>,
}

/// Whose turn it is.
#[derive(Default)]
pub(crate) struct Turns(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    /// The ring that was worked on last.
    last: Option<u16>,
    /// Rings that are left alone, and until when.
    later: BTreeMap<u16, Instant>,
}

impl Turns {
    /// Those of the rings that are not left alone, beginning after the one that was worked on last.
    fn of(&self, mut rings: Vec<u16>) -> Vec<u16> {
        let mut taken = self.0.lock();
        let now = Instant::now();
        taken.later.retain(|_, until| *until > now);
        rings.retain(|ring| !taken.later.contains_key(ring));
        rings.sort_unstable();
        let after = |ring: &u16| taken.last.is_none_or(|last| *ring > last);
        let first = rings.iter().position(after).unwrap_or(0);
        rings.rotate_left(first);
        rings
    }

    fn taken(&self, ring: u16) {
        self.0.lock().last = Some(ring);
    }

    fn leave(&self, ring: u16, alone: Duration) {
        self.0.lock().later.insert(ring, Instant::now() + alone);
    }
}

impl Core {
    /// One round: of the first ring whose keys are here and that has something to be done, in turn. Reads prove
    /// leadership: an old leader that wakes up cannot act on what it remembers.
    ///
    /// # Errors
    /// What keeps the cluster from telling, and if nothing was done at all, the last of what was wrong with single rings: each of
    /// these is left alone for a while and tried again.
    pub async fn rewrap_once(self: &Arc<Self>) -> Result<Rewrapped, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.read().await?)?;
        let others = opened.barrier().rings().map(RingKeys::number);
        let rings = std::iter::once(CLUSTER_RING).chain(others).collect();
        let mut round = Ok(Rewrapped::Nothing);
        for ring in self.rewraps.of(rings) {
            match self.rewrap_ring(&session, replica.as_ref(), &opened, ring).await {
                Ok(Rewrapped::More) => {
                    self.rewraps.taken(ring);
                    return Ok(Rewrapped::More);
                }
                Ok(Rewrapped::Stuck) => {
                    self.rewraps.leave(ring, STUCK);
                    round = round.map(|_| Rewrapped::Stuck);
                }
                Ok(Rewrapped::Nothing) => {}
                Err(error) => {
                    tracing::warn!(ring, %error, "old rows of a ring are sealed anew later");
                    self.metrics.rewrap_failed();
                    self.rewraps.leave(ring, FAILED);
                    round = Err(error);
                }
            }
        }
        round
    }

    async fn rewrap_ring(
        self: &Arc<Self>,
        session: &Session,
        replica: &dyn Replica,
        opened: &Opened,
        ring: u16,
    ) -> Result<Rewrapped, Error> {
        let known = rows::rewrap(opened.view(), ring)?;
        let keyring = match opened.barrier().ring_keys(ring) {
            Some(keys) => keys.keyring(),
            None => opened.barrier().keyring(),
        };
        let min_term = keyring.min_term(ring)?;
        let oldest = keyring.terms(ring)?.first().map_or(min_term, |info| info.term);
        let (rewrap, revision) = match known {
            Some((rewrap, revision)) => (rewrap, Some(revision)),
            None => (
                Rewrap {
                    term: min_term,
                    ..Rewrap::default()
                },
                None,
            ),
        };
        // A restore can bring back both rows of one history only, yet a key must not go on the word of one of them.
        // In another ring its own row keeps commands out that were sealed before.
        let lets_old_in = ring == CLUSTER_RING && opened.view().applied().min_term < rewrap.term;
        if oldest >= rewrap.term || lets_old_in || rewrap.term > min_term {
            if revision.is_none() {
                return Ok(Rewrapped::Nothing);
            }
            let proposal = Proposal::new(
                vec![rows::expect_rewrap(ring, revision)],
                vec![rows::drop_rewrap(ring)],
            );
            return took_place(commit(replica, proposal).await, Rewrapped::Nothing);
        }
        let stretch = self.look(opened.clone(), ring, &rewrap).await?;
        if stretch.damaged > 0 {
            tracing::error!(
                rows = stretch.damaged,
                "rows of an old data key do not open; the key stays"
            );
        }
        let (met, damaged) = (rewrap.met || stretch.met, rewrap.damaged || stretch.damaged > 0);
        let mut proposal = Proposal::new(
            vec![keys_as_seen(opened, ring)?, rows::expect_rewrap(ring, revision)],
            Vec::new(),
        );
        if stretch.cursor.is_none() && !met {
            let Some(ops) = drop_old_keys(session, opened, ring, rewrap.term)? else {
                return Ok(Rewrapped::More);
            };
            proposal.ops = ops;
            return self.end_rewrap(replica, (opened, ring), proposal, &rewrap).await;
        }
        let sealed = stretch.ops.len();
        let next = Rewrap {
            term: rewrap.term,
            // A pass that met any is followed by another.
            met: met && stretch.cursor.is_some(),
            damaged: damaged && stretch.cursor.is_some(),
            rewrapped: rewrap
                .rewrapped
                .saturating_add(u64::try_from(sealed).unwrap_or(0)),
            cursor: stretch.cursor.unwrap_or_default(),
        };
        let after = match (next.cursor.is_empty(), damaged) {
            (true, true) => Rewrapped::Stuck,
            _ => Rewrapped::More,
        };
        proposal.ops = stretch.ops;
        proposal.ops.push(rows::put_rewrap(ring, &next));
        let round = took_place(commit(replica, proposal).await, after)?;
        self.metrics.rewrapped(sealed);
        Ok(round)
    }

    /// Commits the end of old data keys, and puts it on record.
    async fn end_rewrap(
        self: &Arc<Self>,
        replica: &dyn Replica,
        (opened, ring): (&Opened, u16),
        mut proposal: Proposal,
        rewrap: &Rewrap,
    ) -> Result<Rewrapped, Error> {
        self.may_act()?;
        let act = Act::end(record_path(ring, "rotate/old-keys"), "term", rewrap.term);
        let noted = self.note(opened, replica, vec![act])?;
        proposal.ops.extend(noted.op());
        let outcome = commit(replica, proposal).await;
        if outcome.is_ok() {
            tracing::info!(
                ring,
                below = rewrap.term,
                rewrapped = rewrap.rewrapped,
                "old data keys are deleted"
            );
            self.record_noted(noted).await;
        }
        took_place(outcome, Rewrapped::More)
    }

    /// Looks at the next stretch of rows, off the threads that answer requests.
    async fn look(&self, opened: Opened, ring: u16, rewrap: &Rewrap) -> Result<Stretch, Error> {
        let (from, term) = (rewrap.cursor.clone(), rewrap.term);
        let doing = "looking for rows of old data keys";
        off_thread(self.offload.as_ref(), doing, move || {
            stretch(opened.view(), opened.barrier(), ring, &from, term)
        })
        .await
    }
}

/// Whether a round's command was applied; one that lost to another change is tried again from a newer view.
fn took_place<T>(outcome: Result<T, CommitError>, round: Rewrapped) -> Result<Rewrapped, Error> {
    match outcome {
        Ok(_) => Ok(round),
        Err(CommitError::Retry) => Ok(Rewrapped::More),
        Err(CommitError::Refused) => Err(Error::internal("a rewrap was refused")),
        Err(CommitError::Failed(error)) => Err(error),
    }
}

fn stretch(view: &View, barrier: &Barrier, ring: u16, from: &[u8], term: u32) -> Result<Stretch, Error> {
    let active = match ring {
        CLUSTER_RING => barrier.active_term(ring)?,
        // Apply takes no terms of other rings for a measure.
        _ => 0,
    };
    let mut found = Stretch::default();
    let (mut seen, mut bytes) = (0usize, 0usize);
    for (from, to) in ranges(ring, from) {
        if found.cursor.is_some() {
            break;
        }
        view.rows().scan(&from, to.as_deref(), &mut |key, row| {
            if seen >= MAX_ROWS || found.ops.len() >= MAX_REWRAPS || bytes >= MAX_BYTES {
                found.cursor = Some(Bytes::copy_from_slice(key));
                return Ok(false);
            }
            seen += 1;
            bytes += row.value.len();
            match term_of(ring, &row) {
                Ok(Some(sealed)) if sealed < term => {}
                Ok(_) => return Ok(true),
                Err(_) => {
                    (found.met, found.damaged) = (true, found.damaged + 1);
                    return Ok(true);
                }
            }
            found.met = true;
            let table = key.get(1).copied().unwrap_or_default();
            let sealed = barrier
                .open_value(table, key, &row.value)
                .and_then(|value| barrier.seal_value(ring, table, key, value.expose(), &mut OsEntropy));
            match sealed {
                Ok(value) => found.ops.push(Op::Rewrap {
                    key: Bytes::copy_from_slice(key),
                    revision: row.revision,
                    term: active,
                    value: value.into(),
                }),
                Err(_) => found.damaged += 1,
            }
            Ok(true)
        })?;
    }
    Ok(found)
}

/// Where rows of a ring are looked for, from a key on. Those of the cluster's are everywhere; another's lie together, table by
/// table.
fn ranges(ring: u16, from: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    if ring == CLUSTER_RING {
        return vec![(from.to_vec(), None)];
    }
    let of_table = |table| {
        let prefix = ring_prefix(table, ring);
        let (start, end) = (from.max(prefix.as_slice()).to_vec(), after_prefix(&prefix));
        (start < end).then_some((start, Some(end)))
    };
    (0..=u8::MAX).filter_map(of_table).collect()
}

/// The term of the key that sealed a row's value; `None` for a row without a sealed value. Only the cluster's terms stand in the
/// clear header.
fn term_of(ring: u16, row: &Row) -> Result<Option<u32>, Error> {
    if ring == CLUSTER_RING {
        return Ok(Some(row.term).filter(|term| *term > 0));
    }
    // Markers hold nothing, counters a number.
    match row.value.len() < Envelope::OVERHEAD {
        true => Ok(None),
        false => Ok(Some(Envelope::term_of(&row.value)?)),
    }
}

/// Expects the keyring of a ring to be the one of the view.
fn keys_as_seen(opened: &Opened, ring: u16) -> Result<Expect, Error> {
    match ring {
        CLUSTER_RING => Ok(rows::expect_keyring(rows::keyring_revision(opened.view())?)),
        other => ring_rows::expect_as_seen(opened.view(), other),
    }
}

/// The operations that delete the keys below `term` and end the rewrap; `None` if the root key was replaced meanwhile.
fn drop_old_keys(session: &Session, opened: &Opened, ring: u16, term: u32) -> Result<Option<Vec<Op>>, Error> {
    let epoch = Op::Touch {
        key: opened.key(CONFIG, EPOCH)?,
    };
    let Some(mut stored) = StoredKeyring::of(session, opened, ring)? else {
        return Ok(None);
    };
    stored.keyring.drop_terms_below(ring, term)?;
    Ok(Some(vec![stored.put()?, rows::drop_rewrap(ring), epoch]))
}
