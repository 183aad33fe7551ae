//! What core needs to act outside the cluster: somebody who carries out a plan within bounds. Who that is, and by what
//! protocol, is not known here.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use conclave_engine_api::{Bounds, Done, Failure, Plan};

/// Carries out plans.
pub trait Targets: Send + Sync + 'static {
    /// Carries one out. Answers what it lists.
    fn run<'t>(&'t self, plan: &'t Plan, bounds: &'t Bounds) -> BoxFuture<'t, Result<Vec<String>, Failure>>;

    /// Time since the machine started, on the clock of `Bounds::until`.
    fn boot_time(&self) -> Duration;
}

/// Carries out nothing: for nodes that are not connected to anything.
pub struct NoTargets;

impl Targets for NoTargets {
    fn run<'t>(&'t self, _: &'t Plan, _: &'t Bounds) -> BoxFuture<'t, Result<Vec<String>, Failure>> {
        async {
            Err(Failure::new(
                Done::Nothing,
                "unsupported: this node reaches no targets",
            ))
        }
        .boxed()
    }

    fn boot_time(&self) -> Duration {
        Duration::ZERO
    }
}
