//! A machine's clocks: right, a little fast or slow, or set wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use conclave_raft::node::Clock;

use crate::world::{EPOCH, World};

pub struct SimClock {
    world: Arc<World>,
    /// How much faster than true time both clocks run, in millionths.
    drift: i64,
    /// How far the wall clock is set wrong, in milliseconds.
    offset: AtomicI64,
}

impl SimClock {
    pub fn new(world: Arc<World>, drift: i64) -> Self {
        Self {
            world,
            drift,
            offset: AtomicI64::new(0),
        }
    }

    pub fn set_offset(&self, millis: i64) {
        self.offset.store(millis, Ordering::Relaxed);
    }

    fn elapsed(&self) -> i64 {
        let micros = i64::try_from(self.world.now().as_micros()).unwrap();
        micros + micros * self.drift / 1_000_000
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
