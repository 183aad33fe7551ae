//! Takes away the new root key that a rotation left for members which held the old one, once all of them follow it: the cluster's,
//! and those of namespaces with a seal of their own.

use std::sync::Arc;

use conclave_raft::View;

use crate::acts::Act;
use crate::core::Core;
use crate::error::Error;
use crate::seal::{record_path, ring_rows, rows, stored};
use crate::store::layout::RING;
use crate::store::{CommitError, Proposal, commit};

impl Core {
    /// One round. A member that holds no keys needs no handover: it opens with the new shares, or with a member's offer.
    pub async fn drop_handover_once(&self) -> Result<(), Error> {
        let view = self.seal.replica()?.read().await?;
        let mut outcome = Ok(());
        for ring in std::iter::once(RING).chain(ring_rows::numbers(&view)?) {
            if let Some(revision) = rows::handover_revision(&view, ring)? {
                // What is wrong with one keeps no other from its turn.
                outcome = outcome.and(self.drop_handover(&view, ring, revision).await);
            }
        }
        outcome
    }

    async fn drop_handover(&self, view: &Arc<View>, ring: u16, revision: u64) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let generation = stored::generation(view, ring)?;
        if !self.is_followed(ring, generation).await? {
            return Ok(());
        }
        self.may_act()?;
        let (opened, _) = self.seal.session()?.view(view.clone())?;
        let act = Act::end(
            record_path(ring, "rotate/root/handover"),
            "generation",
            generation,
        );
        let noted = self.note(&opened, replica.as_ref(), vec![act])?;
        drop(opened);
        let mut proposal = Proposal::new(
            vec![rows::expect_handover(ring, revision)],
            vec![rows::drop_handover(ring)],
        );
        proposal.ops.extend(noted.op());
        match commit(replica.as_ref(), proposal).await {
            Ok(_) => {
                self.record_noted(noted).await;
                tracing::info!(
                    ring,
                    "every member has the new root key; it is on offer no longer"
                );
                Ok(())
            }
            // Another rotation has put its own there.
            Err(CommitError::Retry | CommitError::Refused) => Ok(()),
            Err(CommitError::Failed(error)) => Err(error),
        }
    }

    /// Whether all members, this one among them, hold no keys of a ring that are older than a generation.
    async fn is_followed(&self, ring: u16, generation: u64) -> Result<bool, Error> {
        Ok(match ring {
            RING => self.seal.session()?.generation() >= generation && self.all_follow(generation).await,
            other => self.follows_ring(other, generation) && self.all_follow_ring(other, generation).await,
        })
    }
}
