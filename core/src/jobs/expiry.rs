//! Ends what is due: tokens past their life with all that hangs on them, join tokens, engine rows with a deadline. One
//! round reads the due index up to the cluster's time and commits each end with the rows it rests on, so that a renewal
//! that committed first wins.

use std::sync::Arc;
use std::time::Duration;

use conclave_engine_api::{Env, Millis, Txn};
use conclave_raft::{Key, Op, Replica};

use crate::acts::Act;
use crate::answered;
use crate::auth;
use crate::catalog::{MountRecord, decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::identity;
use crate::leases;
use crate::namespaces::{self, located};
use crate::session::Session;
use crate::store::layout::open_key;
use crate::store::{CommitError, EXPIRY_QUEUE, Space, Table, commit};
use crate::work::{Readers, Work};
use crate::{sys, tokens};

/// Most due entries of one round.
const BATCH: usize = 256;

/// Changes after which a command takes no more ends; far below the most a command may hold.
const MAX_CHANGES: usize = 1500;

/// The deadline of rows that are due as soon as they are written.
const FIRST_MILLISECOND: Millis = 1;

/// How long a revocation may go on closing children before it is answered.
const CLOSE_INLINE: Duration = Duration::from_secs(5);

/// What a round left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// As much as one round takes was due: there may be more.
    Full,
    /// Nothing more is due.
    Drained,
}

impl Core {
    /// One round. Reads prove leadership: an old leader that wakes up cannot act on what it remembers.
    pub async fn expire_once(self: &Arc<Self>) -> Result<Round, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let view = replica.read().await?;
        let now = replica.now();
        let due = self.begin_outside(&session, view.rows().due(EXPIRY_QUEUE, now, BATCH)?)?;
        let ended = self.end_all(&session, replica.as_ref(), &due).await?;
        let lags = lags(due.get(..ended).unwrap_or_default(), now);
        self.metrics.expired(lags.len());
        for lag in lags {
            self.metrics.expired_late(lag);
        }
        // What ended may have left more that is due: children of a token, the next batch.
        Ok(if ended > 0 { Round::Full } else { Round::Drained })
    }

    /// Ends what is due in one command; if something it rests on has moved, one by one. Returns how many ended.
    async fn end_all(
        &self,
        session: &Session,
        replica: &dyn Replica,
        due: &[(Millis, Key)],
    ) -> Result<usize, Error> {
        let (planned, outcome) = self.end_some(session, replica, due).await?;
        if outcome.is_ok() || planned < 2 {
            return Ok(if outcome.is_ok() { planned } else { 0 });
        }
        let mut ended = 0;
        for entry in due.iter().take(planned) {
            let (_, outcome) = self
                .end_some(session, replica, std::slice::from_ref(entry))
                .await?;
            // What changed under us is looked at again in the next round.
            ended += usize::from(outcome.is_ok());
        }
        Ok(ended)
    }

    /// One command for as many entries as fit into it. `Err` inside: something moved, nothing was done.
    async fn end_some(
        &self,
        session: &Session,
        replica: &dyn Replica,
        due: &[(Millis, Key)],
    ) -> Result<(usize, Result<(), ()>), Error> {
        let (opened, derived) = session.view(replica.view()?)?;
        let now = replica.now();
        let (mut planned, mut acts) = (0, Vec::new());
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            work.draft.decided_at(now);
            for (deadline, key) in due {
                acts.extend(self.plan_end(&mut work, *deadline, key, now)?);
                planned += 1;
                if work.size() > MAX_CHANGES {
                    break;
                }
            }
            work.finish()?
        };
        match commit(replica, proposal).await {
            Ok(_) => {
                self.record_acts(&acts).await;
                Ok((planned, Ok(())))
            }
            Err(CommitError::Retry | CommitError::Refused) => Ok((planned, Err(()))),
            Err(CommitError::Failed(error)) => Err(error),
        }
    }

    /// Removes what hangs on tokens that a request has just revoked, before it is answered. What is not done in time is
    /// left to the leader: the closing rows are in the due index.
    pub(crate) async fn close_tokens(
        &self,
        session: &Session,
        replica: &dyn Replica,
        mut names: Vec<String>,
    ) {
        let deadline = tokio::time::Instant::now() + CLOSE_INLINE;
        while let Some(name) = names.pop() {
            if tokio::time::Instant::now() >= deadline {
                return;
            }
            match self.close_one(session, replica, &name).await {
                Ok(Some(more)) => {
                    names.push(name);
                    names.extend(more);
                }
                Ok(None) => {}
                Err(CommitError::Retry) => names.push(name),
                Err(_) => return,
            }
        }
    }

    /// One batch of one closed token; `Some` with newly closed children if there may be more, `None` when it is done.
    async fn close_one(
        &self,
        session: &Session,
        replica: &dyn Replica,
        name: &str,
    ) -> Result<Option<Vec<String>>, CommitError> {
        let (opened, derived) = session.view(replica.view().map_err(Error::from)?)?;
        let (proposal, done) = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            let done = self.close_step(&mut work, name)?;
            (work.finish()?, done)
        };
        let mut closed = proposal.closed().to_vec();
        closed.retain(|child| child != name);
        commit(replica, proposal).await?;
        if done && closed.is_empty() {
            return Ok(None);
        }
        Ok(Some(closed))
    }

    /// Adds the end of one due entry to `work`; what is to be on record of it.
    fn plan_end(
        &self,
        work: &mut Work<'_>,
        deadline: Millis,
        key: &Key,
        now: Millis,
    ) -> Result<Option<Act>, Error> {
        let opened = work.opened();
        let row = opened.view().rows().get(key)?;
        if row.is_none_or(|row| row.deadline != deadline) {
            // Left over from a row that moved on without its index entry; nothing is due.
            work.draft.op(Op::DueDelete {
                queue: EXPIRY_QUEUE,
                deadline,
                key: key.clone(),
            });
            return Ok(None);
        }
        let (space, path) = open_key(opened.barrier(), key)?;
        let mut act = None;
        match space.table {
            Table::Token => {
                let name = located::locate(space.namespace, &path);
                if let Some(found) = tokens::by_name(work, &name, 0)? {
                    tokens::revoke(work, &found)?;
                    let accessor = found.record.accessor.as_str();
                    act = Some(Act::end("auth/token/expire", "accessor", accessor));
                }
            }
            Table::Closing => {
                self.close_step(work, &located::locate(space.namespace, &path))?;
            }
            Table::Admission => {
                act = Some(Act::end(
                    "sys/storage/raft/join-token/expire",
                    "id",
                    path.as_str(),
                ));
                sys::admission_due(work, &path)?;
            }
            Table::Answered => answered::forget(work, space.namespace, &path)?,
            Table::LoginFailures => auth::lockout::forget(work, space.namespace, &path)?,
            Table::Data => {
                let mount = work.catalog.mount_by_id(space.mount);
                let path_of = |mount: &Arc<MountRecord>| format!("{}{path}", mount.full_path());
                act = mount.map(|mount| Act::change(path_of(mount)));
                self.engine_due(work, space, &path, now)?;
            }
            _ => return Err(Error::internal("a row of this table cannot fall due")),
        }
        Ok(act)
    }

    /// One batch of what hangs on a closed token: its children, then what engines keep for it; or of what is in a namespace
    /// that ends. Whether nothing is left.
    fn close_step(&self, work: &mut Work<'_>, name: &str) -> Result<bool, Error> {
        if name.starts_with(namespaces::CLOSING_PREFIX) {
            return namespaces::close_step(work, name, self.seal.now());
        }
        let Some(row) = work.closing.get(name)? else {
            return Ok(true);
        };
        if let Some(closes) = leases::closes(name) {
            let mut cursor = decode_record(&row.value)?;
            let done = leases::end_of_prefix(work, closes, &mut cursor, self.seal.now())?;
            match done {
                true => work.closing.delete(name)?,
                false => {
                    work.closing
                        .put_due(name, encode_record(&cursor)?, row.deadline)?;
                }
            }
            return Ok(done);
        }
        let mut done = tokens::close_children(work, name)?;
        done &= leases::end_of_owner(work, name, self.seal.now())?;
        // A token has cubbyholes in its own namespace and in those beneath.
        let tree = work.catalog.tree();
        let reached = tree.beneath(located::split(name).0);
        for record in reached
            .iter()
            .flat_map(|node| tree.secret_mounts(node.record.number))
        {
            let Some(engine) = self.engines.get(record.kind.as_str()) else {
                continue;
            };
            let space = record.space();
            let reader = work.opened().space(space);
            let mut txn = Txn::new(&reader);
            let mount = record.to_mount(self.settings.default_lease_ttl, self.settings.max_lease_ttl);
            done &= engine.forget_caller(&mut txn, &mount, name)?;
            work.draft.include(space, txn.into_changes())?;
        }
        if let Some((namespace, mount)) = auth::mount_of_owner(name) {
            done &= identity::forget_mount(work, namespace, mount)?;
        }
        if done {
            work.closing.delete(name)?;
        }
        Ok(done)
    }

    fn engine_due(&self, work: &mut Work<'_>, space: Space, path: &str, now: Millis) -> Result<(), Error> {
        let reader = work.opened().space(space);
        let mut txn = Txn::new(&reader);
        let mount = work.catalog.mount_by_id(space.mount);
        match mount.and_then(|mount| self.engine_of(mount).map(|engine| (mount, engine))) {
            Some((mount, engine)) => {
                let settings = &self.settings;
                let mount = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
                let mut entropy = OsEntropy;
                let mut env = Env::new(now, &mut entropy).with_workshop(&self.workshop);
                engine.due(&mut txn, &mount, path, &mut env)?;
            }
            None => {
                // The mount is gone: nobody can read the row again, save leases it has left, whose target it may tell of. It
                // stays with what else the mount had, and falls due no more.
                if let Some(row) = txn.get(path)? {
                    txn.put_due(path, row.value, None)?;
                }
            }
        }
        work.draft.include(space, txn.into_changes())
    }
}

/// How late rows are that ended at `now`. Closing rows fall due at once, by a deadline in the first millisecond of all: their
/// time is nobody's, and they are left out.
fn lags(ended: &[(Millis, Key)], now: Millis) -> Vec<Millis> {
    let timed = ended.iter().filter(|(deadline, _)| *deadline > FIRST_MILLISECOND);
    timed.map(|(deadline, _)| now.saturating_sub(*deadline)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_close_something_are_not_late() {
        let row = |deadline| (deadline, Key::from_static(b"row"));
        assert_eq!(lags(&[row(900), row(1), row(1000)], 1000), [100, 0]);
    }
}
