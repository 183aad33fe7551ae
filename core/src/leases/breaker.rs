//! Which targets are being worked on, and which are left alone for a while because they do not answer. Memory of one leader:
//! a new one asks each target once and knows again. A target that is left alone costs no row: its leases stay due.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::leases::FIRST_QUEUE;

/// First pause after a target did not answer; doubled with each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How long after a target may be asked again it is still held for silent if nobody asks it. Whatever is due there is tried within
/// less: a lease that was tried before waits a minute at most, and a target half of one.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// Leases of a target that are tried at once while it answers, and when it is asked again after it did not.
pub const SHARE: usize = 64;

/// What is known of the targets.
#[derive(Default)]
pub struct Tending {
    queues: Mutex<HashMap<u64, Queue>>,
    /// The target that was looked at last, if there were more behind it.
    looked: Mutex<Option<u64>>,
}

#[derive(Default)]
struct Queue {
    busy: bool,
    failures: u32,
    /// On the boot clock.
    retry_at: Duration,
}

impl Tending {
    /// The next targets to look at, at most `limit`: where there are more of them than one round takes, the next goes on
    /// behind. `list` tells up to so many that come after one.
    ///
    /// # Errors
    /// What `list` says.
    pub fn turn<E>(
        &self,
        limit: usize,
        list: impl FnOnce(u64, usize) -> Result<Vec<u64>, E>,
    ) -> Result<Vec<u64>, E> {
        let mut looked = self.looked.lock();
        let queues = list(looked.unwrap_or(FIRST_QUEUE - 1), limit)?;
        *looked = queues.last().copied().filter(|_| queues.len() >= limit);
        Ok(queues)
    }

    /// Takes a target to work on: how many of its leases may be tried. `None` if somebody is at it, or it is left alone.
    pub fn take(&self, queue: u64, now: Duration) -> Option<usize> {
        let mut queues = self.queues.lock();
        let entry = queues.entry(queue).or_default();
        if entry.busy || entry.failures > 0 && now < entry.retry_at {
            return None;
        }
        entry.busy = true;
        Some(if entry.failures > 0 { 1 } else { SHARE })
    }

    /// Gives it back. `answered`: whether the target did; `None` if it was not asked.
    pub fn give_back(&self, queue: u64, answered: Option<bool>, now: Duration) {
        let mut queues = self.queues.lock();
        let Some(entry) = queues.get_mut(&queue) else {
            return;
        };
        entry.busy = false;
        match answered {
            None => {}
            Some(true) => entry.failures = 0,
            Some(false) => {
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << entry.failures.min(10))
                    .min(MAX_PAUSE);
                entry.failures = entry.failures.saturating_add(1);
                entry.retry_at = now + pause;
            }
        }
        if entry.failures == 0 {
            queues.remove(&queue);
        }
    }

    /// How many targets are left alone. One that nobody has asked for a while, as nothing is due there any more or another node
    /// leads, is forgotten: nobody knows whether it is silent still.
    pub fn open(&self, now: Duration) -> usize {
        let mut queues = self.queues.lock();
        queues.retain(|_, queue| queue.busy || now < queue.retry_at + FORGOTTEN);
        queues.values().filter(|queue| queue.failures > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_turn_however_many_they_are() {
        let tending = Tending::default();
        let all: Vec<u64> = (0..10).map(|number| FIRST_QUEUE + number).collect();
        let turn = || {
            let list = |after: u64, limit: usize| {
                let behind = all.iter().copied().filter(|queue| *queue > after);
                Ok::<_, ()>(behind.take(limit).collect())
            };
            tending.turn(4, list).unwrap()
        };
        let first: Vec<u64> = (0..3).flat_map(|_| turn()).collect();
        let second: Vec<u64> = (0..3).flat_map(|_| turn()).collect();
        assert_eq!((&first, &second), (&all, &all));
    }

    /// Its leases were given up, or another node leads: nobody asks it any more, so nobody knows that it is silent.
    #[test]
    fn a_target_that_nobody_asks_is_forgotten() {
        let tending = Tending::default();
        let at = Duration::from_secs;
        for queue in [1, 2] {
            tending.take(queue, at(0));
            tending.give_back(queue, Some(false), at(0));
        }
        assert_eq!(tending.open(at(1)), 2);
        // The longest pause of a lease at a target that is left alone, and one more look.
        assert_eq!(tending.open(at(61)), 2);
        assert_eq!(tending.take(2, at(61)), Some(1));
        assert_eq!(tending.open(at(200)), 1, "one is being asked");
        tending.give_back(2, Some(false), at(200));
        assert_eq!((tending.open(at(201)), tending.open(at(400))), (1, 0));
        assert_eq!(tending.take(1, at(400)), Some(SHARE), "nothing is known of it");
    }

    #[test]
    fn a_silent_target_is_asked_more_and_more_seldom_and_one_at_a_time() {
        let tending = Tending::default();
        let at = Duration::from_secs;
        assert_eq!(tending.take(1, at(0)), Some(SHARE));
        assert_eq!(tending.take(1, at(0)), None, "one at a time");
        assert_eq!(tending.take(2, at(0)), Some(SHARE), "others go on");
        tending.give_back(1, Some(false), at(0));
        assert_eq!((tending.take(1, at(0)), tending.open(at(0))), (None, 1));
        assert_eq!(tending.take(1, at(1)), Some(1), "one lease finds out");
        tending.give_back(1, Some(false), at(1));
        assert_eq!(tending.take(1, at(2)), None);
        assert_eq!(tending.take(1, at(3)), Some(1));
        tending.give_back(1, Some(true), at(3));
        assert_eq!((tending.take(1, at(3)), tending.open(at(3))), (Some(SHARE), 0));
        for _ in 0..40 {
            tending.give_back(1, Some(false), at(0));
        }
        assert_eq!(tending.take(1, at(31)), Some(1), "at most half a minute");
    }
}
