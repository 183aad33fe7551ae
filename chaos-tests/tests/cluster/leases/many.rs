//! Many leases ended by one command: at a terminal it says first how many they are and asks, and shows a bar while they go; a
//! script is asked nothing.

use futures::future::join_all;

use super::{issued_by, leases_of};
use crate::harness::{Cluster, Tool, conclave};

/// From so many on, a person is asked.
const MANY: usize = 100;
/// Asked for side by side.
const AT_ONCE: usize = 10;

/// Makes many accounts by `creds` and ends them.
pub async fn are_ended_by_one_command(cluster: &Cluster, creds: &str) {
    let api = cluster.api(cluster.leader().await);
    for _ in 0..MANY / AT_ONCE {
        join_all((0..AT_ONCE).map(|_| issued_by(&api, creds))).await;
    }
    // As on a terminal, which `script` makes.
    let typed = async |answer: &str, flags: &str| {
        let command = format!(
            "printf '{answer}\\n' | script -qec '{} lease revoke {flags} -prefix {creds}' /dev/null",
            conclave().display()
        );
        Tool::program(cluster, 1, "bash", "-c").run(&[&command]).await
    };
    let refused = typed("n", "").await.expect_err("nothing is done");
    assert!(
        refused.contains(&format!("This revokes {MANY} leases beneath \"{creds}\"")),
        "{refused}"
    );
    assert!(refused.contains("Nothing was revoked."), "{refused}");
    assert_eq!(leases_of(&api, creds).await.len(), MANY);
    let done = typed("y", "").await.expect("it goes on");
    assert!(done.contains("This revokes 100 leases"), "{done}");
    assert!(done.contains("/100 leases revoked"), "a bar: {done}");
    assert!(done.contains("queued successfully"), "{done}");
    assert!(leases_of(&api, creds).await.is_empty(), "it waited");

    for _ in 0..MANY / AT_ONCE {
        join_all((0..AT_ONCE).map(|_| issued_by(&api, creds))).await;
    }
    let script = Tool::conclave(cluster, &[1]);
    let done = script.must(&["lease", "revoke", "-sync", "-prefix", creds]).await;
    assert!(!done.contains("This revokes"), "{done}");
    assert!(leases_of(&api, creds).await.is_empty());
}
