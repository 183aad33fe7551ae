//! Whether the process that started this one is still there: throw-away servers end with it, however it ends. A pipe or a
//! signal from the kernel would do it sooner, but those are tied to a descriptor or a thread of the parent.

use std::time::Duration;

use rustix::process::{Pid, getppid, test_kill_process};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// The number of this process's parent; 0 if it lies outside of what this process may see.
pub fn parent() -> i32 {
    getppid().map_or(0, Pid::as_raw_pid)
}

/// Ends when `expected` is gone. If it is this process's parent, that shows at once in having another one. A node that was started by
/// hand in place of one that ended is a child of somebody's shell: then whether there is a process of that number is what tells.
pub async fn orphaned(expected: i32) {
    let mut looks = tokio::time::interval(PAUSE);
    let ours = parent() == expected;
    while (ours && parent() == expected) || (!ours && is_there(expected)) {
        looks.tick().await;
    }
}

fn is_there(number: i32) -> bool {
    let number = u32::try_from(number).ok().and_then(|_| Pid::from_raw(number));
    // Another's process, which may not be told anything, is there as well.
    number.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
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

    #[tokio::test]
    async fn one_that_did_not_start_us_is_watched_too() {
        let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let number = i32::try_from(other.id()).unwrap();
        let here = tokio::time::timeout(PAUSE * 2, orphaned(number)).await;
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(here.is_err());
        let gone = tokio::time::timeout(Duration::from_secs(30), orphaned(number)).await;
        assert!(gone.is_ok());
    }
}
