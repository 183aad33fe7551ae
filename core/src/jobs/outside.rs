//! Rows of engines that are due and whose engine then acts outside the cluster: rotations by time, and those that a crash left
//! unsettled. Each is begun by the leader alone, and moves its own deadline before anything is done.

use std::sync::Arc;

use conclave_engine_api::{Env, Millis, Txn};
use conclave_raft::Key;

use crate::acts::Act;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::leases;
use crate::session::Session;
use crate::store::layout::open_key;
use crate::store::{CommitError, Space, Table, commit};
use crate::sys::passwords::Policies;
use crate::work::{Readers, Work};

impl Core {
    /// Takes out of `due` what is done outside, and has it done; the rest is the expiry job's.
    pub(super) fn begin_outside(
        self: &Arc<Self>,
        session: &Arc<Session>,
        due: Vec<(Millis, Key)>,
    ) -> Result<Vec<(Millis, Key)>, Error> {
        let (opened, derived) = session.view(self.seal.replica()?.view()?)?;
        let mut rest = Vec::with_capacity(due.len());
        for (deadline, key) in due {
            let (space, _) = Space::of_key(&key)?;
            let mount = derived.catalog.mount_by_id(space.mount);
            let engine = mount.and_then(|mount| self.engine_of(mount));
            let Some(engine) = engine.filter(|_| space.table == Table::Data) else {
                rest.push((deadline, key));
                continue;
            };
            let (_, path) = open_key(opened.barrier(), &key)?;
            if !engine.acts_when_due(&path) {
                rest.push((deadline, key));
            } else if self.outside.begin(&key) {
                let (core, session) = (self.clone(), session.clone());
                tokio::spawn(async move {
                    if let Err(error) = core.act_when_due(&session, space, (deadline, &key, &path)).await {
                        tracing::warn!(%error, "what an engine has to do outside is put off");
                    }
                    core.outside.end(&key);
                });
            }
        }
        Ok(rest)
    }

    async fn act_when_due(
        self: &Arc<Self>,
        session: &Arc<Session>,
        space: Space,
        (deadline, key, path): (Millis, &Key, &str),
    ) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let (opened, derived) = session.view(replica.read().await?)?;
        let Some(mount) = derived.catalog.mount_by_id(space.mount) else {
            return Ok(());
        };
        let engine = self
            .engine_of(mount)
            .ok_or_else(|| Error::internal("an engine is gone"))?;
        let full_path = format!("{}{path}", mount.full_path());
        let now = replica.now();
        let (proposal, begun) = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            work.draft.decided_at(now);
            let reader = opened.space(space);
            let mut txn = Txn::new(&reader);
            let settings = &self.settings;
            let seen = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
            let mut entropy = OsEntropy;
            let policies = Policies::of(&opened, space.namespace);
            let mut env = Env::new(now, &mut entropy)
                .with_workshop(&self.workshop)
                .with_passwords(&policies);
            let effect = engine.due_outside(&mut txn, &seen, path, &mut env)?;
            work.draft.include(space, txn.into_changes())?;
            let act = Act::change(full_path);
            let begun = effect.map(|effect| leases::begin_due(self, mount, *effect, now, act));
            (work.finish()?, begun.transpose()?)
        };
        match commit(replica.as_ref(), proposal).await {
            Ok(_) => {}
            // Somebody else changed it: it is looked at again if it is still due.
            Err(CommitError::Retry | CommitError::Refused) => return Ok(()),
            Err(CommitError::Failed(error)) => return Err(error),
        }
        match begun {
            Some(begun) => {
                let done = leases::perform(self.clone(), session.clone(), begun).await;
                let lag = replica.now().saturating_sub(deadline);
                self.metrics.rotated(done.is_ok(), lag);
                self.outside.tried(key, done.is_ok());
                done.map(|_| ())
            }
            None => {
                self.outside.tried(key, true);
                Ok(())
            }
        }
    }
}
