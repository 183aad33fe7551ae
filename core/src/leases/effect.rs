//! The second half of an effect: the plan is run, and its result committed and answered. Whatever happens on the way, a row
//! says what must still be dropped: if this node dies, the leader finds the intent; if the target fails, it is told at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use conclave_engine_api::{Bounds, Done, Env, Failure, Plan, Reply, Txn};
use conclave_raft::{Replica, mutant};

use crate::acts::Act;
use crate::catalog::{decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::failpoint;
use crate::leases::counted;
use crate::leases::{IntentRecord, OWNED, edit, intended, leased, queue_of, random_of};
use crate::routes::{Answer, LeaseInfo};
use crate::session::Session;
use crate::store::{CommitError, commit};
use crate::tokens::Caller;
use crate::work::{Readers, Work};

/// Tries to commit the result of a plan before it is left to the leader.
const TRIES: u32 = 8;

/// An effect whose intent is committed.
pub struct Begun {
    /// Who asked; nobody if a row fell due.
    pub caller: Option<Arc<Caller>>,
    /// Id of the mount whose engine asks for it.
    pub mount: u32,
    /// What is done.
    pub plan: Plan,
    /// What is answered.
    pub reply: Reply,
    /// The engine's own note.
    pub memo: Map<String, Value>,
    /// What the session at the target is called.
    pub session: String,
    /// Whether sessions of that name that are there already end first.
    pub alone: bool,
    /// On the boot clock: nothing begins after it.
    pub until: Duration,
    /// What is on record of it once it is settled, if nobody asked for it.
    pub act: Option<Act>,
    /// The lease it is for, by its id.
    pub issued: Option<(String, IntentRecord)>,
}

/// Runs the plan and commits what came of it. In a task of its own: a client that hangs up must not stop it halfway.
pub async fn perform(core: Arc<Core>, session: Arc<Session>, begun: Begun) -> Result<Answer, Error> {
    let task = tokio::spawn(async move {
        failpoint::reach("after-intent").await;
        let bounds = Bounds {
            session: begun.session.clone(),
            alone: begun.alone,
            until: begun.until,
        };
        let ran = core.run_plan(&begun.plan, &bounds).await;
        match &begun.issued {
            Some((id, intent)) => issue(&core, &session, &begun, (id, intent), ran).await,
            None => settle(&core, &session, &begun, ran.as_deref().map_err(Clone::clone)).await,
        }
    });
    // A task that broke off may have done anything.
    task.await.unwrap_or(Err(Error::OutcomeUnknown))
}

impl Core {
    /// Has a plan carried out, and counts it.
    pub(crate) async fn run_plan(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        if let Some(refused) = self.refuse_effect() {
            return Err(refused);
        }
        let done = self.outside.targets.run(plan, bounds).await;
        self.outside
            .numbers
            .effect(plan.target.driver.name(), plan.action.name(), done.is_ok());
        done
    }
}

async fn issue(
    core: &Core,
    session: &Session,
    begun: &Begun,
    (id, intent): (&str, &IntentRecord),
    ran: Result<Vec<String>, Failure>,
) -> Result<Answer, Error> {
    let replica = core.seal.replica()?;
    let answered = match ran {
        Ok(told) => reply(core, intent, begun, &told).map_err(|error| (error, true)),
        Err(failure) => {
            // What was there before is somebody else's: it is not ours to sweep.
            Err((Error::Target(failure.text), !failure.done.is_nothing()))
        }
    };
    let reply = match answered {
        Ok(reply) => reply,
        Err((refusal, made)) => {
            if let Err(error) = give_up(session, replica.as_ref(), id, made).await {
                tracing::debug!(%error, "an intent that failed is left to be swept");
            }
            return Err(refusal);
        }
    };
    failpoint::reach("after-create").await;
    for _ in 0..TRIES {
        failpoint::reach("before-active").await;
        match activate(session, replica.as_ref(), begun, (id, intent)).await {
            Ok(()) => {
                failpoint::reach("after-active").await;
                let lease = &intent.lease;
                return Ok(Answer {
                    lease: Some(LeaseInfo {
                        id: id.to_owned(),
                        renewable: lease.renewable,
                        seconds: lease.expires.saturating_sub(lease.issued) / 1000,
                    }),
                    ..reply.into()
                });
            }
            Err(CommitError::Retry) => {}
            Err(CommitError::Refused) => break,
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    // The token ended meanwhile, or the leader has begun to sweep.
    give_up(session, replica.as_ref(), id, true).await?;
    Err(Error::denied())
}

/// What is answered, by what the target told.
fn reply(core: &Core, intent: &IntentRecord, begun: &Begun, told: &[String]) -> Result<Reply, Error> {
    let engine = core.engines.get(intent.lease.kind.as_str());
    let engine = engine.ok_or_else(|| Error::internal("an engine is gone"))?;
    Ok(engine.issued(begun.reply.clone(), told)?)
}

/// Intent to lease, if nobody has swept it.
async fn activate(
    session: &Session,
    replica: &dyn Replica,
    begun: &Begun,
    (id, intent): (&str, &IntentRecord),
) -> Result<(), CommitError> {
    let (opened, derived) = session.view(replica.view().map_err(Error::from)?)?;
    let row = opened.space(intended(id)).row(id)?;
    let found: Option<IntentRecord> = row.map(|row| decode_record(&row.value)).transpose()?;
    if found.as_ref() != Some(intent) {
        return Err(CommitError::Refused);
    }
    let lease = &intent.lease;
    let queue = queue_of(opened.barrier(), lease.mount, &lease.target);
    let proposal = {
        let readers = Readers::new(&opened);
        let mut work = Work::new(&readers, &derived.catalog);
        if let Some(caller) = &begun.caller {
            caller.expect_in(&mut work.draft)?;
        }
        edit(&mut work, intended(id), queue, |txn| {
            txn.get(id)?;
            Ok(txn.delete(id)?)
        })?;
        let value = encode_record(lease)?;
        edit(&mut work, leased(id), queue, |txn| {
            txn.get(id)?;
            Ok(txn.put_due(id, value, Some(lease.expires))?)
        })?;
        work.finish()?
    };
    commit(replica, proposal).await.map(|_| ())
}

/// An effect that did not come to be: its intent goes if nothing can have been made, else it is swept now.
async fn give_up(session: &Session, replica: &dyn Replica, id: &str, made: bool) -> Result<(), Error> {
    for _ in 0..TRIES {
        let (opened, derived) = session.view(replica.view()?)?;
        let Some(row) = opened.space(intended(id)).row(id)? else {
            return Ok(());
        };
        let mut intent: IntentRecord = decode_record(&row.value)?;
        if intent.sweeps > 0 || intent.lease.ending.is_some() {
            return Ok(());
        }
        let now = replica.now();
        let queue = queue_of(opened.barrier(), intent.lease.mount, &intent.lease.target);
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            if made {
                intent.lease.begin_end(now, false);
                let value = encode_record(&intent)?;
                edit(&mut work, intended(id), queue, |txn| {
                    txn.get(id)?;
                    Ok(txn.put_due(id, value, Some(now))?)
                })?;
            } else {
                edit(&mut work, intended(id), queue, |txn| {
                    txn.get(id)?;
                    Ok(txn.delete(id)?)
                })?;
                counted::end(&mut work, &intent.lease)?;
            }
            if let Some(owner) = &intent.lease.owner {
                let name = format!("{owner}/{}", random_of(id));
                edit(&mut work, OWNED, queue, |txn| Ok(txn.delete(&name)?))?;
            }
            work.finish()?
        };
        match commit(replica, proposal).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Retry | CommitError::Refused) => {}
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Err(Error::Contention)
}

/// Has the engine write what came of an effect that has no lease.
async fn settle(
    core: &Core,
    session: &Session,
    begun: &Begun,
    ran: Result<&[String], Failure>,
) -> Result<Answer, Error> {
    failpoint::reach("before-settle").await;
    // The mutant takes what may be done for undone.
    let ran = ran.map_err(|failure| match mutant::is("forgotten-outcome") {
        true => Failure::new(Done::Nothing, failure.text),
        false => failure,
    });
    let replica = core.seal.replica()?;
    for _ in 0..TRIES {
        let (opened, derived) = session.view(replica.view()?)?;
        let catalog = &derived.catalog;
        let mount = catalog.mount_by_id(begun.mount);
        let mount = mount.ok_or_else(|| Error::Target("the mount was disabled meanwhile".to_owned()))?;
        let engine = core
            .engine_of(mount)
            .ok_or_else(|| Error::internal("an engine is gone"))?;
        let settings = &core.settings;
        let seen = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
        let (proposal, noted, answer) = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, catalog);
            let space = mount.space();
            let reader = opened.space(space);
            let mut txn = Txn::new(&reader);
            let mut entropy = OsEntropy;
            let mut env = Env::new(replica.now(), &mut entropy).with_workshop(&core.workshop);
            let ran = ran.as_deref();
            let settled = engine.settle(&mut txn, &seen, &begun.memo, ran, &mut env)?;
            work.draft.include(space, txn.into_changes())?;
            let act = begun.act.iter().cloned();
            let acts = act.map(|act| act.complete(settled.is_ok())).collect();
            let noted = core.note(&opened, replica.as_ref(), acts)?;
            noted.add_to(&mut work.draft);
            (work.finish()?, noted, settled)
        };
        match commit(replica.as_ref(), proposal).await {
            Ok(_) => {
                core.record_noted(noted).await;
                return Ok(answer?.into());
            }
            Err(CommitError::Retry) => {}
            Err(CommitError::Refused) => return Err(Error::internal("a result was refused")),
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Err(Error::Contention)
}
