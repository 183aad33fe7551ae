//! A change that share holders allowed: made ready in advance, and tried until it has taken effect, once; or, once nobody wants it
//! any more, never. Every try expects the seal, so that a touch of the seal ends those that are under way. Knows no change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conclave_raft::{Replica, View};

use crate::error::Error;
use crate::seal::StoredSeal;
use crate::store::{CommitError, Proposal, commit};

/// Tries before a change that keeps losing to others, or whose outcome stays unknown, is given up for now.
const TRIES: u32 = 8;

/// Whether it is wanted.
#[derive(Default)]
pub(super) struct Once {
    abandoned: AtomicBool,
}

impl Once {
    /// Whether nobody wants it any more. To be asked by a try after it has read the seal that it expects.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Tries until it is done. A try must find out whether one before it has done it.
    ///
    /// # Errors
    /// What keeps it from being done, or whether it is from being known: it may be called again.
    pub async fn commit<F>(&self, attempt: impl Fn() -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), CommitError>>,
    {
        let mut last = Error::Contention;
        for _ in 0..TRIES {
            match attempt().await {
                Ok(()) => return Ok(()),
                Err(CommitError::Retry) => {}
                // The next try sees whether it is done.
                Err(CommitError::Failed(Error::OutcomeUnknown)) => last = Error::OutcomeUnknown,
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => {
                    return Err(Error::internal("what share holders allowed was refused"));
                }
            }
        }
        Err(last)
    }

    /// Sees to it that no try takes effect from now on, not even one that is under way. `false`: one has, before.
    ///
    /// # Errors
    /// What keeps the cluster from telling: then everything is as it was.
    pub async fn abandon(
        &self,
        replica: &dyn Replica,
        ring: u16,
        is_done: impl Fn(Arc<View>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        self.abandoned.store(true, Ordering::SeqCst);
        let abandoned = void(replica, ring, is_done).await;
        if !matches!(abandoned, Ok(true)) {
            self.abandoned.store(false, Ordering::SeqCst);
        }
        abandoned
    }
}

async fn void(
    replica: &dyn Replica,
    ring: u16,
    is_done: impl Fn(Arc<View>) -> Result<bool, Error>,
) -> Result<bool, Error> {
    for _ in 0..TRIES {
        let view = replica.read().await?;
        let current = StoredSeal::of(&view, ring)?;
        if is_done(view)? {
            return Ok(false);
        }
        let proposal = Proposal::new(vec![current.expect()], vec![current.touch()]);
        match commit(replica, proposal).await {
            Ok(_) => return Ok(true),
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::Retry | CommitError::Refused) => {}
        }
    }
    Err(Error::Contention)
}
