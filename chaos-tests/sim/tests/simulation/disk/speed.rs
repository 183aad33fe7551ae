//! How long work on a disk takes, and whether it fails. The work itself is done in one moment, before which it has left no
//! mark and after which it is done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use conclave_raft::node::{Job, Offload};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::dice::Dice;

/// Longest piece of work of a healthy disk, in milliseconds.
const HEALTHY: u64 = 4;

pub struct Disk {
    dice: Mutex<Dice>,
    /// Longest piece of work, in milliseconds.
    slowest: AtomicU64,
    pub fails: AtomicBool,
}

impl Disk {
    pub fn new(dice: Dice) -> Self {
        Self {
            dice: Mutex::new(dice),
            slowest: AtomicU64::new(HEALTHY),
            fails: AtomicBool::new(false),
        }
    }

    pub fn slow_down(&self, slowest: u64) {
        self.slowest.store(slowest, Ordering::Relaxed);
    }

    pub fn heal(&self) {
        self.slow_down(HEALTHY);
        self.fails.store(false, Ordering::Relaxed);
    }

    fn delay(&self) -> Duration {
        let slowest = self.slowest.load(Ordering::Relaxed);
        self.dice.lock().millis(0, slowest)
    }
}

impl Offload for Disk {
    fn run(&self, job: Job) -> BoxFuture<'static, ()> {
        let (before, after) = (self.delay(), self.delay());
        Box::pin(async move {
            // why: simulated time, in which work on a disk takes a while.
            tokio::time::sleep(before).await;
            job();
            // why: as before.
            tokio::time::sleep(after).await;
        })
    }

    fn has_threads(&self) -> bool {
        false
    }
}
