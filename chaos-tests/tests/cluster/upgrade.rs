//! Members of two versions in one cluster: the next is this tree with one more format and one more operation. They are upgraded
//! one by one under writers; what only the next knows waits for the last; after that nobody goes back.

use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Cluster, Reply, SOON, Writers, eventually};

/// Names the build of the next version (`make chaos-upgrade` makes it).
const NEXT: &str = "CONCLAVE_NEXT_BIN";
/// Writes acknowledged after each step.
const ENOUGH: u64 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_upgrade_one_by_one() {
    let next = std::env::var_os(NEXT).map(PathBuf::from);
    let next = next.expect("a build of the next version: make chaos-upgrade makes one");
    let mut cluster = Cluster::formed().await;
    let apis = cluster.apis();
    let writers = Writers::start(8, &apis, &mut cluster.seed);
    writers.go_on(ENOUGH).await;
    let order = cluster.seed.shuffled(&[0, 1, 2]);
    let [first, second, last] = [order[0], order[1], order[2]];

    // While one member does not know the next version, an upgrade can be taken back.
    for build in [Some(&next), None, Some(&next)] {
        restart(&mut cluster, first, build).await;
        writers.go_on(ENOUGH).await;
    }
    restart(&mut cluster, second, Some(&next)).await;
    writers.go_on(ENOUGH).await;
    for at in [first, second] {
        let reply = ask(&cluster, at).await;
        assert!(
            !reply.is_good() && reply.text().contains("cluster version 2"),
            "{}",
            reply.text()
        );
    }
    let reply = ask(&cluster, last).await;
    assert_eq!(
        reply.status,
        404,
        "this version knows no such path: {}",
        reply.text()
    );

    restart(&mut cluster, last, Some(&next)).await;
    for at in order {
        eventually("all know it, so it is done", SOON, async || {
            let reply = ask(&cluster, at).await;
            if reply.is_good() {
                Ok(())
            } else {
                Err(reply.text())
            }
        })
        .await;
    }
    writers.go_on(ENOUGH).await;

    // This version stays away from what the next has written, and touches nothing.
    let back = cluster.seed.below(3);
    cluster.nodes[back].stop().await;
    cluster.nodes[back].run_by(None);
    cluster.nodes[back].begin();
    let status = cluster.nodes[back].ended().await;
    assert!(!status.success(), "an older build starts on newer data");
    let said = cluster.nodes[back].said();
    assert!(said.contains("this build is too old"), "{said}");
    restart(&mut cluster, back, Some(&next)).await;
    writers.go_on(ENOUGH).await;

    let journal = writers.finish().await;
    for api in &apis {
        journal.is_found_by(api).await;
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// Stops a node that runs, and starts it by this build, unsealed.
async fn restart(cluster: &mut Cluster, at: usize, build: Option<&PathBuf>) {
    if cluster.nodes[at].runs() {
        cluster.nodes[at].stop().await;
    }
    cluster.nodes[at].run_by(build.cloned());
    cluster.nodes[at].start().await;
    cluster.give_shares(&[at; 3]).await;
    cluster.all_unsealed(&[at]).await;
    cluster.leader().await;
}

/// Asks a node for what only the next version can do.
async fn ask(cluster: &Cluster, at: usize) -> Reply {
    let api = cluster.api(at);
    eventually("an answer", SOON, async || {
        match api.call("PUT", "sys/next-format", Some(json!({}))).await {
            Ok(reply) if reply.status != 503 => Ok(reply),
            other => Err(other),
        }
    })
    .await
}
