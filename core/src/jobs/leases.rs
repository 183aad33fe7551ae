//! Leases that are due, target by target. The leader looks at the head of each queue and lets the targets be worked on side by
//! side, so that one that is slow or down holds up nobody else.

use std::sync::Arc;

use crate::core::Core;
use crate::effects;
use crate::error::Error;
use crate::leases;
use crate::store::layout::ring_of_key;

/// Most targets looked at in one round; the next round goes on behind them.
const MAX_QUEUES: usize = 4096;

impl Core {
    /// Has every target with something due worked on; answers at once. Each goes on until nothing more is due there.
    pub(crate) fn tend_leases(self: &Arc<Self>) -> Result<(), Error> {
        for queue in self.due_queues()? {
            let now = self.outside.targets.boot_time();
            let Some(share) = self.outside.tending.take(queue, now) else {
                continue;
            };
            let core = self.clone();
            tokio::spawn(async move { core.tend_queue(queue, share).await });
        }
        self.outside.tell_left_alone();
        Ok(())
    }

    /// Ends what is due at every target, and waits for it: for tests, which have their own clock.
    ///
    /// # Errors
    /// The store's own.
    pub async fn tend_leases_once(self: &Arc<Self>) -> Result<usize, Error> {
        let mut ended = 0;
        for queue in self.due_queues()? {
            if let Some(share) = self.outside.tending.take(queue, self.outside.targets.boot_time()) {
                ended += self.tend_queue(queue, share).await;
            }
        }
        Ok(ended)
    }

    fn due_queues(&self) -> Result<Vec<u64>, Error> {
        let replica = self.seal.replica()?;
        let (view, now) = (replica.view()?, replica.now());
        if effects::paused(&view)? {
            // They stay due: nothing is tried, so nothing counts as failed.
            return Ok(Vec::new());
        }
        let list = |after, limit| view.rows().queues(Some(after), limit);
        let queues = self.outside.tending.turn(MAX_QUEUES, list)?;
        let mut due = Vec::new();
        for queue in queues {
            // All of a queue is of one mount. What is due in a sealed namespace waits until it is open.
            let head = view.rows().due(queue, now, 1)?;
            if let Some((_, key)) = head.first()
                && self.ring_is_open(ring_of_key(key)?)
            {
                due.push(queue);
            }
        }
        Ok(due)
    }

    /// Works on one target until nothing is due there or it does not answer. How many leases ended.
    async fn tend_queue(self: &Arc<Self>, queue: u64, mut share: usize) -> usize {
        let mut ended = 0;
        let mut answered = None;
        loop {
            match leases::sweep(self, queue, share).await {
                Ok(swept) => {
                    ended += swept.ended;
                    answered = swept.answered.or(answered);
                    if swept.answered != Some(true) || swept.ended == 0 {
                        break;
                    }
                    // One that was left alone until now answers: what waits goes as fast as anywhere.
                    share = leases::SHARE;
                }
                Err(error) => {
                    tracing::debug!(%error, "leases that are due are put off");
                    break;
                }
            }
        }
        self.outside
            .tending
            .give_back(queue, answered, self.outside.targets.boot_time());
        ended
    }
}
