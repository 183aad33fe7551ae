//! What somebody forces to end at a target that does not answer. The target was asked once more, about one of them or another of
//! its leases; for the rest it would say nothing else, so they go without a question.

use conclave_engine_api::{Failure, Millis};
use conclave_raft::{Key, Replica};

use crate::core::Core;
use crate::error::Error;
use crate::leases::{end, sweep};
use crate::session::Session;
use crate::store::{CommitError, commit};
use crate::work::{Readers, Work};

/// Leases given up by one command. What is applied at once is as long as every read waits.
const BATCH: usize = 32;
/// Tries to commit one batch before the rest is left to the next round.
const TRIES: u32 = 8;

/// Gives up all that is forced at a target that was silent. How many that are.
pub async fn give_up(
    core: &Core,
    session: &Session,
    replica: &dyn Replica,
    queue: u64,
    silence: &Failure,
) -> Result<usize, Error> {
    let (mut given_up, mut tries) = (0, 0);
    while tries < TRIES {
        // What cannot be on record stays.
        core.may_act()?;
        let due = replica.view()?.rows().due(queue, end::FORCED, BATCH)?;
        match give_up_some(core, session, replica, (queue, &due)).await {
            Ok(0) => break,
            Ok(count) => (given_up, tries) = (given_up + count, 0),
            Err(CommitError::Retry | CommitError::Refused) => tries += 1,
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    if given_up > 0 {
        tracing::warn!(
            error = %silence, leases = given_up,
            "leases were forced to end at a target that does not answer: their accounts may still be there"
        );
    }
    Ok(given_up)
}

/// One command. How many entries are done with; 0: nothing there can be.
async fn give_up_some(
    core: &Core,
    session: &Session,
    replica: &dyn Replica,
    (queue, due): (u64, &[(Millis, Key)]),
) -> Result<usize, CommitError> {
    let (opened, derived) = session.view(replica.view().map_err(Error::from)?)?;
    let (mut done, mut acts) = (0, Vec::new());
    let (proposal, noted) = {
        let readers = Readers::new(&opened);
        let mut work = Work::new(&readers, &derived.catalog);
        work.draft.decided_at(replica.now());
        for (deadline, key) in due {
            let stored = match sweep::stored(&mut work, (queue, *deadline, key)) {
                Ok(stored) => stored,
                // The sweep tells of it, and it holds up no other.
                Err(error) => {
                    tracing::debug!(%error, "a lease that was forced to end stays");
                    continue;
                }
            };
            done += 1;
            let Some(stored) = stored else { continue };
            let lease = &stored.intent.lease;
            end::remove(&mut work, stored.space, &stored.id, lease)?;
            // Of those that were tried the first failure is on record.
            if lease.ending.as_ref().is_none_or(|ending| ending.attempts == 0) {
                acts.push(sweep::record_of(lease, &stored.id, false));
            }
        }
        if done == 0 {
            return Ok(0);
        }
        let noted = core.note(&opened, replica, acts)?;
        noted.add_to(&mut work.draft);
        (work.finish()?, noted)
    };
    commit(replica, proposal).await?;
    core.record_noted(noted).await;
    Ok(done)
}
