//! Nodes that join without a token wait until an operator has approved their fingerprint; keys that were removed never
//! come back.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Cluster, SOON, THRESHOLD, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_join_by_approval() {
    let mut cluster = Cluster::fresh().await;
    cluster.init().await;
    cluster.give_shares(&[0; THRESHOLD]).await;
    cluster.all_unsealed(&[0]).await;

    let fingerprint = waits(&cluster, 1).await;
    only_its_own_approval_admits_it(&cluster, &fingerprint).await;
    joined(&cluster, 1).await;
    assert!(pending(&cluster).await.is_empty(), "it waits no more");

    // By configuration, and approved before it asks, through another member.
    cluster.give_shares(&[1, 0, 1]).await;
    cluster.all_unsealed(&[1]).await;
    let third = asks_by_configuration(&mut cluster).await;
    approve(&cluster, 1, &third).await;
    joined(&cluster, 2).await;
    cluster.give_shares(&[2, 2, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    cluster.voters(3).await;
    a_removed_key_is_refused(&mut cluster).await;
    cluster.assert_alive();
}

/// A join without a token; the fingerprint that is shown.
async fn waits(cluster: &Cluster, joiner: usize) -> String {
    let ca = fs::read_to_string(cluster.ca()).expect("the authority");
    let target = json!({"leader_api_addr": cluster.nodes[0].url, "leader_ca_cert": ca});
    let api = &cluster.nodes[joiner].api;
    let answer = api.must("POST", "sys/storage/raft/join", target).await;
    assert_eq!(
        (&answer["joined"], &answer["pending"]),
        (&json!(false), &json!(true))
    );
    let fingerprint = answer["fingerprint"].as_str().expect("a fingerprint").to_owned();
    let status = cluster.nodes[joiner].seal_status().await;
    assert_eq!(status["fingerprint"], fingerprint.as_str());
    assert!(
        status["join_status"]
            .as_str()
            .is_some_and(|said| said.contains("operator raft approve")),
        "{status}"
    );
    assert!(
        cluster.nodes[joiner].said().contains(&fingerprint),
        "its log names it"
    );
    fingerprint
}

async fn pending(cluster: &Cluster) -> Vec<Value> {
    let listed = cluster.api(0).get("sys/storage/raft/pending").await;
    listed.body["data"]["keys"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

async fn approve(cluster: &Cluster, through: usize, fingerprint: &str) {
    cluster
        .api(through)
        .must(
            "PUT",
            "sys/storage/raft/approve",
            json!({"fingerprint": fingerprint}),
        )
        .await;
}

async fn only_its_own_approval_admits_it(cluster: &Cluster, fingerprint: &str) {
    assert_eq!(pending(cluster).await, [json!(fingerprint)]);
    let api = cluster.api(0);
    for wrong in ["", "abc", "zz"] {
        let reply = api
            .call(
                "PUT",
                "sys/storage/raft/approve",
                Some(json!({"fingerprint": wrong})),
            )
            .await;
        assert_eq!(reply.expect("an answer").status, 400, "{wrong:?}");
    }
    let nobody = cluster.nodes[0]
        .api
        .call(
            "PUT",
            "sys/storage/raft/approve",
            Some(json!({"fingerprint": fingerprint})),
        )
        .await;
    assert_eq!(nobody.expect("an answer").status, 403, "approval needs a token");
    approve(cluster, 0, &"7".repeat(64)).await;
    assert_eq!(
        pending(cluster).await,
        [json!(fingerprint)],
        "another was approved"
    );
    // Who knows a fingerprint does not have its key.
    let claim = json!({"key_hash": fingerprint, "name": "thief", "cluster_addr": "127.0.0.1:9"});
    let stolen = cluster.nodes[0]
        .api
        .call("POST", "sys/storage/raft/bootstrap/admit", Some(claim))
        .await;
    assert_eq!(stolen.expect("an answer").status, 400);
    // As people copy it.
    let shouted: Vec<String> = fingerprint
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    approve(cluster, 0, &shouted.join(":")).await;
}

async fn joined(cluster: &Cluster, joiner: usize) {
    eventually("it is admitted", SOON, async || {
        let status = cluster.nodes[joiner].seal_status().await;
        if status["initialized"] == true {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

async fn asks_by_configuration(cluster: &mut Cluster) -> String {
    cluster.nodes[2].stop().await;
    let path = cluster.nodes[2].folder().join("conclave.hcl");
    let config = fs::read_to_string(&path).expect("a configuration");
    let join = format!(
        "retry_join {{\n leader_api_addr = \"{}\"\n leader_ca_cert_file = \"{}\"\n}}\n node_id",
        cluster.nodes[0].url,
        cluster.ca().display()
    );
    fs::write(&path, config.replacen("node_id", &join, 1)).expect("a configuration");
    cluster.nodes[2].start().await;
    eventually("it shows its fingerprint", SOON, async || {
        let status = cluster.nodes[2].seal_status().await;
        match status["fingerprint"].as_str() {
            Some(fingerprint) if status["join_status"].to_string().contains("approve") => {
                Ok(fingerprint.to_owned())
            }
            _ => Err(status),
        }
    })
    .await
}

/// The disk of a removed node, told to join as if it were new.
async fn a_removed_key_is_refused(cluster: &mut Cluster) {
    if cluster.leader().await == 2 {
        cluster.api(2).must("PUT", "sys/step-down", json!({})).await;
    }
    let name = json!({"server_id": cluster.nodes[2].name});
    cluster
        .api(0)
        .must("POST", "sys/storage/raft/remove-peer", name)
        .await;
    let fingerprint = cluster.nodes[2].said();
    let fingerprint = fingerprint
        .split("raft approve ")
        .nth(1)
        .and_then(|rest| rest.get(..64))
        .expect("the fingerprint in the log")
        .to_owned();
    cluster.nodes[2].kill();
    let data = cluster.nodes[2].data();
    for entry in fs::read_dir(&data).expect("a data directory") {
        let path = entry.expect("an entry").path();
        if path.ends_with("node.key") {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.expect("a file that can be removed");
    }
    cluster.nodes[2].start().await;
    eventually("it is told why it is refused", SOON, async || {
        let status = cluster.nodes[2].seal_status().await;
        let said = status["join_status"].as_str().unwrap_or_default().to_owned();
        if said.contains("removed from the cluster") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    let refused = cluster
        .api(0)
        .call(
            "PUT",
            "sys/storage/raft/approve",
            Some(json!({"fingerprint": fingerprint})),
        )
        .await;
    assert_eq!(refused.expect("an answer").status, 400);
}
