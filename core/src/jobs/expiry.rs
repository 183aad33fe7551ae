//! Ends what is due: tokens past their life with all that hangs on them, join tokens, engine rows with a deadline. One
//! round reads the due index up to the cluster's time and commits each end with the rows it rests on, so that a renewal
//! that committed first wins.

use std::sync::Arc;
use std::time::Duration;

use conclave_engine_api::{Env, Millis, Txn};
use conclave_raft::{Key, Op, Replica};

use crate::answered;
use crate::catalog::Category;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::session::{Derived, Session};
use crate::store::layout::open_key;
use crate::store::{CommitError, EXPIRY_QUEUE, Opened, Proposal, Space, Table, commit};
use crate::work::{Readers, Work};
use crate::{sys, tokens};

/// Most due entries of one round.
const BATCH: usize = 256;

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
        let due = view.rows().due(EXPIRY_QUEUE, now, BATCH)?;
        let (answers, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, key)| answered::is_answer(key));
        let mut ended = 0;
        // Every write of an SDK leaves an answer, so they end together and not one by one.
        match commit(replica.as_ref(), answered::forget(&view, &answers)?).await {
            Ok(_) => ended += answers.len(),
            Err(CommitError::Retry | CommitError::Refused) => {}
            Err(CommitError::Failed(error)) => return Err(error),
        }
        for (deadline, key) in &due {
            match self.end_one(&session, replica.as_ref(), *deadline, key).await {
                Ok(()) => ended += 1,
                // It changed under us: the next round sees what became of it.
                Err(CommitError::Retry | CommitError::Refused) => {}
                Err(CommitError::Failed(error)) => return Err(error),
            }
        }
        self.metrics.expired(ended);
        // What ended may have left more that is due: children of a token, the next batch.
        Ok(if ended > 0 { Round::Full } else { Round::Drained })
    }

    async fn end_one(
        &self,
        session: &Session,
        replica: &dyn Replica,
        deadline: Millis,
        key: &Key,
    ) -> Result<(), CommitError> {
        let (opened, derived) = session.view(replica.view().map_err(Error::from)?)?;
        let now = replica.now();
        let proposal = self.plan_end(&opened, &derived, deadline, key, now)?;
        commit(replica, proposal).await?;
        Ok(())
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
            let done = tokens::close_batch(&mut work, name, cubbyhole(&derived))?;
            (work.finish()?, done)
        };
        let mut closed = proposal.closed().to_vec();
        commit(replica, proposal).await?;
        if done && closed.is_empty() {
            return Ok(None);
        }
        closed.retain(|child| child != name);
        Ok(Some(closed))
    }

    fn plan_end(
        &self,
        opened: &Opened,
        derived: &Derived,
        deadline: Millis,
        key: &Key,
        now: Millis,
    ) -> Result<Proposal, Error> {
        let row = opened.view().rows().get(key)?;
        if row.is_none_or(|row| row.deadline != deadline) {
            // Left over from a row that moved on without its index entry; nothing is due.
            let stale = Op::DueDelete {
                queue: EXPIRY_QUEUE,
                deadline,
                key: key.clone(),
            };
            return Ok(Proposal::new(Vec::new(), vec![stale]));
        }
        let (space, path) = open_key(opened.barrier(), key)?;
        let readers = Readers::new(opened);
        let mut work = Work::new(&readers, &derived.catalog);
        work.draft.decided_at(now);
        match space.table {
            Table::Token => {
                if let Some(found) = tokens::by_name(&mut work, &path, 0)? {
                    tokens::revoke(&mut work, &found)?;
                }
            }
            Table::Closing => {
                tokens::close_batch(&mut work, &path, cubbyhole(derived))?;
            }
            Table::Admission => sys::join_token_due(&mut work, &path)?,
            Table::Data => self.engine_due(opened, &mut work, space, &path, now)?,
            _ => return Err(Error::internal("a row of this table cannot fall due")),
        }
        work.finish()
    }

    fn engine_due(
        &self,
        opened: &Opened,
        work: &mut Work<'_>,
        space: Space,
        path: &str,
        now: Millis,
    ) -> Result<(), Error> {
        let reader = opened.space(space);
        let mut txn = Txn::new(&reader);
        let mount = work.catalog.mount_by_id(space.mount);
        match mount.and_then(|mount| {
            self.engines
                .get(mount.kind.as_str())
                .map(|engine| (mount, engine))
        }) {
            Some((mount, engine)) => {
                let settings = &self.settings;
                let mount = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
                let mut entropy = OsEntropy;
                engine.due(&mut txn, &mount, path, &mut Env::new(now, &mut entropy))?;
            }
            None => {
                // The mount is gone: nobody can read the row again.
                txn.get(path)?;
                txn.delete(path)?;
            }
        }
        work.draft.include(space, txn.into_changes())
    }
}

/// Where cubbyholes are.
fn cubbyhole(derived: &Derived) -> Option<Space> {
    let mounts = derived.catalog.mounts(Category::Secret);
    mounts.get("cubbyhole/").map(|mount| Space::of_mount(mount.id))
}
