//! Up to where the due index is known to be empty: a scan that begins there passes over nothing that was removed before. Only
//! for moments, for rows may fall due earlier than others that have ended, and they must not wait long. Knows no rows.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use conclave_engine_api::Millis;

/// How long it is believed.
const HOLDS: Duration = Duration::from_millis(500);

/// The mark of each queue.
#[derive(Default)]
pub(crate) struct LowWater {
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    /// When all of the index was looked at last.
    looked_at: Option<Instant>,
    queues: BTreeMap<u64, Millis>,
}

impl LowWater {
    /// Whether marks that were set still hold; otherwise they are forgotten, and what is looked at now is everything.
    pub fn holds(&self) -> bool {
        let mut marks = self.marks.lock();
        let now = Instant::now();
        if marks.looked_at.is_some_and(|at| now.duration_since(at) < HOLDS) {
            return true;
        }
        marks.queues.clear();
        marks.looked_at = Some(now);
        false
    }

    /// Forgets all marks.
    pub fn forget(&self) {
        *self.marks.lock() = Marks::default();
    }

    /// From which deadline on a queue may have entries.
    pub fn of(&self, queue: u64) -> Millis {
        self.marks.lock().queues.get(&queue).copied().unwrap_or(0)
    }

    /// The first entry that was found in a queue has this deadline.
    pub fn found(&self, queue: u64, first: Millis) {
        self.marks.lock().queues.insert(queue, first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn marks_hold_for_a_moment_and_no_longer_however_often_they_move() {
        let low = LowWater::default();
        assert!(!low.holds(), "nothing is known");
        low.found(1, 100);
        assert_eq!((low.of(1), low.of(2)), (100, 0));
        tokio::time::advance(HOLDS / 2).await;
        assert!(low.holds());
        low.found(1, 200);
        assert_eq!(low.of(1), 200);
        tokio::time::advance(HOLDS / 2).await;
        assert!(!low.holds());
        assert_eq!(low.of(1), 0);
        low.found(1, 300);
        low.forget();
        assert_eq!(low.of(1), 0);
        assert!(!low.holds());
    }
}
