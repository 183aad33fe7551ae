//! Ends a token whose last use a request has taken, once that request is over. What cannot be done here and now is left to
//! the leader, who finds it in the due index.

use conclave_raft::Replica;

use crate::acts::Act;
use crate::core::Core;
use crate::error::Error;
use crate::failpoint;
use crate::session::Session;
use crate::store::{CommitError, commit};
use crate::tokens;
use crate::work::{Readers, Work};

/// Tries before it is left to the leader.
const TRIES: u32 = 8;

impl Core {
    /// Ends the used-up token of this name, with all that hangs on it, before its request is answered.
    pub(crate) async fn end_spent(&self, session: &Session, replica: &dyn Replica, token: &str) {
        failpoint::reach("before-end-of-spent").await;
        for _ in 0..TRIES {
            if self.seal.is_sealed() || self.may_act().is_err() {
                return;
            }
            match self.end_spent_once(session, replica, token).await {
                Ok(closed) => return self.close_tokens(session, replica, closed).await,
                Err(CommitError::Retry | CommitError::Refused) => {}
                Err(CommitError::Failed(error)) => {
                    tracing::debug!(%error, "a used-up token is left for the leader to end");
                    return;
                }
            }
        }
    }

    async fn end_spent_once(
        &self,
        session: &Session,
        replica: &dyn Replica,
        token: &str,
    ) -> Result<Vec<String>, CommitError> {
        let (opened, derived) = session.view(replica.view().map_err(Error::from)?)?;
        let mut acts = Vec::new();
        let (proposal, noted) = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            tokens::end_spent(&mut work, token, &mut |accessor| acts.push(ended(accessor)))?;
            // It has ended already, as one does that was shown to take out what it wraps: the row goes when it is due.
            if acts.is_empty() {
                return Ok(Vec::new());
            }
            let noted = self.note(&opened, replica, acts)?;
            noted.add_to(&mut work.draft);
            (work.finish()?, noted)
        };
        let closed = proposal.closed().to_vec();
        commit(replica, proposal).await?;
        self.record_noted(noted).await;
        Ok(closed)
    }
}

/// What is on record of the end of a used-up token.
pub(super) fn ended(accessor: &str) -> Act {
    Act::end("auth/token/expire", "accessor", accessor)
}
