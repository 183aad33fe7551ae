//! Renewing a lease: the target is told first, then the row. If the row cannot follow, the account ends with the lease as it
//! was; the other way round a client would trust in a life that the target does not give.

use conclave_engine_api::{Bounds as CallBounds, Env, Millis, Plan, Reply, Txn};

use crate::catalog::decode_record;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::leases::{LeaseRecord, RUN, by_id, end, leased, mount_of, session_name};
use crate::routes::{Answer, LeaseInfo};
use crate::store::{CommitError, Space, commit};
use crate::tokens::{Bounds, Wish, life};
use crate::work::{Readers, Work};

/// Tries before a lease that keeps changing under us is given up.
const TRIES: u32 = 8;

/// What a renewal would make of a lease.
struct Extended {
    revision: u64,
    record: LeaseRecord,
    plan: Option<Plan>,
    warning: Option<String>,
}

/// Renews a lease by `increment`, or by what its engine gives.
pub async fn renew(core: &Core, id: &str, increment: Millis) -> Result<Answer, Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    for _ in 0..TRIES {
        let until = core.outside.targets.boot_time() + RUN;
        let (opened, derived) = session.view(replica.read().await?)?;
        let now = replica.now();
        let Some(extended) = extend(core, &opened, &derived.catalog, id, increment, now)? else {
            return Err(Error::invalid("lease not found"));
        };
        if let Some(plan) = &extended.plan {
            let mut entropy = OsEntropy;
            let mut env = Env::new(now, &mut entropy);
            let term = replica.status().borrow().term;
            let bounds = CallBounds {
                session: session_name(replica.node_id(), term, &mut env),
                alone: false,
                until,
            };
            let done = core.run_plan(plan, &bounds).await;
            done.map_err(|failure| Error::Target(format!("failed to renew the lease: {}", failure.text)))?;
        }
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            work.draft.decided_at(now);
            end::put(&mut work, id, &extended.record, extended.record.expires)?;
            let seen = conclave_raft::Condition::Revision(extended.revision);
            work.draft.expect(leased(id), id, seen)?;
            work.finish()?
        };
        match commit(replica.as_ref(), proposal).await {
            Ok(_) => {
                let record = extended.record;
                let mut reply = Reply::empty();
                reply.warnings.extend(extended.warning);
                return Ok(Answer {
                    lease: Some(LeaseInfo {
                        id: id.to_owned(),
                        renewable: record.renewable,
                        seconds: record.expires.saturating_sub(now) / 1000,
                    }),
                    ..reply.into()
                });
            }
            Err(CommitError::Retry) => {}
            Err(CommitError::Refused) => return Err(Error::internal("a renewal was refused")),
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Err(Error::Contention)
}

fn extend(
    core: &Core,
    opened: &crate::store::Opened,
    catalog: &crate::catalog::Catalog,
    id: &str,
    increment: Millis,
    now: Millis,
) -> Result<Option<Extended>, Error> {
    if by_id(opened, id)?.is_none() {
        return Ok(None);
    }
    let Some(row) = opened.space(leased(id)).row(id)? else {
        return Ok(None);
    };
    let mut record: LeaseRecord = decode_record(&row.value)?;
    if record.ending.is_some() || record.expires <= now {
        return Err(Error::invalid("lease expired"));
    }
    if !record.renewable {
        return Err(Error::invalid("lease is not renewable"));
    }
    let mount = catalog.mount_by_id(record.mount);
    let mount = mount.ok_or_else(|| Error::invalid("lease is not renewable"))?;
    let engine = core
        .engine_of(mount)
        .ok_or_else(|| Error::internal("an engine is gone"))?;
    let seen = mount_of(catalog, &core.settings, &record);
    let reader = opened.space(Space::of_mount(record.namespace, record.mount));
    let mut txn = Txn::new(&reader);
    let terms = engine.terms(&mut txn, &seen, &record.leased(""))?;
    let wish = Wish {
        increment,
        ttl: terms.ttl,
        max_ttl: terms.max_ttl,
        ..Wish::default()
    };
    let granted = life(Bounds::of(&core.settings, mount), &wish, record.issued, now);
    let mut expires = now.saturating_add(granted.ttl);
    if record.latest > 0 {
        expires = expires.min(record.latest);
    }
    if expires <= now {
        return Err(Error::invalid("lease expired"));
    }
    let mut entropy = OsEntropy;
    let mut env = Env::new(now, &mut entropy);
    let plan = engine.extension(&mut txn, &seen, &record.leased(""), expires, &mut env)?;
    record.expires = expires;
    record.renewed = now;
    Ok(Some(Extended {
        revision: row.revision,
        record,
        plan,
        warning: granted.warning,
    }))
}
