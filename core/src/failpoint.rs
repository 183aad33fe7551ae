//! Named places where a test may stop a node, to kill, pause or seal it there. A file `arm-NAME` in the directory that
//! `CONCLAVE_FAILPOINTS` names becomes `at-NAME` when the place is reached, and the node goes on when that is gone. In a
//! release build there are none.

/// Stops here while a test wants it.
#[cfg(debug_assertions)]
pub async fn reach(name: &str) {
    use std::path::PathBuf;
    use std::time::Duration;

    /// Between two looks for the file.
    const LOOK: Duration = Duration::from_millis(5);

    let Some(directory) = std::env::var_os("CONCLAVE_FAILPOINTS").map(PathBuf::from) else {
        return;
    };
    let at = directory.join(format!("at-{name}"));
    // One of those that come here at once is stopped.
    if std::fs::rename(directory.join(format!("arm-{name}")), &at).is_err() {
        return;
    }
    while at.exists() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub async fn reach(_name: &str) {}
