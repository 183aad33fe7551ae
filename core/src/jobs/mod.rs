//! Work that only the leader does: expiry, closing revoked tokens, promoting learners. Started with the node and idle
//! unless it leads; stopped with it.

mod expiry;

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::backup::forget_stagings;
use crate::core::Core;

pub use expiry::Round;

/// Pause between rounds when nothing was due.
const IDLE: Duration = Duration::from_millis(500);

impl Core {
    /// Starts the jobs; they end when the node is dropped.
    pub fn start_jobs(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(run(Arc::downgrade(self)))
    }
}

async fn run(core: Weak<Core>) {
    loop {
        let Some(core) = core.upgrade() else { return };
        core.follow_keys().await;
        let busy = one_round(&core).await;
        drop(core);
        if !busy {
            tokio::time::sleep(IDLE).await;
        }
    }
}

/// One round of everything; whether there may be more to do at once.
async fn one_round(core: &Arc<Core>) -> bool {
    let Ok(replica) = core.seal.replica() else {
        return false;
    };
    if !replica.status().borrow().is_leader {
        return false;
    }
    core.promote_caught_up(replica.as_ref()).await;
    if let Err(error) = forget_stagings(replica.as_ref()).await {
        tracing::debug!(%error, "what abandoned restores have left stays for now");
    }
    match core.expire_once().await {
        Ok(Round::Full) => true,
        Ok(Round::Drained) => false,
        Err(error) => {
            tracing::debug!(%error, "expiry round put off");
            false
        }
    }
}
