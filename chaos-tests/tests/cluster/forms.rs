//! From three fresh processes to one cluster.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Cluster, SHARES, SOON, THRESHOLD, Tool, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_forms() {
    let mut cluster = Cluster::fresh().await;
    assert_eq!(
        cluster.nodes[0].api.get("sys/health").await.status,
        501,
        "not initialized"
    );
    cluster.init().await;
    assert_eq!(cluster.shares.len(), SHARES);
    assert_eq!(cluster.nodes[0].api.get("sys/health").await.status, 503, "sealed");
    cluster.give_shares(&[0, 0, 0]).await;
    cluster.all_unsealed(&[0]).await;
    cluster.join(1, 0).await;
    cluster.join(2, 0).await;
    assert!(cluster.nodes[1].is_sealed().await && cluster.nodes[2].is_sealed().await);

    shares_count_for_all(&mut cluster).await;
    zones_and_voters(&cluster).await;
    reads_are_current_on_every_node(&cluster).await;
    let operations = format!("-operations={}", cluster.nodes[1].operations);
    // The cluster's own jobs may write between two questions.
    eventually("`operator digest` says the same", SOON, async || {
        let (revision, digest) = cluster.digests_agree().await;
        let told = Tool::conclave(&cluster, &[1])
            .must(&["operator", "digest", &operations, "-format=json"])
            .await;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        if told == json!({"revision": revision, "digest": digest}) {
            return Ok(());
        }
        assert_ne!(told["revision"], revision, "{told}, not {digest}");
        Err(told)
    })
    .await;
    cluster.assert_alive();
}

/// Three shares through three nodes open all, and progress is the same on all sealed ones.
async fn shares_count_for_all(cluster: &mut Cluster) {
    let shares = cluster.seed.shuffled(&cluster.shares);
    for (given, (share, node)) in (1..).zip(shares.iter().zip([1, 2, 0])) {
        let give = async || {
            let share = json!({"key": share});
            cluster.nodes[node].api.must("PUT", "sys/unseal", share).await
        };
        give().await;
        if given == THRESHOLD {
            break;
        }
        eventually("both count shares given elsewhere", SOON, async || {
            let mut counted = Vec::new();
            for sealed in [1, 2] {
                counted.push(cluster.nodes[sealed].seal_status().await["progress"].clone());
            }
            if counted == [given, given] {
                return Ok(());
            }
            // Who could not be reached in time hears of it when it is given again.
            give().await;
            Err(counted)
        })
        .await;
    }
    cluster.all_unsealed(&[0, 1, 2]).await;
    eventually("no share is left over for the next time", SOON, async || {
        let statuses = join_all(cluster.nodes.iter().map(|node| node.seal_status())).await;
        let progress: Vec<_> = statuses.iter().map(|status| status["progress"].clone()).collect();
        if progress.iter().all(|given| *given == 0) {
            Ok(())
        } else {
            Err(progress)
        }
    })
    .await;
}

async fn zones_and_voters(cluster: &Cluster) {
    let servers = cluster.voters(3).await;
    let mut zones: Vec<&str> = servers
        .iter()
        .filter_map(|server| server["zone"].as_str())
        .collect();
    zones.sort_unstable();
    assert_eq!(zones, ["a", "b", "c"]);
    let leader = cluster.leader().await;
    for at in cluster.running() {
        let health = cluster.nodes[at].api.get("sys/health").await;
        assert_eq!(health.status, 200, "{}", health.body);
        assert_eq!(health.body["standby"], at != leader, "{}", health.body);
        assert!(cluster.nodes[at].metrics().await.contains("conclave_sealed 0"));
    }
}

/// What one node acknowledged, every node reads at once, unasked for: linearizable with plain clients.
async fn reads_are_current_on_every_node(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let mount = json!({"type": "kv", "options": {"version": "2"}});
    cluster
        .api(follower)
        .must("POST", "sys/mounts/secret", mount)
        .await;
    for round in 0..30 {
        let writer = cluster.api(round % 3);
        let value = json!({"data": {"round": round}});
        let written = writer.must("POST", "secret/data/shared", value).await;
        assert_eq!(written["version"], round + 1);
        for reader in cluster.apis() {
            let read = reader.get("secret/data/shared").await;
            assert_eq!(read.status, 200, "{}", read.text());
            assert_eq!(
                read.body["data"]["data"]["round"], round,
                "a stale read in round {round}"
            );
        }
    }
}
