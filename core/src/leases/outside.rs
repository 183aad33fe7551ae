//! What one node has to act outside the cluster: who carries out plans, what is known of targets, what is counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Registry;

use conclave_raft::Key;

use crate::error::Error;
use crate::leases::numbers::Numbers;
use crate::leases::{Targets, Tending};

/// A row that failed and was not tried again for so long is gone, or another node's.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// One node's means.
pub struct Outside {
    /// Who carries out plans.
    pub targets: Arc<dyn Targets>,
    /// What is known of targets.
    pub tending: Tending,
    /// What is counted.
    pub numbers: Numbers,
    /// Rows of engines that are being acted on.
    acting: Mutex<HashSet<Key>>,
    /// Those of them that failed when last tried, and when that was, on the boot clock.
    overdue: Mutex<HashMap<Key, Duration>>,
}

impl Outside {
    /// Nothing is known yet.
    pub fn new(targets: Arc<dyn Targets>, registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            targets,
            tending: Tending::default(),
            numbers: Numbers::new(registry)?,
            acting: Mutex::default(),
            overdue: Mutex::default(),
        })
    }

    /// Whether nobody acts on a row yet; from now on somebody does.
    pub fn begin(&self, key: &Key) -> bool {
        self.acting.lock().insert(key.clone())
    }

    /// What is due at a row was tried. Whether that was not so the time before.
    pub fn tried(&self, key: &Key, done: bool) -> bool {
        let mut overdue = self.overdue.lock();
        match done {
            true => overdue.remove(key).is_some(),
            false => overdue.insert(key.clone(), self.targets.boot_time()).is_none(),
        }
    }

    /// How many rows failed when last tried.
    pub fn overdue(&self) -> usize {
        let now = self.targets.boot_time();
        let mut overdue = self.overdue.lock();
        overdue.retain(|_, tried| now.saturating_sub(*tried) < FORGOTTEN);
        overdue.len()
    }

    /// Tells how many targets are left alone.
    pub fn tell_left_alone(&self) {
        self.numbers
            .left_alone(self.tending.open(self.targets.boot_time()));
    }

    /// Nobody acts on it any more.
    pub fn end(&self, key: &Key) {
        self.acting.lock().remove(key);
    }
}
