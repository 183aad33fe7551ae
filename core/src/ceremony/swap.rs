//! One seal put in the place of another: a new root key, the keyring sealed under it, and new shares that open it, in one
//! command that expects the old seal. After it the old shares open nothing.

use conclave_barrier::{RootKey, SealConfig, SecretBytes};
use conclave_engine_api::Txn;
use conclave_raft::Op;
use zeroize::Zeroizing;

use crate::catalog::{CONFIG, EPOCH};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::{Threshold, rows};
use crate::store::{CommitError, Draft, Opened, Proposal, commit};

/// Where a copy of shares that are encrypted to people's keys is kept, if one was asked for.
pub const BACKUP: &str = "unseal-backup";

/// Tries before a swap that keeps losing to other changes of the keyring, or whose outcome stays unknown, is given up
/// for now.
const TRIES: u32 = 8;

/// A seal that is ready to replace another. It may be committed again and again: it takes effect once.
pub struct Swap {
    replaces: u64,
    seal: SealConfig,
    root: RootKey,
    shares: Vec<SecretBytes>,
    /// A record that is kept beside the new seal.
    backup: Option<Zeroizing<Vec<u8>>>,
}

impl Swap {
    /// Makes a new root key and its shares, of the generation after `old`'s. `replaces` is the revision of `old`'s row.
    pub fn prepare(old: &SealConfig, replaces: u64, split: Threshold) -> Result<Self, Error> {
        let generation = old
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
        let mut last = Error::Contention;
        for _ in 0..TRIES {
            match self.try_commit(core).await {
                Ok(()) => return self.follow(core),
                Err(CommitError::Retry) => {}
                // The next try reads whether it was committed.
                Err(CommitError::Failed(Error::OutcomeUnknown)) => last = Error::OutcomeUnknown,
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => return Err(Error::internal("a change of the seal was refused")),
            }
        }
        Err(last)
    }

    async fn try_commit(&self, core: &Core) -> Result<(), CommitError> {
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        let view = replica.read().await.map_err(Error::from)?;
        let current = rows::seal_config(&view)?.ok_or(Error::NotInitialized)?;
        if current.id() == self.seal.id() {
            return Ok(());
        }
        if rows::seal_revision(&view)? != self.replaces {
            return Err(Error::invalid(
                "the seal was changed by another operation meanwhile; this one is void",
            )
            .into());
        }
        let revision = rows::keyring_revision(&view)?;
        // Follows a rotation of the keyring first, so that the handover is sealed with a key every node has.
        let (opened, _) = session.view(view)?;
        let epoch = Op::Touch {
            key: opened.key(CONFIG, EPOCH)?,
        };
        let kept = self.kept(&opened)?;
        let (_, mut keyring) = session.keyring(opened.view())?.ok_or(CommitError::Retry)?;
        drop(opened);
        let id = session.barrier_id();
        let generation = keyring.advance().map_err(Error::from)?;
        let handover = keyring
            .seal_root_handover(&self.root, generation, id, &mut OsEntropy)
            .map_err(Error::from)?;
        let sealed = keyring
            .seal(&self.root, id, &mut OsEntropy)
            .map_err(Error::from)?;
        let mut proposal = Proposal::new(
            vec![rows::expect_seal(self.replaces), rows::expect_keyring(revision)],
            vec![
                rows::put_seal(&self.seal),
                rows::put_keyring(sealed),
                rows::put_handover(handover),
                epoch,
            ],
        );
        proposal.ops.extend(kept);
        commit(replica.as_ref(), proposal).await?;
        tracing::info!(generation = self.seal.generation(), "the seal has new shares");
        Ok(())
    }

    /// The copy of the shares, as it is stored.
    fn kept(&self, opened: &Opened) -> Result<Vec<Op>, Error> {
        let Some(backup) = &self.backup else {
            return Ok(Vec::new());
        };
        let reader = opened.space(CONFIG);
        let mut txn = Txn::new(&reader);
        txn.put(BACKUP, backup.clone())?;
        let mut draft = Draft::new(opened);
        draft.include(CONFIG, txn.into_changes())?;
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
