//! A data key replaced under writers: nobody notices, the rows of the old key are sealed anew, the key goes, and neither a
//! restart of everything nor a snapshot from before misses it. New shares after it: every member follows.

use serde_json::{Value, json};

use crate::harness::{Cluster, FAILOVER, SOON, THRESHOLD, Tool, Writers, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_rotation() {
    let mut cluster = Cluster::formed().await;
    put(&cluster, "before").await;
    let snapshot = cluster.files().join("before.snap").display().to_string();
    Tool::bao(&cluster, 1)
        .must(&["operator", "raft", "snapshot", "save", &snapshot])
        .await;

    let writers = Writers::start(6, &cluster.apis(), &mut cluster.seed);
    for through in [0, 1, 2] {
        writers.go_on(16).await;
        cluster.api(through).must("POST", "sys/rotate", json!({})).await;
        writers.go_on(16).await;
    }
    // The leader seals rows anew; another goes on where it ended.
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    writers.go_on_within(16, FAILOVER).await;
    cluster.nodes[leader].start().await;
    cluster.give_shares(&[leader, leader, leader]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    writers.go_on(16).await;
    let journal = writers.finish().await;
    old_keys_are_gone(&cluster, 4).await;
    cluster.digests_agree().await;
    eventually("the numbers say so", SOON, async || {
        for node in &cluster.nodes {
            let numbers = node.metrics().await;
            let one = |line: &str| numbers.lines().any(|found| found == line);
            if !(one("conclave_keyring_term 4") && one("conclave_keyring_old_keys 0")) {
                return Err(node.name.clone());
            }
        }
        Ok(())
    })
    .await;

    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    for api in cluster.apis() {
        journal.is_found_by(&api).await;
    }

    // A snapshot from before the first rotation brings its own key, and goes the same way.
    Tool::bao(&cluster, 2)
        .must(&["operator", "raft", "snapshot", "restore", &snapshot])
        .await;
    holds(&cluster, "before").await;
    cluster.api(1).must("POST", "sys/rotate", json!({})).await;
    old_keys_are_gone(&cluster, 2).await;
    holds(&cluster, "before").await;
    new_shares(&mut cluster).await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}

async fn put(cluster: &Cluster, value: &str) {
    let body = json!({"data": {"value": value}});
    cluster.api(0).must("POST", "secret/data/kept", body).await;
}

async fn holds(cluster: &Cluster, value: &str) {
    for api in cluster.apis() {
        let found = api.get("secret/data/kept").await;
        assert_eq!(found.body["data"]["data"]["value"], value, "{}", found.text());
    }
}

async fn old_keys_are_gone(cluster: &Cluster, term: u64) {
    eventually("no row of an old key is left", SOON, async || {
        for api in cluster.apis() {
            let status = api.get("sys/key-status").await.body["data"].clone();
            if status["term"] != term || status["old_terms"] != Value::Null {
                return Err(status);
            }
        }
        Ok(())
    })
    .await;
}

/// New shares: members follow without anybody's help, and then the new root key is on offer no longer.
async fn new_shares(cluster: &mut Cluster) {
    let api = cluster.api(0);
    let split = json!({"secret_shares": 5, "secret_threshold": THRESHOLD});
    let begun = api.must("POST", "sys/rotate/root/init", split).await;
    let mut shares = Vec::new();
    for share in &cluster.shares[..THRESHOLD] {
        let given = json!({"nonce": begun["nonce"], "key": share});
        let made = api.must("POST", "sys/rotate/root/update", given).await;
        if made["complete"] == true {
            shares = serde_json::from_value(made["keys_base64"].clone()).expect("shares");
        }
    }
    assert_eq!(shares.len(), 5);
    cluster.shares = shares;
    holds(cluster, "before").await;
    eventually("the new root key is on offer no longer", SOON, async || {
        let told = cluster
            .nodes
            .iter()
            .any(|node| node.said().contains("it is on offer no longer"));
        if told { Ok(()) } else { Err("nobody took it away") }
    })
    .await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    holds(cluster, "before").await;
}
