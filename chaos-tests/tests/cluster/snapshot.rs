//! Operators' snapshots over real processes: saved by the real `bao` and by our own tool, put back into the cluster they
//! are from, and by force into another one, which then opens with the shares of the first.

mod guide;

use serde_json::json;

use crate::belongings::Belongings;
use crate::harness::{Cluster, Tool, Writers};
use guide::Guide;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_snapshot() {
    let mut cluster = Cluster::formed().await;
    let follower = cluster.others(cluster.leader().await)[0];
    put(&cluster, 0, "one").await;
    let belongings = Belongings::make(&cluster.api(0)).await;
    let path = |name: &str| cluster.files().join(name).display().to_string();
    let (saved, ours) = (path("bao.snap"), path("ours.snap"));
    Tool::bao(&cluster, follower)
        .must(&["operator", "raft", "snapshot", "save", &saved])
        .await;
    let conclave = Tool::conclave(&cluster, &[0, 1, 2]);
    conclave
        .must(&["operator", "raft", "snapshot", "save", &ours])
        .await;
    for file in [&saved, &ours] {
        let told = conclave
            .must(&["operator", "raft", "snapshot", "inspect", file])
            .await;
        assert!(
            told.contains("seal_threshold") && told.contains("state_sha256"),
            "{told}"
        );
    }

    put(&cluster, 1, "two").await;
    belongings.spoil(&cluster.api(1)).await;
    in_place(&mut cluster, follower, &saved, &belongings).await;
    two_disks_are_lost(&mut cluster, &ours).await;
    belongings.are_there(&cluster).await;
    cluster.assert_alive();
}

async fn put(cluster: &Cluster, at: usize, value: &str) {
    let body = json!({"data": {"value": value}});
    cluster.api(at).must("POST", "secret/data/kept", body).await;
}

async fn holds(cluster: &Cluster, value: &str) {
    for api in cluster.apis() {
        let found = api.get("secret/data/kept").await;
        assert_eq!(found.body["data"]["data"]["value"], value, "{}", found.text());
    }
}

/// Back into the cluster it is from, while that is busy; then it goes on as any cluster does.
async fn in_place(cluster: &mut Cluster, through: usize, file: &str, belongings: &Belongings) {
    let writers = Writers::start_before_restore(4, &cluster.apis(), &mut cluster.seed);
    writers.go_on(16).await;
    Tool::bao(cluster, through)
        .must(&["operator", "raft", "snapshot", "restore", file])
        .await;
    writers.go_on(16).await;
    // Some of what it acknowledged is gone, as it must be.
    drop(writers.finish().await);
    holds(cluster, "one").await;
    belongings.are_there(cluster).await;
    cluster.digests_agree().await;
    cluster.voters(3).await;
    put(cluster, 2, "three").await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for at in 0..3 {
        cluster.nodes[at].start().await;
    }
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    holds(cluster, "three").await;
    belongings.are_there(cluster).await;
    cluster.digests_agree().await;
}

/// Two disks are lost and the third is not trusted: a new cluster takes the snapshot, by the commands of the document as
/// they stand there.
async fn two_disks_are_lost(cluster: &mut Cluster, file: &str) {
    let guide = Guide::new(cluster, file);
    for node in &mut cluster.nodes {
        node.kill();
        guide.empty(&node.data()).await;
        node.start().await;
    }
    guide.make_restore_and_open(cluster).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    holds(cluster, "one").await;
    cluster.voters(3).await;
    put(cluster, 1, "again").await;
    holds(cluster, "again").await;
    cluster.digests_agree().await;
}
