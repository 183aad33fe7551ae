//! Operators' snapshots: the whole state in one file, and back. Made by an unsealed node, which vouches for it with a
//! key; restored through the log, all of it or nothing, on every node. The members of the cluster are no part of it.

pub mod bundle;
mod check;
mod file;
mod gate;
mod gzip;
mod spool;
mod stage;
mod tar;

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use conclave_barrier::Entropy as _;

use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::effects;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::rows;
use crate::session::Session;
use crate::store::Opened;

use check::Checked;
pub use file::{FORMAT, MAX_FILE, Meta};
pub use spool::Spool;
pub(crate) use stage::forget_stagings;
use stage::{Staging, off_thread};

/// At most one snapshot is made or restored at a time on a node.
pub(crate) type Backups = tokio::sync::Mutex<()>;

/// What a restore may put in the place of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    /// A snapshot of this barrier that the present shares open.
    Own,
    /// Any whole snapshot. Its own shares may be needed after it.
    Any,
}

/// What can be said of a snapshot file without keys.
pub struct Inspected {
    /// What it says of itself; checked against its content.
    pub meta: Meta,
    /// Length of the file.
    pub file_bytes: u64,
    /// SHA-256 of the state in it.
    pub state_digest: [u8; 32],
}

/// Reads a whole snapshot file and checks all that needs no keys.
///
/// # Errors
/// `Error::Invalid` for a file that is no whole snapshot of a known format.
pub fn inspect(path: &Path) -> Result<Inspected, Error> {
    let checked = Checked::read(path)?;
    let file_bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    Ok(Inspected {
        meta: checked.meta,
        file_bytes,
        state_digest: checked.ending.digest,
    })
}

impl Core {
    /// Writes a snapshot of the newest committed state into a scratch file.
    pub(crate) async fn save_backup(&self) -> Result<Spool, Error> {
        let _alone = self.backups.try_lock().map_err(|_| busy())?;
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.read().await?)?;
        let mut meta = self.describe(&opened)?;
        let path = self.scratch_file()?;
        let spool = off_thread(move || {
            let view = opened.view();
            let measured = file::Measured::of(view)?;
            measured.describe(&mut meta);
            let created = Spool::create(path);
            let (spool, out) =
                created.map_err(|error| Error::internal(format!("making a file for a snapshot: {error}")))?;
            let out = BufWriter::with_capacity(1 << 17, out);
            file::write(view, opened.barrier(), &meta, measured, out)?;
            Ok(spool)
        })
        .await?;
        let bytes = std::fs::metadata(spool.path()).map_or(0, |found| found.len());
        self.metrics.snapshot_saved(replica.now(), bytes);
        Ok(spool)
    }

    /// Puts the snapshot in `path` in the place of the cluster's state. Everything is checked before anything changes.
    /// With `pause_effects` the state begins with its effects outside paused.
    pub(crate) async fn restore_backup(
        &self,
        path: PathBuf,
        accept: Accept,
        pause_effects: bool,
    ) -> Result<(), Error> {
        let _alone = self.backups.try_lock().map_err(|_| busy())?;
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let read_path = path.clone();
        let checked = off_thread(move || Checked::read(&read_path)).await?;
        let view = replica.read().await?;
        let (opened, _) = session.view(view)?;
        checked.fits(&opened, replica.now())?;
        let own = checked.is_of(&session, &opened)?;
        if accept == Accept::Own {
            must_be_own(&checked, &session, own)?;
        }
        // A change of keys or shares meanwhile must not be undone unseen. With force it may.
        let expect = match accept {
            Accept::Own => vec![
                rows::expect_seal(rows::seal_revision(opened.view())?),
                rows::expect_keyring(rows::keyring_revision(opened.view())?),
            ],
            Accept::Any => Vec::new(),
        };
        // What is paused now is not let go on by a state from before.
        let pause = (pause_effects || effects::paused(opened.view())?).then(effects::pause);
        let keep = rows::keep_seal_epoch(opened.view())?
            .into_iter()
            .chain(pause)
            .chain(checked.seal_rings(opened.view())?)
            .collect();
        drop(opened);
        let mut id = [0; 16];
        OsEntropy.fill(&mut id);
        let mut staging = Staging::new(replica.as_ref(), id);
        let done = match staging.fill(&path).await {
            Ok(()) => staging.adopt(checked.ending.digest, &expect, keep).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            // What may yet be committed is left to be, or to the leader.
            if !matches!(error, Error::OutcomeUnknown) {
                staging.abandon().await;
            }
            return Err(error);
        }
        tracing::warn!(
            revision = checked.meta.revision,
            made_at = checked.meta.made_at,
            cluster = checked.meta.cluster_name,
            "the state was replaced by a snapshot"
        );
        drop(session);
        self.follow_keys().await;
        Ok(())
    }

    fn describe(&self, opened: &Opened) -> Result<Meta, Error> {
        let (view, applied) = (opened.view(), opened.view().applied());
        let seal = rows::seal_config(view)?.ok_or(Error::NotInitialized)?;
        let cluster_id = self
            .launcher
            .membership()?
            .map(|membership| membership.cluster_id);
        Ok(Meta {
            format: FORMAT,
            made_by: format!("conclave {}", self.settings.conclave_version),
            made_at: rfc3339(applied.cluster_time),
            cluster_name: rows::cluster_name(view)?,
            cluster_id: cluster_id.map(crate::sys::uuid_text).unwrap_or_default(),
            barrier_id: hex::encode(opened.barrier().id().as_bytes()),
            seal_generation: seal.generation(),
            seal_threshold: seal.threshold(),
            keyring_generation: opened.barrier().keyring().generation(),
            revision: applied.revision,
            cluster_time: applied.cluster_time,
            min_term: applied.min_term,
            cluster_version: applied.cluster_version,
            rows: 0,
            due: 0,
            state_bytes: 0,
        })
    }

    fn scratch_file(&self) -> Result<PathBuf, Error> {
        let mut random = [0; 8];
        OsEntropy.fill(&mut random);
        let dir = self.launcher.scratch();
        std::fs::create_dir_all(&dir)
            .map_err(|error| Error::internal(format!("making a directory for snapshots: {error}")))?;
        Ok(dir.join(format!("snapshot-{}", hex::encode(random))))
    }
}

fn must_be_own(checked: &Checked, session: &Session, own: bool) -> Result<(), Error> {
    // The first words are those that Vault's clients know.
    const OTHER_KEYS: &str = "could not verify hash file, possibly the snapshot is using a different set of unseal keys; \
         use the snapshot-force API to bypass this check";
    if !own {
        return Err(Error::invalid(format!(
            "{OTHER_KEYS}. It is of another cluster ({:?}): after a forced restore the shares of that one are needed",
            checked.meta.cluster_name
        )));
    }
    if !checked.opens_with(session) {
        return Err(Error::invalid(format!(
            "{OTHER_KEYS}. It is from before the shares were changed: after a forced restore those of generation {} are needed",
            checked.meta.seal_generation
        )));
    }
    Ok(())
}

fn busy() -> Error {
    Error::Overloaded("another snapshot is being made or restored on this node".to_owned())
}
