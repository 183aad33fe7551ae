//! What one node has to act outside the cluster: who carries out plans, what is known of targets, what is counted.

use std::sync::Arc;

use prometheus::Registry;

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
}

impl Outside {
    /// Nothing is known yet.
    pub fn new(targets: Arc<dyn Targets>, registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            targets,
            tending: Tending::default(),
            numbers: Numbers::new(registry)?,
        })
    }
}
