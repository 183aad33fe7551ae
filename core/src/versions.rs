//! Which versions of the program led this cluster, and since when. The first is stored with the cluster's birth, every other by
//! the leader that runs it. It must not know what a version can do: that is the replication's to decide.

use serde::{Deserialize, Serialize};

use conclave_engine_api::Millis;

use crate::catalog::{decode_record, encode_record};
use crate::core::{Core, Settings};
use crate::error::Error;
use crate::store::{CommitError, commit};
use crate::work::{Readers, Work};

/// Where they are stored, among the configuration of the cluster.
const VERSIONS: &str = "versions";
/// Most versions that are remembered; the oldest are forgotten first.
const MAX: usize = 64;

/// One version, from when it first led.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// The version of the API that clients are told.
    pub api: String,
    /// Conclave's own.
    pub version: String,
    /// When that build was made, RFC 3339; empty if unknown.
    pub built: String,
    /// Since when, in the cluster's time.
    pub since: Millis,
}

impl Installed {
    fn of(settings: &Settings, since: Millis) -> Self {
        Self {
            api: settings.vault_version.clone(),
            version: settings.conclave_version.clone(),
            built: settings.build_date.clone(),
            since,
        }
    }

    fn is_of(&self, settings: &Settings) -> bool {
        self.api == settings.vault_version && self.version == settings.conclave_version
    }
}

/// The versions that led, in their order.
pub(crate) fn installed(work: &mut Work<'_>) -> Result<Vec<Installed>, Error> {
    let row = work.cluster.get(VERSIONS)?;
    Ok(row
        .map(|row| decode_record(&row.value))
        .transpose()?
        .unwrap_or_default())
}

/// Adds the version of these settings behind the others, unless it led before: while members are upgraded one by one, those that
/// lead may run now the one, now the other.
pub(crate) fn install(work: &mut Work<'_>, settings: &Settings, now: Millis) -> Result<bool, Error> {
    let mut all = installed(work)?;
    if all.iter().any(|one| one.is_of(settings)) {
        return Ok(false);
    }
    all.push(Installed::of(settings, now));
    all.drain(..all.len().saturating_sub(MAX));
    work.cluster.put(VERSIONS, encode_record(&all)?)?;
    Ok(true)
}

impl Core {
    /// Stores that this version leads, once. Whoever else changes the catalog at the same time goes first.
    pub async fn install_version(&self) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, derived) = session.view(replica.read().await?)?;
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            if !install(&mut work, &self.settings, replica.now())? {
                return Ok(());
            }
            work.finish()?
        };
        drop(opened);
        match commit(replica.as_ref(), proposal).await {
            Ok(_) | Err(CommitError::Retry | CommitError::Refused) => Ok(()),
            Err(CommitError::Failed(error)) => Err(error),
        }
    }
}
