//! All nodes killed at once.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Cluster, SOON, Writers};

/// Sealed nodes wait three election time-outs before one of them stands.
const CARETAKER: Duration = SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_all_restarted() {
    let mut cluster = Cluster::formed().await;
    let apis = cluster.apis();
    let writers = Writers::start(8, &apis, &mut cluster.seed);
    writers.go_on(64).await;
    for at in 0..3 {
        cluster.nodes[at].kill();
    }
    let journal = writers.finish().await;
    for at in 0..3 {
        cluster.nodes[at].start().await;
    }
    let caretaker = cluster.leader_within(CARETAKER).await;
    eprintln!("caretaker: {}", cluster.nodes[caretaker].name);
    for (at, api) in apis.iter().enumerate() {
        let health = api.get("sys/health").await;
        assert_eq!(
            (health.status, &health.body["sealed"]),
            (503, &json!(true)),
            "node{}",
            at + 1
        );
        let read = api.get("secret/data/writer-0/1").await;
        assert_eq!(read.status, 503, "a sealed node answers {}", read.text());
    }
    cluster.digests_agree().await;

    let through = cluster.seed.below(3);
    cluster.give_shares(&[through; 3]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    for api in &apis {
        journal.is_found_by(api).await;
    }
    let written = cluster
        .api(through)
        .must("POST", "secret/data/after", json!({"data": {"a": 1}}))
        .await;
    assert_eq!(written["version"], 1);
    cluster.digests_agree().await;
    cluster.assert_alive();
}
