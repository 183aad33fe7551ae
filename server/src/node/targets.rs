//! What core acts with outside the cluster: the drivers of the targets crate.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use conclave_core::leases::{Bounds, Failure, Plan, Targets};

/// The drivers.
#[derive(Default)]
pub struct Drivers(conclave_targets::Targets);

impl Targets for Drivers {
    fn run<'t>(&'t self, plan: &'t Plan, bounds: &'t Bounds) -> BoxFuture<'t, Result<Vec<String>, Failure>> {
        self.0.run(plan, bounds).boxed()
    }

    fn boot_time(&self) -> Duration {
        conclave_targets::Targets::boot_time()
    }
}
