//! Measures the room that is left where the node keeps its data, and tells core. What follows from it is core's business.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::statvfs;

use conclave_core::Core;

/// Between two measurements. A disk that takes 1 GiB/s fills by 1 GiB meanwhile: `min_free` should be more than that.
const INTERVAL: Duration = Duration::from_secs(1);

/// Measures until it is dropped.
pub async fn watch(core: Arc<Core>, path: &Path, min_free: u64) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tick.tick().await;
        match free(path) {
            Ok(free) => core.measured_room(free, min_free).await,
            Err(error) if !told => {
                told = true;
                tracing::warn!(path = %path.display(), %error, "the room on the disk cannot be measured");
            }
            Err(_) => {}
        }
    }
}

/// Bytes that a process without privileges may still write there.
fn free(path: &Path) -> rustix::io::Result<u64> {
    let found = statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
