//! Operators' snapshots over real processes: saved by the real `bao` and by our own tool, put back into the cluster they
//! are from, and by force into another one, which then opens with the shares of the first.

use serde_json::json;

use crate::harness::{Cluster, SOON, Tool, Writers, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_snapshot() {
    let mut cluster = Cluster::formed().await;
    let follower = cluster.others(cluster.leader().await)[0];
    put(&cluster, 0, "one").await;
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
    in_place(&mut cluster, follower, &saved).await;
    elsewhere(&cluster, &ours).await;
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
async fn in_place(cluster: &mut Cluster, through: usize, file: &str) {
    let writers = Writers::start(4, &cluster.apis(), &mut cluster.seed);
    writers.go_on(16).await;
    Tool::bao(cluster, through)
        .must(&["operator", "raft", "snapshot", "restore", file])
        .await;
    writers.go_on(16).await;
    // Some of what it acknowledged is gone, as it must be.
    drop(writers.finish().await);
    holds(cluster, "one").await;
    cluster.digests_agree().await;
    cluster.voters(3).await;
    put(cluster, 2, "three").await;
    let killed = cluster.leader().await;
    cluster.nodes[killed].kill();
    cluster.nodes[killed].start().await;
    cluster.give_shares(&[killed, killed, killed]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    holds(cluster, "three").await;
    cluster.digests_agree().await;
}

/// Two disks are lost and the third is not trusted: a new cluster takes the snapshot.
async fn elsewhere(lost: &Cluster, file: &str) {
    let mut fresh = Cluster::formed().await;
    let bao = Tool::bao(&fresh, 1);
    let restore = ["operator", "raft", "snapshot", "restore", file];
    let refused = bao.run(&restore).await.expect_err("it is of another cluster");
    assert!(refused.contains("different set of unseal keys"), "{refused}");
    assert!(!fresh.nodes[1].is_sealed().await);
    let forced = [&restore[..4], &["-force", file]].concat();
    bao.must(&forced).await;
    eventually("all nodes seal themselves", SOON, async || {
        for node in &fresh.nodes {
            if !node.is_sealed().await {
                return Err(node.name.clone());
            }
        }
        Ok(())
    })
    .await;
    let own = fresh.nodes[0]
        .api
        .call("PUT", "sys/unseal", Some(json!({"key": fresh.shares[0]})))
        .await;
    assert_eq!(
        own.expect("an answer").status,
        400,
        "the shares of the new cluster are of no use"
    );
    fresh.shares.clone_from(&lost.shares);
    fresh.root.clone_from(&lost.root);
    fresh.give_shares(&[0, 1, 2]).await;
    fresh.all_unsealed(&[0, 1, 2]).await;
    holds(&fresh, "one").await;
    fresh.voters(3).await;
    put(&fresh, 1, "again").await;
    holds(&fresh, "again").await;
    fresh.digests_agree().await;
    fresh.assert_alive();
}
