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

/// What is tried at a row that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Its engine acts outside: a rotation.
    Rotation,
    /// Its end, and that of what hangs on it.
    End,
    /// The end of a lease.
    Revocation,
}

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
    /// Rows at which something failed when it was last tried, and when that was, on the boot clock.
    failed: Mutex<HashMap<Key, (Tried, Duration)>>,
}

impl Outside {
    /// Nothing is known yet.
    pub fn new(targets: Arc<dyn Targets>, registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            targets,
            tending: Tending::default(),
            numbers: Numbers::new(registry)?,
            acting: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Whether nobody acts on a row yet; from now on somebody does.
    pub fn begin(&self, key: &Key) -> bool {
        self.acting.lock().insert(key.clone())
    }

    /// What is due at a row was tried. Whether that was not so the time before.
    pub fn tried(&self, key: &Key, what: Tried, done: bool) -> bool {
        let mut failed = self.failed.lock();
        match done {
            true => failed.remove(key).is_some(),
            false => failed
                .insert(key.clone(), (what, self.targets.boot_time()))
                .is_none(),
        }
    }

    /// At how many rows this failed when last tried.
    pub fn failing(&self, what: Tried) -> usize {
        let now = self.targets.boot_time();
        let mut failed = self.failed.lock();
        failed.retain(|_, (_, tried)| now.saturating_sub(*tried) < FORGOTTEN);
        failed.values().filter(|(failing, _)| *failing == what).count()
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
