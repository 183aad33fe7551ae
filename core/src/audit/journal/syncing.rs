//! Syncs of a journal: one thread at a time writes what waits, syncs, and tells all who asked for that, for as long as
//! somebody asks.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::audit::journal::{Journal, LARGE, Ticket, Waiting, unsynced};
use crate::audit::round::Begun;

/// A sync is put off while requests come that will want one, each within this time after the one before ...
const QUIET: Duration = Duration::from_micros(100);
/// ... for so long at most ...
const GATHER: Duration = Duration::from_millis(1);
/// ... and until there are so many: they bear the price of a sync easily.
const MANY: usize = 32;

impl Waiting {
    /// Whether a sync should not be put off any longer.
    fn is_enough(&self) -> bool {
        self.asked >= MANY || self.batch.bytes >= LARGE
    }
}

impl Journal {
    /// Waits until the records are written, and as durable as the options ask. What waits for a sync is written by the one
    /// that syncs, in one piece.
    pub async fn settle(self: &Arc<Self>, ticket: &Ticket) -> io::Result<()> {
        if !self.sync {
            return self.write(ticket);
        }
        if self.ask(ticket) {
            let journal = self.clone();
            tokio::task::spawn_blocking(move || journal.sync_while_asked());
        }
        let kept = ticket.round.ended().await;
        if ticket.is_done() {
            // What kept a record from being written says more than that there was nothing to sync.
            self.write(ticket)?;
        }
        kept
    }

    /// Has the round of these records counted as wanted, unless it has begun. Whether somebody must begin to sync.
    fn ask(&self, ticket: &Ticket) -> bool {
        let mut waiting = self.waiting.lock();
        if !Arc::ptr_eq(&waiting.round, &ticket.round) {
            return false;
        }
        waiting.asked += 1;
        if waiting.is_enough() {
            self.enough.notify_one();
        }
        !std::mem::replace(&mut waiting.syncing, true)
    }

    /// Syncs for all who ask, round after round, until nobody does.
    fn sync_while_asked(&self) {
        let _alone = Syncing(self);
        loop {
            let mut waiting = self.waiting.lock();
            if waiting.asked == 0 {
                waiting.syncing = false;
                return;
            }
            self.gather(&mut waiting);
            drop(waiting);
            self.sync_round();
        }
    }

    /// A sync costs about what a request does: those that are on their way bear it together. Who asks alone, as the last one
    /// did, waits for nobody.
    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        let until = Instant::now() + GATHER;
        let mut company = waiting.asked > 1 || !waiting.alone;
        while company && !waiting.is_enough() && Instant::now() < until {
            let asked = waiting.asked;
            self.enough.wait_for(waiting, QUIET);
            company = waiting.asked > asked;
        }
    }

    /// Writes what waits, syncs, and tells those who asked for it.
    fn sync_round(&self) {
        let mut out = self.out.lock();
        let (round, waits) = {
            let mut waiting = self.waiting.lock();
            waiting.alone = std::mem::take(&mut waiting.asked) == 1;
            let round = Begun(std::mem::take(&mut waiting.round));
            (round, !waiting.batch.lines.is_empty())
        };
        let written = waits.then(|| self.write_waiting(&mut out));
        let (unkept, file) = (out.unkept_before, out.file.clone());
        out.unkept_before = out.unkept;
        drop(out);
        let mut kept = file
            .as_ref()
            .ok_or_else(unsynced)
            .and_then(|file| file.sync_data());
        let mut out = self.out.lock();
        if out.unkept != unkept {
            kept = Err(unsynced());
        }
        let same = out.file.as_ref().zip(file.as_ref());
        if kept.is_err() && same.is_some_and(|(now, then)| Arc::ptr_eq(now, then)) {
            // The system forgets what it failed to write: nothing more is written to what this may have torn.
            out.file = None;
        }
        drop(out);
        round.0.end(kept.map_err(|error| error.to_string().into()));
        // Freed, and so wiped, while those who waited go on.
        drop(written);
    }
}

/// Lets another thread sync when this one comes to grief, and tells those who have asked it since.
struct Syncing<'j>(&'j Journal);

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut waiting = self.0.waiting.lock();
            waiting.syncing = false;
            waiting.asked = 0;
            drop(Begun(std::mem::take(&mut waiting.round)));
        }
    }
}
