//! Ends what is due: tokens past their life with all that hangs on them, join tokens, engine rows with a deadline. One
//! round reads the due index up to the cluster's time and commits each end with the rows it rests on, so that a renewal
//! that committed first wins.

use std::sync::Arc;
use std::time::Duration;

use conclave_barrier::RingKeys;
use conclave_engine_api::{Env, Millis, Txn};
use conclave_raft::{Key, Op, Replica, View};

use crate::acts::Act;
use crate::answered;
use crate::auth;
use crate::catalog::{MountRecord, decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::identity;
use crate::jobs::LowWater;
use crate::leases::{self, Tried};
use crate::namespaces::{self, located};
use crate::session::Session;
use crate::store::layout::{RING, open_key, ring_of_key};
use crate::store::{CommitError, Space, Table, commit, expiry_queue};
use crate::work::{Left, Readers, Work};
use crate::{sys, tokens};

/// Most due entries of one round while nobody asks for anything.
pub(super) const MANY: usize = 32;

/// Most of one while requests come: what is applied at once is as long as every read waits.
pub(super) const FEW: usize = 8;

/// Changes after which a command takes no more ends.
const MAX_CHANGES: usize = 200;

/// Bytes of what is to be on record after which a command takes no more ends, roughly.
const MAX_TOLD: usize = 128 << 10;

/// Before what waits for the keys of a namespace is looked at again.
const SEALED_PAUSE: Millis = 60_000;

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

/// Why what is due was not ended.
enum Stays {
    /// Something it rests on has changed meanwhile.
    Moved,
    /// It cannot be ended as it is.
    Broken(Error),
}

impl Core {
    /// One round. Reads prove leadership: an old leader that wakes up cannot act on what it remembers.
    pub async fn expire_once(self: &Arc<Self>) -> Result<Round, Error> {
        self.expire_up_to(MANY).await
    }

    /// One of at most so many entries.
    pub(super) async fn expire_up_to(self: &Arc<Self>, most: usize) -> Result<Round, Error> {
        self.may_act()?;
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let view = replica.read().await?;
        let now = replica.now();
        let marked = self.low_water.holds();
        let mut found = due(&session, view.clone(), &self.low_water, (now, most))?;
        if found.is_empty() && marked {
            self.low_water.forget();
            found = due(&session, view, &self.low_water, (now, most))?;
        }
        let due = self.begin_outside(&session, found)?;
        let ended = self.end_all(&session, replica.as_ref(), &due).await?;
        if ended == 0 {
            // What is found stays for now, and there may be something that falls due before it.
            self.low_water.forget();
        }
        let lags = lags(due.get(..ended).unwrap_or_default(), now);
        self.metrics.expired(lags.len());
        for lag in lags {
            self.metrics.expired_late(lag);
        }
        // What ended may have left more that is due: children of a token, the next batch.
        Ok(if ended > 0 { Round::Full } else { Round::Drained })
    }

    /// Ends what is due in one command; if something it rests on has moved, or one of them cannot be ended, one by one: a row
    /// that nobody can read holds up no other. Returns how many ended.
    async fn end_all(
        &self,
        session: &Session,
        replica: &dyn Replica,
        due: &[(Millis, Key)],
    ) -> Result<usize, Error> {
        let (planned, outcome) = self.end_some(session, replica, due).await?;
        if outcome.is_ok() {
            return Ok(planned);
        }
        let mut ended = 0;
        for entry in due.iter().take(planned) {
            let (_, outcome) = self
                .end_some(session, replica, std::slice::from_ref(entry))
                .await?;
            match outcome {
                Ok(()) => ended += 1,
                // What changed under us is looked at again in the next round.
                Err(Stays::Moved) => {}
                Err(Stays::Broken(error)) => {
                    if self.outside.failed(&entry.1, Tried::End) {
                        tracing::error!(%error, "a row that is due cannot be ended: it stays, and is tried again");
                    }
                }
            }
        }
        Ok(ended)
    }

    /// One command for as many entries as fit into it. `Err` inside: nothing was done.
    async fn end_some(
        &self,
        session: &Session,
        replica: &dyn Replica,
        due: &[(Millis, Key)],
    ) -> Result<(usize, Result<(), Stays>), Error> {
        let (opened, derived) = session.view(replica.view()?)?;
        let now = replica.now();
        let (mut planned, mut told, mut acts) = (0, 0, Vec::new());
        let (proposal, noted) = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            work.draft.decided_at(now);
            for (deadline, key) in due {
                planned += 1;
                let before = acts.len();
                if let Err(error) = self.plan_end(&mut work, (*deadline, key), now, &mut acts) {
                    // What was planned of it is dropped with the rest.
                    return Ok((due.len(), Err(Stays::Broken(error))));
                }
                told += acts.iter().skip(before).map(Act::size).sum::<usize>();
                if work.size() > MAX_CHANGES || told > MAX_TOLD {
                    break;
                }
            }
            let noted = self.note(&opened, replica, acts)?;
            noted.add_to(&mut work.draft);
            (work.finish()?, noted)
        };
        match commit(replica, proposal).await {
            Ok(_) => {
                self.record_noted(noted).await;
                Ok((planned, Ok(())))
            }
            Err(CommitError::Retry | CommitError::Refused) => Ok((planned, Err(Stays::Moved))),
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
            if tokio::time::Instant::now() >= deadline || self.may_act().is_err() {
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
        let mut acts = Vec::new();
        let (proposal, noted, done) = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            let done = self.close_step(&mut work, name, &mut acts)?;
            let noted = self.note(&opened, replica, acts)?;
            noted.add_to(&mut work.draft);
            (work.finish()?, noted, done)
        };
        let mut closed = proposal.closed().to_vec();
        closed.retain(|child| child != name);
        commit(replica, proposal).await?;
        self.record_noted(noted).await;
        if done && closed.is_empty() {
            return Ok(None);
        }
        Ok(Some(closed))
    }

    /// Adds the end of one due entry to `work`, and to `acts` what is to be on record of it.
    fn plan_end(
        &self,
        work: &mut Work<'_>,
        (deadline, key): (Millis, &Key),
        now: Millis,
        acts: &mut Vec<Act>,
    ) -> Result<(), Error> {
        let opened = work.opened();
        let row = opened.view().rows().get(key)?;
        if row.is_none_or(|row| row.deadline != deadline) {
            // Left over from a row that moved on without its index entry; nothing is due.
            work.draft.op(Op::DueDelete {
                queue: expiry_queue(ring_of_key(key)?),
                deadline,
                key: key.clone(),
            });
            return Ok(());
        }
        let (space, path) = open_key(opened.barrier(), key)?;
        match space.table {
            Table::Token => {
                let name = located::locate(space.namespace, &path);
                if let Some(found) = tokens::by_name(work, &name, 0)? {
                    tokens::revoke(work, &found)?;
                    let accessor = found.record.accessor.as_str();
                    acts.push(Act::end("auth/token/expire", "accessor", accessor));
                }
            }
            Table::Closing => {
                self.close_step(work, &located::locate(space.namespace, &path), acts)?;
            }
            Table::Admission => {
                acts.push(Act::end(
                    "sys/storage/raft/join-token/expire",
                    "id",
                    path.as_str(),
                ));
                sys::admission_due(work, &path)?;
            }
            Table::Answered => answered::forget(work, space.namespace, &path)?,
            Table::LoginFailures => auth::lockout::forget(work, space.namespace, &path)?,
            Table::Mfa => identity::mfa::forget(work, space.namespace, &path)?,
            Table::Data => {
                let mount = work.catalog.mount_by_id(space.mount);
                let path_of = |mount: &Arc<MountRecord>| format!("{}{path}", mount.full_path());
                acts.extend(mount.map(|mount| Act::change(path_of(mount))));
                self.engine_due(work, space, &path, now)?;
            }
            _ => return Err(Error::internal("a row of this table cannot fall due")),
        }
        Ok(())
    }

    /// One batch of what hangs on a closed token: its children, then what engines keep for it; or of what is in a namespace
    /// that ends; or the end of a token that is used up. Whether nothing is left.
    fn close_step(&self, work: &mut Work<'_>, name: &str, acts: &mut Vec<Act>) -> Result<bool, Error> {
        if name.starts_with(namespaces::CLOSING_PREFIX) {
            return namespaces::close_step(work, name, self.seal.now());
        }
        if let Some(token) = tokens::spent_token(name) {
            tokens::end_spent(work, &token, &mut |accessor| {
                acts.push(super::spent::ended(accessor))
            })?;
            return Ok(true);
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
        let now = self.seal.now();
        let mut left = tokens::close_children(work, name, &mut |accessor| {
            acts.push(Act::end("auth/token/revoke", "accessor", accessor));
        })?;
        left = left.max(leases::end_of_owner(work, name, now)?);
        let mut done = true;
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
        match left {
            Left::More => return Ok(false),
            _ if !done => return Ok(false),
            Left::Nothing => work.closing.delete(name)?,
            Left::Sealed => {
                let later = now.saturating_add(SEALED_PAUSE);
                work.closing.put_due(name, encode_record(&())?, Some(later))?;
            }
        }
        Ok(true)
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

/// What is due in the queues of all rings whose keys are here. That of a sealed namespace waits until it is open.
fn due(
    session: &Session,
    view: Arc<View>,
    low_water: &LowWater,
    (now, most): (Millis, usize),
) -> Result<Vec<(Millis, Key)>, Error> {
    let (opened, _) = session.view(view)?;
    let others = opened.barrier().rings().map(RingKeys::number);
    let mut due = Vec::new();
    for ring in std::iter::once(RING).chain(others) {
        let (queue, room) = (expiry_queue(ring), most - due.len());
        let rows = opened.view().rows();
        let found = rows.due_from(queue, low_water.of(queue), now, room)?;
        if let Some((first, _)) = found.first() {
            low_water.found(queue, *first);
        }
        due.extend(found);
        if due.len() >= most {
            break;
        }
    }
    Ok(due)
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
