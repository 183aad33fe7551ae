//! Waiting for conditions with a deadline. The only place where time passes by itself.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// What operators are promised: from kill -9 of any node to the next acknowledged write.
const PROMISED: Duration = Duration::from_secs(5);
/// How many times longer it may take here: an unoptimised build, on two cores that others use too. `make bench` measures the
/// promise itself.
const SLACK: u32 = 4;
/// The promise, as it is held here.
pub const FAILOVER: Duration = PROMISED.saturating_mul(SLACK);
/// For everything else that must happen by itself. Generous: a loaded machine, an unoptimised build.
pub const SOON: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` finds something. Fails with what it saw last after `patience`.
pub async fn eventually<T, E: Debug>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(
                Instant::now() < deadline,
                "not within {patience:?}: {what}; seen last: {seen:?}"
            ),
        }
        // why: pause of a poll
        tokio::time::sleep(PAUSE).await;
    }
}
