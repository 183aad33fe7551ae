//! Where work runs that blocks on the disk: on threads of its own, or, in a simulation, on the simulated node's one
//! thread and clock. This file must not know what the work is.

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::error::Error;

/// Work that blocks.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs work that blocks.
pub trait Offload: Send + Sync + 'static {
    /// Runs `job` to its end; the future ends after it. A job once begun ends even if nobody waits.
    fn run(&self, job: Job) -> BoxFuture<'static, ()>;
    /// Whether a node may start threads beside. If not, everything that blocks goes through `run`.
    fn has_threads(&self) -> bool;
}

/// Tokio's pool of threads for work that blocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Threads;

impl Offload for Threads {
    fn run(&self, job: Job) -> BoxFuture<'static, ()> {
        let running = tokio::task::spawn_blocking(job);
        // A job that panicked has dropped the sender of its result, which `offload` reports.
        Box::pin(async move { running.await.unwrap_or_default() })
    }

    fn has_threads(&self) -> bool {
        true
    }
}

/// Runs `work` where it may block and returns what it returned.
///
/// # Errors
/// `Error::Stopped` when it ended without a result: it panicked, or the runtime shuts down.
pub async fn offload<T: Send + 'static>(
    to: &dyn Offload,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (done, mut result) = oneshot::channel();
    to.run(Box::new(move || {
        done.send(work()).ok();
    }))
    .await;
    result
        .try_recv()
        .map_err(|_| Error::Stopped(format!("{what} was broken off")))
}
