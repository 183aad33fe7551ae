//! Rows of engines that are due and whose engine then acts outside the cluster: rotations by time, and those that a crash left
//! unsettled. Each is begun by the leader alone, and moves its own deadline before anything is done.

use std::sync::Arc;

use conclave_barrier::RingKeys;
use conclave_engine_api::{Env, Millis, Txn};
use conclave_raft::Key;

use crate::acts::Act;
use crate::catalog::Catalog;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::leases::{self, Tried};
use crate::session::Session;
use crate::store::layout::{RING, open_key};
use crate::store::{CommitError, Opened, Space, Table, commit, expiry_queue};
use crate::sys::passwords::Policies;
use crate::work::{Readers, Work};

/// Most rows of a ring that are looked at for a count: one beyond says "many".
const MAX_DUE: usize = 20_000;

impl Core {
    /// How many rows are due whose engine acts outside then, and which nobody has begun with: rotations by time. One that
    /// nobody can read is not among them.
    pub(super) fn due_outside(
        &self,
        opened: &Opened,
        catalog: &Catalog,
        now: Millis,
    ) -> Result<usize, Error> {
        let others = opened.barrier().rings().map(RingKeys::number);
        let mut count = 0;
        for ring in std::iter::once(RING).chain(others) {
            let due = opened.view().rows().due(expiry_queue(ring), now, MAX_DUE)?;
            let acted_on = |key: &Key| matches!(self.acted_on_outside(opened, catalog, key), Ok(Some(_)));
            count += due.iter().filter(|(_, key)| acted_on(key)).count();
        }
        Ok(count)
    }

    /// Where a row lies, if its engine acts outside when it is due.
    fn acted_on_outside(
        &self,
        opened: &Opened,
        catalog: &Catalog,
        key: &Key,
    ) -> Result<Option<(Space, String)>, Error> {
        let (space, _) = Space::of_key(key)?;
        let mount = catalog.mount_by_id(space.mount);
        let engine = mount.and_then(|mount| self.engine_of(mount));
        let Some(engine) = engine.filter(|_| space.table == Table::Data) else {
            return Ok(None);
        };
        let (_, path) = open_key(opened.barrier(), key)?;
        Ok(engine.acts_when_due(&path).then_some((space, path)))
    }

    /// Takes out of `due` what is done outside, and has it done; the rest is the expiry job's.
    pub(super) fn begin_outside(
        self: &Arc<Self>,
        session: &Arc<Session>,
        due: Vec<(Millis, Key)>,
    ) -> Result<Vec<(Millis, Key)>, Error> {
        let (opened, derived) = session.view(self.seal.replica()?.view()?)?;
        let mut rest = Vec::with_capacity(due.len());
        for (deadline, key) in due {
            let Some((space, path)) = self.acted_on_outside(&opened, &derived.catalog, &key)? else {
                rest.push((deadline, key));
                continue;
            };
            if self.outside.begin(&key) {
                let (core, session) = (self.clone(), session.clone());
                let mount = derived.catalog.mount_by_id(space.mount);
                let mount = mount.map(|mount| mount.full_path()).unwrap_or_default();
                tokio::spawn(async move {
                    if let Err(error) = core.act_when_due(&session, space, (deadline, &key, &path)).await
                        && core.outside.failed(&key, Tried::Rotation)
                    {
                        tracing::warn!(%mount, row = %path, %error, "a rotation that is due failed: it is tried again");
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
        if let Some(begun) = begun {
            let done = leases::perform(self.clone(), session.clone(), begun).await;
            let lag = replica.now().saturating_sub(deadline);
            self.metrics.rotated(done.is_ok(), lag);
            done?;
        }
        self.outside.done(key);
        Ok(())
    }
}
