//! The way of a snapshot through the log: its archive in chunks into a table of their own, then one command that adopts
//! all of them. What an abandoned restore leaves there is removed: at once if it can be, by the leader otherwise.

use conclave_raft::state::{DueEntry, STAGING_TABLE, staged_chunk_key, staging_range};
use conclave_raft::{Expect, Key, Op, Replica};

use crate::backup::check;
use crate::error::Error;
use crate::store::{CommitError, Proposal, commit};

/// The queue of the due index in which stagings wait to be forgotten.
const STAGING_QUEUE: u64 = 2;
/// How long a restore may take before the leader takes it for abandoned: two hours.
const ABANDONED_AFTER: u64 = 2 * 3_600_000;
/// Chunks removed in one command.
const REMOVED_AT_ONCE: usize = 64;
/// Stagings looked at in one round of the leader.
const STAGINGS_A_ROUND: usize = 4;
/// Tries of one command that others or the clock keep from being committed.
const TRIES: u32 = 8;

/// A staging under way.
pub struct Staging<'r> {
    replica: &'r dyn Replica,
    id: [u8; 16],
    deadline: u64,
    chunks: u32,
}

impl<'r> Staging<'r> {
    /// Begins one. `id` must never have been used.
    pub fn new(replica: &'r dyn Replica, id: [u8; 16]) -> Self {
        Self {
            replica,
            id,
            deadline: replica.now().saturating_add(ABANDONED_AFTER),
            chunks: 0,
        }
    }

    /// Brings the file's archive into the log, chunk by chunk, each committed before the next is read.
    pub async fn fill(&mut self, path: &std::path::Path) -> Result<(), Error> {
        let path = path.to_owned();
        let mut reader = off_thread(move || check::open(&path)).await?;
        loop {
            let (next, piece) = off_thread(move || {
                let piece = reader.piece()?;
                Ok((reader, piece))
            })
            .await?;
            reader = next;
            let Some(value) = piece else { return Ok(()) };
            let key = staged_chunk_key(&self.id, self.chunks);
            let mut ops = Vec::new();
            if self.chunks == 0 {
                ops.push(Op::DuePut {
                    queue: STAGING_QUEUE,
                    deadline: self.deadline,
                    key: key.clone(),
                });
            }
            ops.push(Op::Put {
                key,
                kind: 0,
                term: 0,
                deadline: 0,
                new_generation: false,
                value,
            });
            self.chunks += 1;
            certainly(self.replica, &[], &ops, Repeat::AlsoIfUnknown).await?;
        }
    }

    /// Has every node put the staged archive in the place of its state.
    /// `keep` are operations that follow in the same command: rows that the archive must not take back.
    pub async fn adopt(&self, digest: [u8; 32], expect: &[Expect], keep: Vec<Op>) -> Result<(), Error> {
        let adopt = Op::AdoptStaged {
            id: self.id,
            chunks: self.chunks,
            digest,
        };
        let ops = [vec![adopt], keep].concat();
        certainly(self.replica, expect, &ops, Repeat::IfNotCommitted).await
    }

    /// Takes back what was staged.
    pub async fn abandon(&self) {
        let entry = DueEntry {
            queue: STAGING_QUEUE,
            deadline: self.deadline,
            key: staged_chunk_key(&self.id, 0),
        };
        if let Err(error) = remove(self.replica, &self.id, entry).await {
            tracing::info!(%error, "what a restore has staged is left to the leader");
        }
    }
}

/// Removes what abandoned restores have left. Only deletes, and needs no keys.
pub async fn forget_stagings(replica: &dyn Replica) -> Result<(), Error> {
    let due = replica
        .view()?
        .rows()
        .due(STAGING_QUEUE, replica.now(), STAGINGS_A_ROUND)?;
    for (deadline, key) in due {
        let id = staging_of(&key).ok_or_else(|| Error::internal("a staging has a damaged key"))?;
        let entry = DueEntry {
            queue: STAGING_QUEUE,
            deadline,
            key,
        };
        remove(replica, &id, entry).await?;
        tracing::warn!("a restore that was abandoned is cleaned up");
    }
    Ok(())
}

async fn remove(replica: &dyn Replica, id: &[u8; 16], entry: DueEntry) -> Result<(), Error> {
    let (from, to) = staging_range(id);
    loop {
        let mut ops = Vec::new();
        let mut visit = |key: &[u8], _| {
            ops.push(Op::Delete {
                key: Key::copy_from_slice(key),
            });
            Ok(ops.len() < REMOVED_AT_ONCE)
        };
        replica.view()?.rows().scan(&from, Some(&to), &mut visit)?;
        let last = ops.len() < REMOVED_AT_ONCE;
        if last {
            ops.push(Op::DueDelete {
                queue: entry.queue,
                deadline: entry.deadline,
                key: entry.key.clone(),
            });
        }
        certainly(replica, &[], &ops, Repeat::AlsoIfUnknown).await?;
        if last {
            return Ok(());
        }
    }
}

fn staging_of(key: &[u8]) -> Option<[u8; 16]> {
    if key.get(1) != Some(&STAGING_TABLE) {
        return None;
    }
    key.get(12..28)?.try_into().ok()
}

/// When a command is proposed again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Only if it was certainly not committed.
    IfNotCommitted,
    /// Also if that is unknown: doing it twice is doing it once.
    AlsoIfUnknown,
}

async fn certainly(
    replica: &dyn Replica,
    expect: &[Expect],
    ops: &[Op],
    repeat: Repeat,
) -> Result<(), Error> {
    let mut last = Error::Contention;
    for _ in 0..TRIES {
        match commit(replica, Proposal::new(expect.to_vec(), ops.to_vec())).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Retry) => {}
            Err(CommitError::Failed(Error::OutcomeUnknown)) if repeat == Repeat::AlsoIfUnknown => {
                last = Error::OutcomeUnknown;
            }
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::Refused) => return Err(Error::internal("a restore was refused")),
        }
    }
    Err(last)
}

/// Runs what blocks on the disk.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format!("reading or writing a snapshot: {error}")))?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use conclave_raft::local::{LocalReplica, ManualClock};

    use super::*;

    fn rows(replica: &dyn Replica) -> usize {
        let mut count = 0;
        let mut visit = |_: &[u8], _| {
            count += 1;
            Ok(true)
        };
        let view = replica.view().unwrap();
        view.rows().scan(&[], None, &mut visit).unwrap();
        count
    }

    async fn stage(replica: &LocalReplica, id: [u8; 16], chunks: u32) -> u64 {
        let deadline = Staging::new(replica, id).deadline;
        for number in 0..chunks {
            let key = staged_chunk_key(&id, number);
            let due = Op::DuePut {
                queue: STAGING_QUEUE,
                deadline,
                key: staged_chunk_key(&id, 0),
            };
            let put = Op::Put {
                key,
                kind: 0,
                term: 0,
                deadline: 0,
                new_generation: false,
                value: "chunk".into(),
            };
            commit(replica, Proposal::new(vec![], vec![due, put]))
                .await
                .unwrap();
        }
        deadline
    }

    #[tokio::test]
    async fn what_is_abandoned_goes_when_its_time_has_come_and_nothing_else() {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let replica = LocalReplica::in_memory(clock.clone()).unwrap();
        stage(&replica, [1; 16], 200).await;
        clock.advance(ABANDONED_AFTER / 2);
        stage(&replica, [2; 16], 3).await;
        forget_stagings(&replica).await.unwrap();
        assert_eq!(rows(&replica), 203, "too early");
        clock.advance(ABANDONED_AFTER / 2);
        forget_stagings(&replica).await.unwrap();
        assert_eq!(rows(&replica), 3);
        let left = |replica: &LocalReplica| {
            let view = replica.view().unwrap();
            view.rows().due(STAGING_QUEUE, u64::MAX, 9).unwrap().len()
        };
        assert_eq!(left(&replica), 1);
        let mut staging = Staging::new(&replica, [2; 16]);
        staging.deadline -= ABANDONED_AFTER / 2;
        staging.abandon().await;
        assert_eq!((rows(&replica), left(&replica)), (0, 0));
    }
}
