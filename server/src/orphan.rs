//! Whether the process that started this one is still there: throw-away servers end with it, however it ends. A pipe or a
//! signal from the kernel would do it sooner, but those are tied to a descriptor or a thread of the parent.

use std::time::Duration;

use rustix::process::{Pid, getppid};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// The number of this process's parent; 0 if it lies outside of what this process may see.
pub fn parent() -> i32 {
    getppid().map_or(0, Pid::as_raw_pid)
}

/// Ends when this process has another parent than `expected`: the one it had is gone.
pub async fn orphaned(expected: i32) {
    let mut looks = tokio::time::interval(PAUSE);
    while parent() == expected {
        looks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_parent_that_is_not_there_is_noticed_at_once_and_ours_is_there() {
        let gone = tokio::time::timeout(Duration::from_secs(30), orphaned(i32::MAX)).await;
        assert!(gone.is_ok());
        let here = tokio::time::timeout(PAUSE * 2, orphaned(parent())).await;
        assert!(here.is_err());
    }
}
