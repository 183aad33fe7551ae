//! Takes away the new root key that a rotation left for members which held the old one, once all of them follow it.

use conclave_barrier::Keyring;

use crate::acts::Act;
use crate::core::Core;
use crate::error::Error;
use crate::seal::rows;
use crate::store::{CommitError, Proposal, commit};

impl Core {
    /// One round. A sealed member needs no handover: it opens with the new shares, or with a member's offer.
    pub async fn drop_handover_once(&self) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let view = replica.read().await?;
        let Some(revision) = rows::handover_revision(&view)? else {
            return Ok(());
        };
        let generation = Keyring::generation_of(&rows::keyring(&view)?)?;
        if self.seal.session()?.generation() < generation || !self.all_follow(generation).await {
            return Ok(());
        }
        self.may_act()?;
        let (opened, _) = self.seal.session()?.view(view)?;
        let act = Act::end("sys/rotate/root/handover", "generation", generation);
        let noted = self.note(&opened, replica.as_ref(), vec![act])?;
        drop(opened);
        let mut proposal = Proposal::new(vec![rows::expect_handover(revision)], vec![rows::drop_handover()]);
        proposal.ops.extend(noted.op());
        match commit(replica.as_ref(), proposal).await {
            Ok(_) => {
                self.record_noted(noted).await;
                tracing::info!("every member has the new root key; it is on offer no longer");
                Ok(())
            }
            // Another rotation has put its own there.
            Err(CommitError::Retry | CommitError::Refused) => Ok(()),
            Err(CommitError::Failed(error)) => Err(error),
        }
    }
}
