//! Turns for requests that fight over the same path on one node. A request that conflicted, or that finds others waiting,
//! takes its turn; without a fight nobody waits.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// Number of latches; paths share them by hash.
const STRIPES: usize = 512;

/// Latches of a node.
pub struct Latches {
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for Latches {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Latches {
    /// Waits for this path's turn if somebody holds it; otherwise returns at once without taking it.
    pub async fn wait_if_held(&self, path: &str) -> Option<MutexGuard<'_, ()>> {
        let latch = self.stripe(path)?;
        if latch.try_lock().is_ok() {
            None
        } else {
            Some(latch.lock().await)
        }
    }

    /// Takes this path's turn.
    pub async fn take(&self, path: &str) -> Option<MutexGuard<'_, ()>> {
        Some(self.stripe(path)?.lock().await)
    }

    fn stripe(&self, path: &str) -> Option<&Mutex<()>> {
        let hash = usize::try_from(self.hasher.hash_one(path) % STRIPES as u64).ok()?;
        self.stripes.get(hash)
    }
}
