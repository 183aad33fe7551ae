//! Whether this cluster acts on systems outside: accounts made and dropped, secrets rotated. An operator stops it, or a restore
//! does together with the state it brings, so that a copy of a cluster does not touch the targets of the original. A clear row,
//! for it must hold from the first moment of a state on.

use conclave_engine_api::Done;
use conclave_raft::{Condition, Expect, Op, View};

use crate::core::Core;
use crate::error::Error;
use crate::leases::Failure;
use crate::store::clear::put_clear;
use crate::store::layout::clear_key;
use crate::store::{CommitError, Proposal, commit};

/// Where it is kept; without it nothing is stopped.
const ROW: &str = "effects-paused";
/// What people are told who ask for an effect meanwhile.
const TOLD: &str =
    "effects outside the cluster are paused, by an operator or since a restore: see sys/effects";

/// Whether effects are paused in a view.
pub fn paused(view: &View) -> Result<bool, Error> {
    let row = view.rows().get(&clear_key(ROW))?;
    Ok(row.is_some_and(|row| row.value.as_ref() == [1]))
}

/// The operation that pauses them, for a command that brings a state.
pub fn pause() -> Op {
    put_clear(ROW, vec![1])
}

impl Core {
    /// Pauses them, or lets them go on.
    pub(crate) async fn pause_effects(&self, pause: bool) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let view = replica.read().await?;
        if paused(&view)? == pause {
            return Ok(());
        }
        let key = clear_key(ROW);
        let condition = match view.rows().get(&key)? {
            Some(row) => Condition::Revision(row.revision),
            None => Condition::Absent,
        };
        let op = put_clear(ROW, vec![u8::from(pause)]);
        match commit(
            replica.as_ref(),
            Proposal::new(vec![Expect { key, condition }], vec![op]),
        )
        .await
        {
            Ok(_) => {
                tracing::warn!(pause, "effects outside the cluster were paused, or go on");
                Ok(())
            }
            Err(CommitError::Retry) => Err(Error::Contention),
            Err(CommitError::Refused) => Err(Error::internal("pausing effects was refused")),
            Err(CommitError::Failed(error)) => Err(error),
        }
    }

    /// The failure of an effect that must not be now.
    pub(crate) fn refuse_effect(&self) -> Option<Failure> {
        let paused = self
            .seal
            .replica()
            .and_then(|replica| Ok(replica.view()?))
            .and_then(|view| paused(&view));
        match paused {
            Ok(false) => None,
            Ok(true) => Some(Failure::new(Done::Nothing, TOLD)),
            Err(error) => Some(Failure::new(Done::Nothing, error.to_string())),
        }
    }
}
