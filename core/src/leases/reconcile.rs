//! Accounts that a target has and nobody has a lease of. A target is asked first and the rows are read after: an account of
//! ours had its intent committed before it was made, so what has no row by then has lost it. Such an account is given a lease
//! that has ended, and goes the way of all of them: tried until it is gone, visible meanwhile. To one that the job finds, and
//! nobody asked about, an hour is left, in which somebody may look at it.

use std::collections::HashSet;
use std::sync::Arc;

use conclave_engine_api::{Bounds, Census, Engine, Env, Millis, Txn};
use conclave_raft::Replica;

use crate::catalog::{Category, MountRecord, decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::leases::{IntentRecord, LeaseRecord, RUN, edit, leased, mark, queue_of, session_name};
use crate::namespaces::id;
use crate::offload::off_thread;
use crate::session::Session;
use crate::store::layout::{ROOT_NAMESPACE, after_prefix};
use crate::store::{CommitError, Opened, Space, Table, commit};
use crate::work::{Readers, Work};

/// Accounts given a lease by one command.
const BATCH: usize = 256;
/// How long what the job finds is let be. It is the life of a lease, so a new leader keeps it.
const GRACE: Millis = 3_600_000;
/// Tries to commit one batch.
const TRIES: u32 = 8;
/// Beneath its mount: where leases of accounts lie that were found without one.
const PLACE: &str = "orphans";
/// Bytes of the end of such a lease's id: the same for the same account, so that two who look find one lease.
const NAME_BYTES: usize = 12;

/// How it is looked, and what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconcile {
    /// Only tell.
    pub dry_run: bool,
    /// Drop also what only looks like ours: somebody who knows has said so.
    pub unmarked: bool,
    /// Not at once: nobody looks on.
    pub patient: bool,
}

/// What was found in one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the engine calls it.
    pub target: String,
    /// How many accounts it lists as ours.
    pub listed: usize,
    /// Whether it says so for certain.
    pub certain: bool,
    /// Those without a lease.
    pub orphans: Vec<String>,
    /// How many of them are being dropped, now or when their time has come.
    pub dropped: usize,
    /// Why it could not be looked at; empty if it could.
    pub error: String,
}

/// Looks at every target of one mount. Targets that do not answer are told of, and hold up no other.
///
/// # Errors
/// The store's own, and what the engine says of the mount.
pub async fn reconcile(core: &Arc<Core>, mount: u32, how: Reconcile) -> Result<Vec<Found>, Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    let (opened, derived) = session.view(replica.read().await?)?;
    let found = derived.catalog.mount_by_id(mount);
    let record = found.ok_or_else(|| Error::invalid("the mount is gone"))?.clone();
    let engine = core
        .engine_of(&record)
        .ok_or_else(|| Error::internal("an engine is gone"))?
        .clone();
    let settings = &core.settings;
    let seen = record.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
    let censuses = {
        let reader = opened.space(record.space());
        engine.census(&mut Txn::new(&reader), &seen)?
    };
    drop(opened);
    let mut all = Vec::new();
    for census in censuses {
        let looked = Looked {
            core,
            session: &session,
            replica: replica.as_ref(),
            mount: &record,
            engine: &engine,
            how,
        };
        all.push(looked.at(&census).await?);
    }
    Ok(all)
}

/// One look at a mount's targets.
struct Looked<'a> {
    core: &'a Core,
    session: &'a Arc<Session>,
    replica: &'a dyn Replica,
    mount: &'a MountRecord,
    engine: &'a Arc<dyn Engine>,
    how: Reconcile,
}

impl Looked<'_> {
    async fn at(&self, census: &Census) -> Result<Found, Error> {
        let target = census.plan.target.name.clone();
        let mut found = Found {
            target,
            listed: 0,
            certain: census.certain,
            orphans: Vec::new(),
            dropped: 0,
            error: String::new(),
        };
        let numbers = &self.core.outside.numbers;
        let listed = self.list(census).await;
        numbers.reconciled(&self.mount.kind, listed.is_ok());
        let listed = match listed {
            Ok(listed) => listed,
            Err(text) => {
                found.error = text;
                return Ok(found);
            }
        };
        found.listed = listed.len();
        let known = match listed.is_empty() {
            true => HashSet::new(),
            false => self.with_lease(&found.target).await?,
        };
        found.orphans = listed
            .into_iter()
            .filter(|name| !known.contains(name) && !census.known.contains(name))
            .collect();
        if self.how.dry_run || !(census.certain || self.how.unmarked) {
            return Ok(found);
        }
        for batch in found.orphans.chunks(BATCH) {
            let adopted = self.adopt(&found.target, batch, self.replica.now()).await?;
            found.dropped += adopted.dropped;
            numbers.orphans(&self.mount.kind, adopted.fresh);
        }
        Ok(found)
    }

    async fn list(&self, census: &Census) -> Result<Vec<String>, String> {
        let term = self.replica.status().borrow().term;
        let mut entropy = OsEntropy;
        let mut env = Env::new(0, &mut entropy);
        let bounds = Bounds {
            session: session_name(self.replica.node_id(), term, &mut env),
            alone: false,
            until: self.core.outside.targets.boot_time() + RUN,
        };
        let listed = self.core.run_plan(&census.plan, &bounds).await;
        listed.map_err(|failure| failure.text)
    }

    /// The accounts in one target that a lease, or one in the making, is of; those that wait to be dropped are among them
    /// unless somebody asks. Reads all of a namespace, off the threads that answer requests.
    async fn with_lease(&self, target: &str) -> Result<HashSet<String>, Error> {
        let (opened, _) = self.session.view(self.replica.read().await?)?;
        let (engine, mount, target) = (self.engine.clone(), self.mount.clone(), target.to_owned());
        let waiting = (!self.how.patient).then(|| self.path(&target));
        let reading = off_thread(self.core.offload.as_ref(), "reading the leases", move || {
            let mut known = HashSet::new();
            each_record(&opened, mount.namespace, &mut |lease| {
                let waits = waiting.as_ref() == Some(&lease.path) && lease.ending.is_none();
                if lease.mount == mount.id && lease.target == target && !waits {
                    known.extend(engine.account(&lease.leased("")).map(str::to_owned));
                }
            })?;
            Ok(known)
        });
        reading.await
    }

    /// Gives accounts a lease that has ended, or ends soon.
    async fn adopt(&self, target: &str, accounts: &[String], now: Millis) -> Result<Adopted, Error> {
        for _ in 0..TRIES {
            let (opened, derived) = self.session.view(self.replica.view()?)?;
            let queue = queue_of(opened.barrier(), self.mount.id, target);
            let mut adopted = Adopted::default();
            let proposal = {
                let readers = Readers::new(&opened);
                let mut work = Work::new(&readers, &derived.catalog);
                for account in accounts {
                    let id = self.lease_of(&opened, target, account);
                    if opened.space(leased(&id)).row(&id)?.is_some() {
                        // The job found it before. Who asks does not wait for its time.
                        let ends = !self.how.patient && mark(&mut work, &id, now, false)?;
                        adopted.dropped += usize::from(ends);
                        continue;
                    }
                    let lease = self.given(target, account, now);
                    let value = encode_record(&lease)?;
                    edit(&mut work, leased(&id), queue, |txn| {
                        txn.get(&id)?;
                        Ok(txn.put_due(&id, value, Some(lease.expires))?)
                    })?;
                    adopted.dropped += 1;
                    adopted.fresh += 1;
                }
                work.finish()?
            };
            match commit(self.replica, proposal).await {
                Ok(_) => return Ok(adopted),
                Err(CommitError::Retry) => {}
                Err(CommitError::Refused) => return Err(Error::internal("a lease was refused")),
                Err(CommitError::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Contention)
    }

    fn path(&self, target: &str) -> String {
        format!("{}{PLACE}/{target}", self.mount.path)
    }

    fn lease_of(&self, opened: &Opened, target: &str, account: &str) -> String {
        let mut text = b"account without a lease\0".to_vec();
        text.extend_from_slice(&self.mount.id.to_be_bytes());
        for part in [target, account] {
            text.extend_from_slice(part.as_bytes());
            text.push(0);
        }
        let tag = opened.barrier().lease_hmac(&text);
        let name = hex::encode(tag.get(..NAME_BYTES).unwrap_or_default());
        id::mark(&format!("{}/{name}", self.path(target)), self.mount.namespace)
    }

    fn given(&self, target: &str, account: &str, now: Millis) -> LeaseRecord {
        let grace = if self.how.patient { GRACE } else { 0 };
        let mut record = LeaseRecord {
            namespace: self.mount.namespace,
            mount: self.mount.id,
            mount_path: self.mount.path.clone(),
            kind: self.mount.kind.clone(),
            path: self.path(target),
            owner: None,
            target: target.to_owned(),
            issued: now,
            expires: now.saturating_add(grace),
            renewed: 0,
            latest: 0,
            renewable: false,
            internal: self.engine.adopted(target, account),
            counted: None,
            ending: None,
        };
        if grace == 0 {
            record.begin_end(now, false);
        }
        record
    }
}

/// What came of giving leases.
#[derive(Clone, Copy, Default)]
struct Adopted {
    /// Accounts that go.
    dropped: usize,
    /// Those of them that were not known before.
    fresh: usize,
}

/// Shows every lease of a namespace, and every one in the making.
fn each_record(opened: &Opened, namespace: u32, see: &mut dyn FnMut(&LeaseRecord)) -> Result<(), Error> {
    for table in [Table::Lease, Table::Intent] {
        let from = Space::within(table, namespace).prefix();
        let mut failed = None;
        opened
            .view()
            .rows()
            .scan(&from, Some(&after_prefix(&from)), &mut |key, row| {
                let told = opened
                    .barrier()
                    .open_value(table as u8, key, &row.value)
                    .map_err(Error::from)
                    .and_then(|value| match table {
                        Table::Intent => {
                            decode_record::<IntentRecord>(value.expose()).map(|intent| intent.lease)
                        }
                        _ => decode_record::<LeaseRecord>(value.expose()),
                    });
                match told {
                    Ok(record) => see(&record),
                    Err(error) => failed = Some(error),
                }
                Ok(failed.is_none())
            })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

impl Core {
    /// Looks at the targets of all mounts: what has no lease is dropped when its time has come. How many accounts that are.
    ///
    /// # Errors
    /// The store's own. What one mount's engine or target says is logged, and the others are looked at.
    pub async fn reconcile_all(self: &Arc<Self>) -> Result<usize, Error> {
        let how = Reconcile {
            dry_run: false,
            unmarked: false,
            patient: true,
        };
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (_, derived) = session.view(replica.read().await?)?;
        let mut dropped = 0;
        for node in derived.catalog.tree().beneath(ROOT_NAMESPACE) {
            for mount in node.own.mounts(Category::Secret).values() {
                match reconcile(self, mount.id, how).await {
                    Ok(found) => dropped += found.iter().map(|found| found.dropped).sum::<usize>(),
                    Err(error) => {
                        tracing::warn!(%error, "the accounts of a mount are not compared with its leases")
                    }
                }
            }
        }
        if dropped > 0 {
            tracing::warn!(
                accounts = dropped,
                "accounts without a lease were found: they are dropped in an hour"
            );
        }
        Ok(dropped)
    }
}
