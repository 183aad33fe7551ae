//! One seal put in the place of another: a new root key, the keyring sealed under it, and new shares that open it, in one
//! command that expects the old seal. After it the old shares open nothing.

use std::sync::Arc;

use conclave_barrier::{RootKey, SealConfig, SecretBytes};
use conclave_engine_api::Txn;
use conclave_raft::{Op, View};
use zeroize::Zeroizing;

use crate::catalog::{CONFIG, EPOCH};
use crate::ceremony::once::Once;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::{StoredKeyring, StoredSeal, Threshold};
use crate::store::layout::owner_of;
use crate::store::{CommitError, Draft, Opened, Proposal, Space, Table, commit};

/// Where a copy of shares that are encrypted to people's keys is kept, if one was asked for: among the configuration of the root
/// namespace, or of the one whose seal they open.
pub const BACKUP: &str = "unseal-backup";

/// A seal that is ready to replace another. It may be committed again and again: it takes effect once.
pub struct Swap {
    replaces: Arc<StoredSeal>,
    seal: SealConfig,
    root: RootKey,
    shares: Vec<SecretBytes>,
    /// A record that is kept beside the new seal.
    backup: Option<Zeroizing<Vec<u8>>>,
    once: Once,
}

impl Swap {
    /// Makes a new root key and its shares, of the generation after that of the seal which it replaces.
    pub fn prepare(replaces: Arc<StoredSeal>, split: Threshold) -> Result<Self, Error> {
        let generation = replaces
            .config
            .generation()
            .checked_add(1)
            .ok_or_else(|| Error::internal("the seal's generations are exhausted"))?;
        let root = RootKey::generate(&mut OsEntropy);
        let (seal, shares) =
            SealConfig::create(&root, split.shares, split.threshold, generation, &mut OsEntropy)?;
        Ok(Self {
            replaces,
            seal,
            root,
            shares,
            backup: None,
            once: Once::default(),
        })
    }

    /// The same, keeping a copy of its encrypted shares.
    #[must_use]
    pub fn with_backup(self, backup: Option<Zeroizing<Vec<u8>>>) -> Self {
        Self { backup, ..self }
    }

    /// The new seal.
    pub fn seal(&self) -> &SealConfig {
        &self.seal
    }

    /// The new shares.
    pub fn shares(&self) -> &[SecretBytes] {
        &self.shares
    }

    /// Whether this is the root key of the new seal.
    pub fn is_root(&self, root: &RootKey) -> bool {
        self.root.is(root)
    }

    /// Puts the new seal in effect on every node. After an error, also one that leaves the outcome open, it may be called
    /// again: it finds out what became of the try before.
    pub async fn commit(&self, core: &Core) -> Result<(), Error> {
        self.once.commit(|| self.try_commit(core)).await?;
        self.follow(core)
    }

    /// Sees to it that no try takes effect from now on, not even one that is under way. `false`: one has, before.
    ///
    /// # Errors
    /// What keeps the cluster from telling: then everything is as it was.
    pub async fn abandon(&self, core: &Core) -> Result<bool, Error> {
        let (replica, ring) = (core.seal.replica()?, self.replaces.ring);
        let is_done = |view: Arc<View>| Ok(StoredSeal::of(&view, ring)?.config.id() == self.seal.id());
        self.once.abandon(replica.as_ref(), ring, is_done).await
    }

    async fn try_commit(&self, core: &Core) -> Result<(), CommitError> {
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        let view = replica.read().await.map_err(Error::from)?;
        let ring = self.replaces.ring;
        let current = StoredSeal::of(&view, ring)?;
        if current.config.id() == self.seal.id() {
            return Ok(());
        }
        if self.once.is_abandoned() {
            return Err(Error::invalid("the rotation was cancelled").into());
        }
        if !current.is_still(&self.replaces) {
            return Err(Error::invalid(
                "the seal was changed by another operation meanwhile; this one is void",
            )
            .into());
        }
        // Follows a rotation of the keyring first, so that the new root key is left under a key every node has.
        let (opened, _) = session.view(view)?;
        let epoch = Op::Touch {
            key: opened.key(CONFIG, EPOCH)?,
        };
        let kept = self.kept(&opened)?;
        let stored = StoredKeyring::of(&session, &opened, ring)?.ok_or(CommitError::Retry)?;
        drop(opened);
        let expect = vec![current.expect(), stored.expect()];
        let mut proposal = Proposal::new(expect, stored.put_under(&self.root, &self.seal)?);
        proposal.ops.push(epoch);
        proposal.ops.extend(kept);
        commit(replica.as_ref(), proposal).await?;
        tracing::info!(
            ring,
            generation = self.seal.generation(),
            "the seal has new shares"
        );
        Ok(())
    }

    /// The copy of the shares, as it is stored.
    fn kept(&self, opened: &Opened) -> Result<Vec<Op>, Error> {
        let Some(backup) = &self.backup else {
            return Ok(Vec::new());
        };
        let space = Space::within(Table::Config, owner_of(self.replaces.ring));
        let reader = opened.space(space);
        let mut txn = Txn::new(&reader);
        txn.put(BACKUP, backup.clone())?;
        let mut draft = Draft::new(opened);
        draft.include(space, txn.into_changes())?;
        Ok(draft.finish().ops)
    }

    /// Takes the new root key into this node's session. Others do when they next look at the rows.
    fn follow(&self, core: &Core) -> Result<(), Error> {
        // Sealed meanwhile: then there is no session to keep up to date, and the change stands.
        let Ok(session) = core.seal.session() else {
            return Ok(());
        };
        session.view(core.seal.replica()?.view()?)?;
        Ok(())
    }
}
