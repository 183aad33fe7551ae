//! Work that blocks, off the threads that answer requests: in a simulation, on the simulated node's one thread and clock. This
//! file must not know what the work is.

use conclave_raft::node::Offload;
use conclave_raft::node::offload::offload;

use crate::error::Error;

/// Runs `work` where it may block. Once begun it goes on to its end, also if nobody waits.
///
/// # Errors
/// The work's own; `Error::Internal` when it ended without a result: it panicked.
pub async fn off_thread<T: Send + 'static>(
    to: &dyn Offload,
    what: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    offload(to, what, work)
        .await
        .map_err(|_| Error::internal(format!("{what} broke off")))?
}
