//! What one node has to act outside the cluster: who carries out plans, what is known of targets, what is counted.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::Registry;

use conclave_raft::Key;

use crate::error::Error;
use crate::leases::numbers::Numbers;
use crate::leases::{Targets, Tending};

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
}

impl Outside {
    /// Nothing is known yet.
    pub fn new(targets: Arc<dyn Targets>, registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            targets,
            tending: Tending::default(),
            numbers: Numbers::new(registry)?,
            acting: Mutex::default(),
        })
    }

    /// Whether nobody acts on a row yet; from now on somebody does.
    pub fn begin(&self, key: &Key) -> bool {
        self.acting.lock().insert(key.clone())
    }

    /// Nobody acts on it any more.
    pub fn end(&self, key: &Key) {
        self.acting.lock().remove(key);
    }
}
