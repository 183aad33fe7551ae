//! The birth of a cluster, and a node's way into or back into one.

use std::sync::Arc;

use zeroize::Zeroizing;

use conclave_barrier::{Barrier, BarrierId, Entropy as _, Keyring, RootKey, SealConfig, SecretBytes};
use conclave_engine_api::Env;
use conclave_raft::Replica;

use crate::catalog::{Catalog, PolicyRecord, encode_record};
use crate::core::{Core, Settings};
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::launcher::Membership;
use crate::policy::DEFAULT;
use crate::seal::{Peers, rows};
use crate::store::layout::ROOT_NAMESPACE;
use crate::store::{CommitError, NameCache, Opened, Proposal, commit};
use crate::sys::mounts::{BORN, NEXT_ID, born_with};
use crate::tokens::{NewToken, mint};
use crate::versions::install;
use crate::work::{Readers, Work};

/// Most shares.
const MAX_SHARES: i64 = 255;

/// How a root key is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Shares made.
    pub shares: u8,
    /// Shares needed.
    pub threshold: u8,
}

impl Threshold {
    /// Checks what a client asked for, with Vault's texts.
    pub fn check(shares: i64, threshold: i64) -> Result<Self, Error> {
        if shares < 1 {
            return Err(Error::invalid(
                "invalid seal configuration: shares must be at least one",
            ));
        }
        if threshold < 1 {
            return Err(Error::invalid(
                "invalid seal configuration: threshold must be at least one",
            ));
        }
        if shares > MAX_SHARES || threshold > MAX_SHARES {
            return Err(Error::invalid(
                "invalid seal configuration: shares and threshold must be at most 255",
            ));
        }
        if shares > 1 && threshold == 1 {
            return Err(Error::invalid(
                "invalid seal configuration: threshold must be greater than one for multiple shares",
            ));
        }
        if threshold > shares {
            return Err(Error::invalid(
                "invalid seal configuration: threshold cannot be larger than shares",
            ));
        }
        let narrow = |number: i64| u8::try_from(number).map_err(|_| Error::internal("checked above"));
        Ok(Self {
            shares: narrow(shares)?,
            threshold: narrow(threshold)?,
        })
    }
}

/// What init hands out, once.
pub struct Initialized {
    /// The shares.
    pub shares: Vec<SecretBytes>,
    /// The first root token.
    pub root_token: Zeroizing<String>,
}

impl Core {
    /// Takes part again in the cluster this node remembers; does nothing if there is none.
    pub async fn resume(self: &Arc<Self>) -> Result<(), Error> {
        let _alone = self.seal.changing.lock().await;
        let Some(membership) = self.launcher.membership()? else {
            return Ok(());
        };
        let replica = self
            .launcher
            .resume(membership, Arc::new(Peers::new(self)))
            .await?;
        replica.set_eligible(false);
        self.recall_mark()?;
        self.seal.set_replica(replica);
        self.tend_seal();
        Ok(())
    }

    /// Founds a cluster. Allowed again after a crash that left one without a barrier.
    pub async fn init(
        self: &Arc<Self>,
        split: Threshold,
        root_token: Option<String>,
    ) -> Result<Initialized, Error> {
        let _alone = self.seal.changing.lock().await;
        if self.is_initialized()? {
            return Err(Error::invalid("Vault is already initialized"));
        }
        let replica = match self.seal.replica() {
            Ok(replica) => replica,
            Err(_) => {
                let mut cluster_id = [0u8; 16];
                OsEntropy.fill(&mut cluster_id);
                let replica = self
                    .launcher
                    .found(cluster_id, Arc::new(Peers::new(self)))
                    .await?;
                self.seal.set_replica(replica.clone());
                self.tend_seal();
                replica
            }
        };
        let born = self.birth(replica.as_ref(), split, root_token).await?;
        tracing::info!(
            shares = split.shares,
            threshold = split.threshold,
            "cluster initialized"
        );
        Ok(born)
    }

    /// Whether this node's cluster has a barrier.
    pub fn is_initialized(&self) -> Result<bool, Error> {
        match self.seal.replica() {
            Err(_) => Ok(false),
            Ok(replica) => Ok(rows::seal_config(replica.view()?.as_ref())?.is_some()),
        }
    }

    /// Enters a cluster that has admitted this node.
    pub async fn enter(self: &Arc<Self>, membership: Membership) -> Result<(), Error> {
        let _alone = self.seal.changing.lock().await;
        if self.seal.replica().is_ok() {
            return Err(Error::invalid("this node already belongs to a cluster"));
        }
        let replica = self.launcher.join(membership, Arc::new(Peers::new(self))).await?;
        replica.set_eligible(false);
        self.seal.set_replica(replica);
        self.tend_seal();
        Ok(())
    }

    async fn birth(
        &self,
        replica: &dyn Replica,
        split: Threshold,
        root_token: Option<String>,
    ) -> Result<Initialized, Error> {
        let mut entropy = OsEntropy;
        let view = replica.read().await?;
        let barrier_id = BarrierId::generate(&mut entropy);
        let root = RootKey::generate(&mut entropy);
        let keyring = Keyring::generate(replica.now(), &mut entropy);
        let sealed_keyring = keyring.seal(&root, barrier_id, &mut entropy)?;
        let (config, shares) = SealConfig::create(&root, split.shares, split.threshold, 1, &mut entropy)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let barrier = Barrier::new(barrier_id, keyring)?;
        let (expect, ops) = rows::found(barrier_id, &config, sealed_keyring, &self.settings.cluster_name);
        let (mut proposal, root_token) = {
            let opened = Opened::new(view, barrier, Arc::new(NameCache::default()));
            first_rows(&opened, &self.settings, replica.now(), root_token)?
        };
        proposal.expect.push(expect);
        proposal.ops.splice(0..0, ops);
        match commit(replica, proposal).await {
            Ok(_) => Ok(Initialized { shares, root_token }),
            Err(CommitError::Failed(error)) => Err(error),
            Err(_) => Err(Error::invalid("Vault is already initialized")),
        }
    }
}

/// The rows every cluster is born with: mounts, the default policy, the version that made it, the root token.
fn first_rows(
    opened: &Opened,
    settings: &Settings,
    now: u64,
    root_token: Option<String>,
) -> Result<(Proposal, Zeroizing<String>), Error> {
    let catalog = Catalog::load(opened, None)?;
    let readers = Readers::new(opened);
    let mut work = Work::new(&readers, &catalog);
    let mut entropy = OsEntropy;
    let mut env = Env::new(now, &mut entropy);
    for record in born_with(&mut env, 1, ROOT_NAMESPACE) {
        work.config.put(&record.row(), encode_record(&record)?)?;
    }
    work.config.put(NEXT_ID, encode_record(&(BORN + 1))?)?;
    let policy = PolicyRecord {
        text: DEFAULT.to_owned(),
        version: 1,
        modified: now,
        cas_required: false,
        expires: None,
    };
    work.config.put("policy/default", encode_record(&policy)?)?;
    install(&mut work, settings, now)?;
    let minted = mint(&mut work, &mut env, NewToken::root(root_token))?;
    Ok((work.finish()?, minted.id))
}
