//! One sync that is to come, and what came of it: records fall into a round when they are queued, and who must know that the
//! disk has them waits for its end.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

/// One sync, for all that was queued before it began.
#[derive(Default)]
pub struct Round {
    outcome: OnceLock<Result<(), Arc<str>>>,
    over: Notify,
}

impl Round {
    /// Waits for what came of it. Somebody must begin it.
    pub async fn ended(&self) -> io::Result<()> {
        // Made before it is looked: an end in between is not missed.
        let over = self.over.notified();
        if self.outcome.get().is_none() {
            over.await;
        }
        match self.outcome.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(io::Error::other(error.as_ref())),
            None => Err(io::Error::other("a sync has no outcome")),
        }
    }

    /// Tells all who wait, at once. What was told first stands.
    pub fn end(&self, outcome: Result<(), Arc<str>>) {
        self.outcome.set(outcome).ok();
        self.over.notify_waiters();
    }
}

/// Ends a round as one that failed, unless it was ended: whoever waits for it must not wait for ever because the thread that
/// synced came to grief.
pub struct Begun(pub Arc<Round>);

impl Drop for Begun {
    fn drop(&mut self) {
        if self.0.outcome.get().is_none() {
            self.0.end(Err("the sync broke off".into()));
        }
    }
}
