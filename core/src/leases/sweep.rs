//! One target's leases that are due, by the leader: each attempt is committed first, so that a renewal that came before it
//! wins and none can come after it; then the target is asked; then the result is committed. What fails is due again later,
//! for ever. What was in the making when its time was over is dropped more than once: a statement may still be on its way.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use parking_lot::Mutex;

use conclave_engine_api::{Bounds, Done, Env, Failure, Millis, Plan, Txn};
use conclave_raft::{Key, Op, Replica, mutant};

use crate::acts::Act;
use crate::catalog::{Catalog, decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::failpoint;
use crate::leases::lead::Lead;
use crate::leases::{
    IntentRecord, LeaseRecord, Tried, counted, edit, end, forced, intended, leased, mount_of, queue_of,
    session_name,
};
use crate::session::Session;
use crate::store::layout::open_key;
use crate::store::{CommitError, Opened, Space, Table, commit};
use crate::work::{Readers, Work};

/// Plans under way at one target at a time.
const AT_ONCE: usize = 4;
/// How long one revocation may take.
const CALL: Duration = Duration::from_secs(15);
/// Pause after the first failure of a lease; doubled with each further one ...
const FIRST_PAUSE: Millis = 1_000;
/// ... up to this.
pub const MAX_PAUSE: Millis = 60_000;
/// When what is left of an intent is dropped again, after the time before.
const SWEEPS: [Millis; 3] = [60_000, 600_000, 3_600_000];
/// Tries to commit one result before it is left to the next round.
const TRIES: u32 = 8;

/// One thing to be dropped.
struct Due {
    space: Space,
    id: String,
    /// An intent, or a lease as an intent that was carried out.
    intent: IntentRecord,
    is_intent: bool,
    /// When this attempt began.
    began: Millis,
    plan: Result<Plan, String>,
}

/// A row that is due.
pub struct Stored {
    /// Where it lies.
    pub space: Space,
    /// The id of its lease.
    pub id: String,
    /// An intent, or a lease as an intent that was carried out.
    pub intent: IntentRecord,
}

/// What came of a round.
pub struct Swept {
    /// How many were ended.
    pub ended: usize,
    /// Whether the target answered; `None` if it was not asked.
    pub answered: Option<bool>,
}

/// One round at one target: up to `share` of what is due.
pub async fn sweep(core: &Arc<Core>, queue: u64, share: usize) -> Result<Swept, Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    let asked = core.outside.targets.boot_time();
    let view = replica.read().await?;
    let lead = Lead::proved(replica.status().borrow().term, asked);
    let now = replica.now();
    let due = view.rows().due(queue, now, share)?;
    drop(view);
    let mut swept = Swept {
        ended: 0,
        answered: None,
    };
    if due.is_empty() {
        return Ok(swept);
    }
    let Some(begun) = begin(core, &session, replica.as_ref(), queue, &due, now).await? else {
        return Ok(swept);
    };
    failpoint::reach("after-revoking").await;
    let round = Arc::new(Round {
        core: core.clone(),
        session,
        replica: replica.clone(),
        lead,
        silent: Mutex::default(),
    });
    let work = begun.into_iter().map(|due| {
        let round = round.clone();
        async move { round.one(due).await }
    });
    let results: Vec<Result<bool, Failed>> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
    for result in results {
        match result {
            Ok(ended) => {
                swept.ended += usize::from(ended);
                swept.answered = Some(true);
            }
            Err(Failed::Silent) => swept.answered = swept.answered.or(Some(false)),
            Err(Failed::Refused) => swept.answered = Some(true),
            Err(Failed::Ours(error)) => return Err(error),
        }
    }
    let silence = round
        .silent
        .lock()
        .take()
        .filter(|_| swept.answered == Some(false));
    if let Some(silence) = silence {
        swept.ended += forced::give_up(core, &round.session, replica.as_ref(), queue, &silence).await?;
    }
    Ok(swept)
}

/// Commits that these are being ended. `None`: something moved; look again.
async fn begin(
    core: &Core,
    session: &Session,
    replica: &dyn Replica,
    queue: u64,
    due: &[(Millis, Key)],
    now: Millis,
) -> Result<Option<Vec<Due>>, Error> {
    let (opened, derived) = session.view(replica.view()?)?;
    let mut begun = Vec::new();
    let proposal = {
        let readers = Readers::new(&opened);
        let mut work = Work::new(&readers, &derived.catalog);
        work.draft.decided_at(now);
        for (deadline, key) in due {
            match begin_one(core, &mut work, &derived.catalog, (queue, *deadline, key), now) {
                Ok(one) => begun.extend(one),
                // It holds up no other: nothing of it was planned yet.
                Err(error) if core.outside.failed(key, Tried::Revocation) => {
                    tracing::error!(%error, "a lease that is due cannot be ended: it stays, and is tried again");
                }
                Err(_) => {}
            }
        }
        work.finish()?
    };
    if proposal.ops.is_empty() {
        return Ok(None);
    }
    match commit(replica, proposal).await {
        Ok(_) => Ok(Some(begun)),
        Err(CommitError::Retry | CommitError::Refused) => Ok(None),
        Err(CommitError::Failed(error)) => Err(error),
    }
}

fn begin_one(
    core: &Core,
    work: &mut Work<'_>,
    catalog: &Catalog,
    (queue, deadline, key): (u64, Millis, &Key),
    now: Millis,
) -> Result<Option<Due>, Error> {
    let Some(stored) = stored(work, (queue, deadline, key))? else {
        return Ok(None);
    };
    let Stored {
        space,
        id,
        mut intent,
    } = stored;
    let opened = work.opened();
    let is_intent = space.table == Table::Intent;
    if intent.lease.ending.is_none() {
        core.metrics.expired_late(now.saturating_sub(deadline));
    }
    intent.lease.begin_end(now, false);
    if let Some(ending) = &mut intent.lease.ending {
        ending.attempts = ending.attempts.saturating_add(1);
    }
    let value = if is_intent {
        encode_record(&intent)?
    } else {
        encode_record(&intent.lease)?
    };
    edit(work, space, queue, |txn| {
        txn.get(&id)?;
        Ok(txn.put_due(&id, value, Some(deadline))?)
    })?;
    let plan = plan_of(core, opened, catalog, &intent, now).map_err(|error| error.to_string());
    Ok(Some(Due {
        space,
        id,
        intent,
        is_intent,
        began: now,
        plan,
    }))
}

/// The row of an entry of the due index. `None`: there is none; the entry goes with `work`.
pub fn stored(
    work: &mut Work<'_>,
    (queue, deadline, key): (u64, Millis, &Key),
) -> Result<Option<Stored>, Error> {
    let opened = work.opened();
    let row = opened.view().rows().get(key)?;
    if row.is_none_or(|row| row.deadline != deadline) {
        // Left over from a row that moved on without its index entry.
        work.draft.op(Op::DueDelete {
            queue,
            deadline,
            key: key.clone(),
        });
        return Ok(None);
    }
    let (space, id) = open_key(opened.barrier(), key)?;
    let row = opened.space(space).row(&id)?;
    let row = row.ok_or_else(|| Error::internal("a row that is due is gone"))?;
    let intent = match space.table {
        Table::Intent => decode_record(&row.value)?,
        Table::Lease => IntentRecord {
            lease: decode_record(&row.value)?,
            run_until: 0,
            session: String::new(),
            sweeps: 0,
        },
        _ => return Err(Error::internal("a row of this table does not wait for a target")),
    };
    Ok(Some(Stored { space, id, intent }))
}

/// How the account goes, as its engine knows now.
fn plan_of(
    core: &Core,
    opened: &Opened,
    catalog: &Catalog,
    intent: &IntentRecord,
    now: Millis,
) -> Result<Plan, Error> {
    let lease = &intent.lease;
    let engine = core.engines.get(lease.kind.as_str());
    let engine = engine.ok_or_else(|| Error::Unsupported(format!("mount type {:?}", lease.kind)))?;
    let mount = mount_of(catalog, &core.settings, lease);
    let reader = opened.space(Space::of_mount(lease.namespace, lease.mount));
    let mut txn = Txn::new(&reader);
    let mut entropy = OsEntropy;
    let mut env = Env::new(now, &mut entropy);
    Ok(engine.revocation(&mut txn, &mount, &lease.leased(&intent.session), &mut env)?)
}

/// Why one was not ended.
enum Failed {
    /// The target did not answer.
    Silent,
    /// It answered and refused, or there is no way to ask it.
    Refused,
    /// We cannot go on.
    Ours(Error),
}

/// One round at one target.
struct Round {
    core: Arc<Core>,
    session: Arc<Session>,
    replica: Arc<dyn Replica>,
    lead: Lead,
    /// What was said when the target did not answer: it is not asked again for the rest of the round, which fails alike.
    silent: Mutex<Option<Failure>>,
}

impl Round {
    /// Whether its row is gone.
    async fn one(&self, due: Due) -> Result<bool, Failed> {
        let mut failed = match &due.plan {
            Ok(plan) => self.run(plan).await?.err(),
            Err(text) => Some(Failure::new(Done::Refused, text.clone())),
        };
        let may_record = self.core.may_act();
        if let (None, Err(error)) = (&failed, &may_record) {
            // The account is gone. Its row stays until that can be on record, and it is dropped again then.
            failed = Some(Failure::new(Done::Refused, error.to_string()));
        }
        failpoint::reach("after-drop").await;
        let done = failed.is_none();
        self.core.outside.numbers.revocation(&due.intent.lease.kind, done);
        let now = self.replica.now();
        // Tries go on for ever: the first that failed is on record, and the one that did not.
        let ending = due.intent.lease.ending.as_ref();
        let first = ending.map_or(0, |ending| ending.attempts) <= 1;
        let told = done || (first && may_record.is_ok());
        let acts: Vec<Act> = told
            .then(|| record_of(&due.intent.lease, &due.id, done))
            .into_iter()
            .collect();
        for _ in 0..TRIES {
            match self.finish(&due, failed.as_ref(), &acts, now).await {
                Ok(gone) => {
                    return match failed {
                        None => Ok(gone),
                        Some(failure) if failure.done == Done::Refused => Err(Failed::Refused),
                        Some(_) => Err(Failed::Silent),
                    };
                }
                Err(CommitError::Retry | CommitError::Refused) => {}
                Err(CommitError::Failed(error)) => return Err(Failed::Ours(error)),
            }
        }
        Err(Failed::Ours(Error::Contention))
    }

    /// Asks the target, if this node still leads: what an old leader remembers is nothing to act on.
    async fn run(&self, plan: &Plan) -> Result<Result<Vec<String>, Failure>, Failed> {
        let going = self.lead.goes_on(&self.core, self.replica.as_ref()).await;
        going.map_err(Failed::Ours)?;
        if let Some(failure) = self.silent.lock().clone() {
            return Ok(Err(failure));
        }
        let mut entropy = OsEntropy;
        let mut env = Env::new(0, &mut entropy);
        let bounds = Bounds {
            session: session_name(self.replica.node_id(), self.lead.term(), &mut env),
            alone: false,
            until: self.core.outside.targets.boot_time() + CALL,
        };
        let done = self.core.run_plan(plan, &bounds).await;
        if let Err(failure) = &done
            && failure.done != Done::Refused
        {
            *self.silent.lock() = Some(failure.clone());
        }
        Ok(done)
    }

    /// Commits what came of one attempt, with what is to be on record of it: the row goes, or says when to try again. Whether
    /// it is gone.
    async fn finish(
        &self,
        due: &Due,
        failed: Option<&Failure>,
        acts: &[Act],
        now: Millis,
    ) -> Result<bool, CommitError> {
        let replica = self.replica.as_ref();
        let (opened, derived) = self.session.view(replica.view().map_err(Error::from)?)?;
        let Some(row) = opened.space(due.space).row(&due.id)? else {
            return Ok(true);
        };
        let mut intent = due.intent.clone();
        // What happened to the row meanwhile (it is forced now) holds.
        intent.lease = if due.is_intent {
            decode_record::<IntentRecord>(&row.value)?.lease
        } else {
            decode_record(&row.value)?
        };
        let forced = intent.lease.ending.as_ref().is_some_and(|ending| ending.force);
        let (proposal, noted, gone) = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            let gone = match failed {
                None if due.is_intent => swept_intent(&mut work, &due.id, intent, now)?,
                // The mutant: what cannot be dropped is given up.
                Some(_) if !forced && !mutant::is("given-up-lease") => {
                    again(&mut work, due, intent, failed, now)?;
                    false
                }
                outcome => {
                    if let Some(failure) = outcome {
                        tracing::warn!(error = %failure, "a lease was forced to end: its account may still be there");
                    }
                    end::remove(&mut work, due.space, &due.id, &intent.lease)?;
                    true
                }
            };
            let noted = self.core.note(&opened, replica, acts.to_vec())?;
            noted.add_to(&mut work.draft);
            (work.finish()?, noted, gone)
        };
        commit(replica, proposal).await?;
        if gone {
            failpoint::reach("after-ended").await;
        }
        self.core.record_noted(noted).await;
        Ok(gone)
    }
}

/// What is on record of one attempt.
pub fn record_of(lease: &LeaseRecord, id: &str, done: bool) -> Act {
    Act::end(lease.path.as_str(), "lease_id", id).complete(done)
}

/// What is left of an intent is dropped: once more later, or it is done with.
fn swept_intent(work: &mut Work<'_>, id: &str, mut intent: IntentRecord, now: Millis) -> Result<bool, Error> {
    let pause = SWEEPS.get(intent.sweeps as usize).copied();
    let Some(pause) = pause else {
        end::remove(work, intended(id), id, &intent.lease)?;
        return Ok(true);
    };
    intent.sweeps += 1;
    // What was there is gone, and what may come late is nobody's: it holds no place of a quota.
    counted::end(work, &intent.lease)?;
    intent.lease.counted = None;
    if let Some(ending) = &mut intent.lease.ending {
        ending.start_over();
    }
    put_intent(work, id, &intent, now.saturating_add(pause))?;
    Ok(false)
}

/// Not this time: the row says why, and when next.
fn again(
    work: &mut Work<'_>,
    due: &Due,
    mut intent: IntentRecord,
    failed: Option<&Failure>,
    now: Millis,
) -> Result<(), Error> {
    let mut attempts = 1;
    if let Some(ending) = &mut intent.lease.ending {
        attempts = ending.attempts;
        let error = failed.map(|failure| failure.text.clone()).unwrap_or_default();
        let silent = failed.is_some_and(|failure| failure.done != Done::Refused);
        ending.fail(error, due.began, silent);
    }
    let next = now.saturating_add(pause_after(attempts));
    if due.is_intent {
        put_intent(work, &due.id, &intent, next)
    } else {
        let queue = queue_of(work.opened().barrier(), intent.lease.mount, &intent.lease.target);
        let value = encode_record::<LeaseRecord>(&intent.lease)?;
        edit(work, leased(&due.id), queue, |txn| {
            txn.get(&due.id)?;
            Ok(txn.put_due(&due.id, value, Some(next))?)
        })
    }
}

fn put_intent(work: &mut Work<'_>, id: &str, intent: &IntentRecord, deadline: Millis) -> Result<(), Error> {
    let queue = queue_of(work.opened().barrier(), intent.lease.mount, &intent.lease.target);
    let value = encode_record(intent)?;
    edit(work, intended(id), queue, |txn| {
        txn.get(id)?;
        Ok(txn.put_due(id, value, Some(deadline))?)
    })
}

/// Doubled each time, up to the longest.
fn pause_after(attempts: u32) -> Millis {
    let doubled = 1_u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(u64::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded_for_ever() {
        let pauses = [1, 2, 3, 7, 63, 64, 65, u32::MAX].map(pause_after);
        assert_eq!(
            pauses,
            [1_000, 2_000, 4_000, 60_000, 60_000, 60_000, 60_000, 60_000]
        );
    }
}
