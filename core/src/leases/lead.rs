//! Whether a node that acts for the cluster may go on: a quorum said lately that it leads, in the term in which it began. Asked
//! again before each call to a target, for the process may have stood still meanwhile. Knows no lease.

use std::time::Duration;

use parking_lot::Mutex;

use conclave_raft::Replica;

use crate::core::Core;
use crate::error::Error;

/// How long a proof holds, on the clock that goes on while a process is stopped: shorter than any election.
const HOLDS: Duration = Duration::from_millis(500);

/// What is known of one leadership.
pub struct Lead {
    term: u64,
    /// When it was proved last, on the boot clock; `None`: it is over.
    proved: Mutex<Option<Duration>>,
}

impl Lead {
    /// Proved by a read that began at `asked`, on the boot clock.
    pub fn proved(term: u64, asked: Duration) -> Self {
        Self {
            term,
            proved: Mutex::new(Some(asked)),
        }
    }

    /// The term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Whether it goes on.
    ///
    /// # Errors
    /// It does not, or no quorum says so.
    pub async fn goes_on(&self, core: &Core, replica: &dyn Replica) -> Result<(), Error> {
        let over = || Error::NoLeader("leadership has moved".to_owned());
        let now = core.outside.targets.boot_time();
        let proved = (*self.proved.lock()).ok_or_else(over)?;
        if now.saturating_sub(proved) > HOLDS {
            // Others who wait for it ask for themselves; their reads are answered together.
            let read = replica.read().await.map(drop);
            *self.proved.lock() = read.is_ok().then_some(now);
            read?;
        }
        let leads = {
            let status = replica.status();
            let status = status.borrow();
            status.is_leader && status.term == self.term
        };
        if !leads || core.seal.is_sealed() {
            *self.proved.lock() = None;
            return Err(over());
        }
        Ok(())
    }
}
