//! Taking keys into this node and dropping them: by shares, by a member's offer, by `seal` on the node, by `seal` of the
//! cluster. Knows not how keys come here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use conclave_raft::{Change, Op, Replica, mutant};

use crate::acts::Act;
use crate::catalog::{CONFIG, EPOCH};
use crate::core::Core;
use crate::error::Error;
use crate::seal::rows;
use crate::session::Session;
use crate::store::{CommitError, Proposal, commit};

/// Tries of a seal of the cluster that conflicts.
const TRIES: u32 = 8;

/// Who opens a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Operators, by as many shares as are needed.
    Shares,
    /// A member that is open. Not after an operator sealed the node.
    Offer,
}

impl Core {
    /// Opens this node with keys; does nothing if it is open.
    ///
    /// # Errors
    /// `Error::Invalid` for an offer to a node that an operator sealed.
    pub(super) fn open(&self, session: Session, by: By) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let _turn = self.seal.turning.lock();
        if !self.seal.is_sealed() {
            return Ok(());
        }
        match by {
            By::Offer if self.seal.is_marked() => return Err(sealed_on_purpose()),
            By::Offer => {}
            By::Shares => self.unmark(),
        }
        self.audit.take_keys();
        self.seal.session.store(Some(Arc::new(session)));
        *self.seal.recipient.lock() = None;
        replica.set_eligible(!self.room.is_low());
        tracing::info!(node = replica.node_id(), by_offer = by == By::Offer, "unsealed");
        Ok(())
    }

    /// `seal` on this node: drops the keys, leaves a mark that only shares lift, then hands leadership over.
    ///
    /// # Errors
    /// The keys are gone in any case; an error says that the mark is not on disk.
    pub async fn seal_node(&self) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        self.commit_last_heads().await;
        let marked = {
            let _turn = self.seal.turning.lock();
            self.seal.marked.store(true, Ordering::Release);
            // The mutant keeps them.
            if !mutant::is("kept-keys") {
                self.drop_keys(replica.as_ref());
            }
            self.launcher.set_seal_mark(true)
        };
        self.hand_leadership_over(replica.as_ref()).await;
        marked.map_err(|error| {
            Error::internal(format!(
                "this node is sealed, but members may open it again after a restart: {error}"
            ))
        })
    }

    /// `seal -cluster`: commits an epoch on which all nodes drop their keys, then drops this node's.
    pub(crate) async fn seal_cluster(&self) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        self.commit_last_heads().await;
        for _ in 0..TRIES {
            let view = replica.read().await?;
            let (opened, _) = session.view(view)?;
            let next = rows::seal_epoch(opened.view())?.saturating_add(1);
            let (expect, put) = rows::put_seal_epoch(opened.view(), next)?;
            // No request that began before it commits after it.
            let touch = Op::Touch {
                key: opened.key(CONFIG, EPOCH)?,
            };
            drop(opened);
            match commit(replica.as_ref(), Proposal::new(vec![expect], vec![put, touch])).await {
                Ok(_) => {
                    tracing::warn!(epoch = next, "the cluster is sealed");
                    let _turn = self.seal.turning.lock();
                    self.drop_keys(replica.as_ref());
                    return Ok(());
                }
                Err(CommitError::Retry) => {}
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => return Err(Error::internal("a seal was refused")),
            }
        }
        Err(Error::Contention)
    }

    /// Seals this node if the state became one that its keys do not open: by a seal of the cluster, by a restore of
    /// another cluster's snapshot, or of one from before the shares were changed.
    pub(crate) async fn follow_keys(&self) {
        let (Some(session), Ok(replica)) = (self.seal.session.load_full(), self.seal.replica()) else {
            return;
        };
        let Ok(view) = replica.view() else { return };
        let lost = matches!(session.view(view), Err(Error::Sealed));
        self.forget_closed_rings(&session);
        if lost {
            {
                let _turn = self.seal.turning.lock();
                let held = self.seal.session.load_full();
                if held.is_none_or(|held| !Arc::ptr_eq(&held, &session)) {
                    return;
                }
                self.drop_keys(replica.as_ref());
            }
            self.record_acts(&[Act::change("sys/seal")]).await;
            self.hand_leadership_over(replica.as_ref()).await;
        }
    }

    /// What an operator's `seal` left on this node's disk is taken up when it starts.
    pub(super) fn recall_mark(&self) -> Result<(), Error> {
        self.seal
            .marked
            .store(self.launcher.seal_mark()?, Ordering::Release);
        Ok(())
    }

    fn unmark(&self) {
        if !self.seal.is_marked() {
            return;
        }
        if let Err(error) = self.launcher.set_seal_mark(false) {
            tracing::error!(%error, "the mark of a seal stays on disk: after a restart this node takes shares only");
        }
        self.seal.marked.store(false, Ordering::Release);
    }

    fn drop_keys(&self, replica: &dyn Replica) {
        if mutant::is("leaked-keys") {
            std::mem::forget(self.seal.session.load_full());
        }
        self.seal.session.store(None);
        self.forget_shares();
        self.seal.rings.forget();
        *self.seal.recipient.lock() = None;
        self.ceremonies.forget();
        self.audit.forget_keys();
        replica.set_eligible(false);
        self.seal.seals.send_modify(|times| *times += 1);
        tracing::info!(node = replica.node_id(), "sealed");
    }

    /// Counts how often this node was sealed: connections end then, whose buffers hold what went through them.
    pub fn seals(&self) -> tokio::sync::watch::Receiver<u64> {
        self.seal.seals()
    }

    /// Without another unsealed member there is nobody to take it: then this node stays as caretaker.
    async fn hand_leadership_over(&self, replica: &dyn Replica) {
        if replica.status().borrow().is_leader
            && let Err(error) = replica.change(Change::Transfer { to: None }).await
        {
            tracing::info!(%error, "leadership stays here");
        }
    }
}

pub(super) fn sealed_on_purpose() -> Error {
    Error::invalid("this node was sealed by an operator: only shares open it")
}
