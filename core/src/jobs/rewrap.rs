//! Seals anew what older data keys sealed, then deletes those keys. One round looks at a bounded stretch of rows and
//! commits them with the place to go on from, so that another leader goes on where this one ended.
//!
//! A key goes only after a whole pass met no row of it. A pass begins after the rotation made the new key's term the least
//! that is accepted, so no row of an older key can appear behind it. Change log and due index hold names and no values;
//! names are sealed with a key that never rotates.

use std::sync::Arc;

use bytes::Bytes;

use conclave_barrier::{Barrier, CLUSTER_RING, Keyring};
use conclave_raft::{Op, View};

use crate::catalog::{CONFIG, EPOCH};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::rows::{self, Rewrap};
use crate::session::Session;
use crate::store::{CommitError, Opened, Proposal, commit};

/// Most rows of one round that are looked at.
const MAX_ROWS: usize = 4096;
/// Most rows of one round that are sealed anew.
const MAX_REWRAPS: usize = 512;
/// Bytes of values after which a round looks no further; with one more value of the largest size, well within a command.
const MAX_BYTES: usize = 2 << 20;

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

impl Core {
    /// One round. Reads prove leadership: an old leader that wakes up cannot act on what it remembers.
    pub async fn rewrap_once(self: &Arc<Self>) -> Result<Rewrapped, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let view = replica.read().await?;
        let (keyring_row, known) = (rows::keyring_revision(&view)?, rows::rewrap(&view)?);
        let (opened, _) = session.view(view)?;
        let keyring = opened.barrier().keyring();
        let min_term = keyring.min_term(CLUSTER_RING)?;
        let oldest = keyring
            .terms(CLUSTER_RING)?
            .first()
            .map_or(min_term, |info| info.term);
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
        if oldest >= rewrap.term || opened.view().applied().min_term < rewrap.term || rewrap.term > min_term {
            if revision.is_none() {
                return Ok(Rewrapped::Nothing);
            }
            let proposal = Proposal::new(vec![rows::expect_rewrap(revision)], vec![rows::drop_rewrap()]);
            return took_place(commit(replica.as_ref(), proposal).await, Rewrapped::Nothing);
        }
        let stretch = look(opened.clone(), &rewrap).await?;
        if stretch.damaged > 0 {
            tracing::error!(
                rows = stretch.damaged,
                "rows of an old data key do not open; the key stays"
            );
        }
        let (met, damaged) = (rewrap.met || stretch.met, rewrap.damaged || stretch.damaged > 0);
        let mut proposal = Proposal::new(
            vec![rows::expect_keyring(keyring_row), rows::expect_rewrap(revision)],
            Vec::new(),
        );
        if stretch.cursor.is_none() && !met {
            proposal.ops = drop_old_keys(&session, &opened, rewrap.term)?;
            tracing::info!(
                below = rewrap.term,
                rewrapped = rewrap.rewrapped,
                "old data keys are deleted"
            );
            return took_place(commit(replica.as_ref(), proposal).await, Rewrapped::More);
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
        proposal.ops.push(rows::put_rewrap(&next));
        let round = took_place(commit(replica.as_ref(), proposal).await, after)?;
        self.metrics.rewrapped(sealed);
        Ok(round)
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

/// Looks at the next stretch of rows, off the threads that answer requests.
async fn look(opened: Opened, rewrap: &Rewrap) -> Result<Stretch, Error> {
    let (from, term) = (rewrap.cursor.clone(), rewrap.term);
    let looked = tokio::task::spawn_blocking(move || stretch(opened.view(), opened.barrier(), &from, term));
    looked
        .await
        .map_err(|_| Error::internal("looking for rows of old data keys broke off"))?
}

fn stretch(view: &View, barrier: &Barrier, from: &[u8], term: u32) -> Result<Stretch, Error> {
    let active = barrier.active_term(CLUSTER_RING)?;
    let mut found = Stretch::default();
    let (mut seen, mut bytes) = (0usize, 0usize);
    view.rows().scan(from, None, &mut |key, row| {
        if seen >= MAX_ROWS || found.ops.len() >= MAX_REWRAPS || bytes >= MAX_BYTES {
            found.cursor = Some(Bytes::copy_from_slice(key));
            return Ok(false);
        }
        seen += 1;
        bytes += row.value.len();
        // 0 is a row without a sealed value.
        if row.term == 0 || row.term >= term {
            return Ok(true);
        }
        found.met = true;
        let table = key.get(1).copied().unwrap_or_default();
        let sealed = barrier
            .open_value(table, key, &row.value)
            .and_then(|value| barrier.seal_value(CLUSTER_RING, table, key, value.expose(), &mut OsEntropy));
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
    Ok(found)
}

/// The operations that delete the keys below `term` and end the rewrap.
fn drop_old_keys(session: &Session, opened: &Opened, term: u32) -> Result<Vec<Op>, Error> {
    let blob = rows::keyring(opened.view())?;
    let mut keyring = Keyring::open(&session.root(), session.barrier_id(), &blob)?;
    keyring.drop_terms_below(CLUSTER_RING, term)?;
    let sealed = keyring.seal(&session.root(), session.barrier_id(), &mut OsEntropy)?;
    let epoch = Op::Touch {
        key: opened.key(CONFIG, EPOCH)?,
    };
    Ok(vec![rows::put_keyring(sealed), rows::drop_rewrap(), epoch])
}
