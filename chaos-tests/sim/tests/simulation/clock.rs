//! A machine's clocks: right, a little fast or slow, or set wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use conclave_raft::node::Clock;
use parking_lot::Mutex;

use crate::world::{EPOCH, World};

pub struct SimClock {
    world: Arc<World>,
    /// How much faster than true time both clocks run, in millionths.
    drift: i64,
    /// Time that passed while all machines were off, in milliseconds. Nothing else is simulated of it.
    dark: AtomicI64,
    /// How far the wall clock is set wrong, in milliseconds.
    offset: AtomicI64,
    /// When the wall clock was set, and how far it then was from the run's time.
    set: Mutex<Vec<(Duration, i64)>>,
}

impl SimClock {
    pub fn new(world: Arc<World>, drift: i64) -> Self {
        Self {
            world,
            drift,
            dark: AtomicI64::new(0),
            offset: AtomicI64::new(0),
            set: Mutex::new(vec![(Duration::ZERO, 0)]),
        }
    }

    pub fn set_offset(&self, millis: i64) {
        self.offset.store(millis, Ordering::Relaxed);
        self.changed();
    }

    /// A long time passes in which the machine is off.
    pub fn pass_dark(&self, millis: i64) {
        self.dark.fetch_add(millis, Ordering::Relaxed);
        self.changed();
    }

    /// Whether the wall clock showed about `time` at some moment of the last `within`.
    pub fn showed(&self, time: u64, within: Duration, about: u64) -> bool {
        let now = self.world.now();
        let set = self.set.lock();
        let mut until = now;
        for (from, offset) in set.iter().rev() {
            let from = (*from).max(now.saturating_sub(within));
            let shown = |at: Duration| {
                let millis = i64::try_from(at.as_millis()).unwrap();
                EPOCH.saturating_add_signed(millis + offset)
            };
            if (shown(from).saturating_sub(about)..=shown(until) + about).contains(&time) {
                return true;
            }
            if from + within <= now {
                return false;
            }
            until = from;
        }
        false
    }

    fn changed(&self) {
        let shift = self.offset.load(Ordering::Relaxed) + self.dark.load(Ordering::Relaxed);
        self.set.lock().push((self.world.now(), shift));
    }

    fn elapsed(&self) -> i64 {
        let micros = i64::try_from(self.world.now().as_micros()).unwrap();
        micros + micros * self.drift / 1_000_000 + self.dark.load(Ordering::Relaxed) * 1000
    }
}

impl Clock for SimClock {
    fn wall(&self) -> u64 {
        let millis = self.elapsed() / 1000 + self.offset.load(Ordering::Relaxed);
        EPOCH.saturating_add_signed(millis)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.elapsed().unsigned_abs())
    }
}
