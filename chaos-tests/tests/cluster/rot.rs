//! A row of one node's state changes under it, unseen by any checksum of the store: the comparison finds it, that node serves no
//! more, and a fresh copy under a new id takes its place.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bytes::Bytes;
use conclave_raft::Row;
use conclave_raft::state::{RocksStore, Store, WriteSet};
use serde_json::{Value, json};

use crate::harness::{Cluster, SOON, Seed, eventually};

const SECRETS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_rotten_row_is_found() {
    let mut cluster = Cluster::formed().await;
    for number in 0..SECRETS {
        let value = json!({"data": {"value": number}});
        let path = format!("secret/data/{number}");
        cluster.api(0).must("POST", &path, value).await;
    }
    cluster.digests_agree().await;
    let victim = cluster.seed.below(3);
    let name = cluster.nodes[victim].name.clone();
    cluster.nodes[victim].stop().await;
    let state = cluster.nodes[victim].data().join("state");
    spoil(&state, &mut cluster.seed);
    cluster.nodes[victim].start().await;
    cluster.give_shares(&[victim; 3]).await;
    cluster.all_unsealed(&[victim]).await;

    let through = cluster.others(victim)[0];
    let told = compared(&cluster, through).await;
    assert_eq!(told["decided"], true, "{told}");
    for member in told["members"].as_array().expect("members") {
        assert_eq!(member["differs"], member["node_id"] == name.as_str(), "{told}");
    }
    eventually("the node that differs is sealed and named", SOON, async || {
        let reply = cluster.api(victim).get("secret/data/1").await;
        let named = cluster.nodes[through].api.get("sys/health").await.body["diverged_nodes"].clone();
        if reply.status == 503 && named == json!([name]) {
            Ok(())
        } else {
            Err((reply.text(), named))
        }
    })
    .await;
    // Shares do not make it serve what it holds.
    cluster.give_shares(&[victim; 3]).await;
    let reply = cluster.api(victim).get("secret/data/1").await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    let reply = cluster.api(through).get("secret/data/1").await;
    assert_eq!(reply.body["data"]["data"]["value"], 1, "{}", reply.text());

    replace(&mut cluster, victim, through).await;
    cluster.digests_agree().await;
    let told = compared(&cluster, through).await;
    let members = told["members"].as_array().expect("members");
    assert!(members.iter().all(|member| member["differs"] == false), "{told}");
    let reply = cluster.api(victim).get("secret/data/1").await;
    assert_eq!(reply.body["data"]["data"]["value"], 1, "{}", reply.text());
    cluster.assert_alive();
}

/// Flips a bit of one row's value. The store is closed, and takes it for a change like others.
fn spoil(state: &Path, seed: &mut Seed) {
    let store = RocksStore::open(state).expect("the node has stopped");
    let mut rows: Vec<(Vec<u8>, Row)> = Vec::new();
    let view = store.snapshot().expect("a view");
    view.scan(&[], None, &mut |key, row| {
        rows.push((key.to_vec(), row));
        Ok(true)
    })
    .expect("rows");
    // The last were written last: secrets.
    rows.sort_by_key(|(_, row)| row.revision);
    let last = rows.len() - SECRETS;
    let (key, mut row) = rows.swap_remove(last + seed.below(SECRETS));
    let mut value = row.value.to_vec();
    let at = value.len() - 1 - seed.below(8);
    value[at] ^= 1 << seed.below(8);
    row.value = Bytes::from(value);
    let (applied, membership) = view.applied().expect("how far it is");
    drop(view);
    let set = WriteSet {
        rows: vec![(Bytes::from(key), Some(row))],
        applied,
        membership,
        ..WriteSet::default()
    };
    store.write(set).expect("a write");
    store.flush().expect("a flush");
}

async fn compared(cluster: &Cluster, through: usize) -> Value {
    let api = cluster.api(through);
    api.must("POST", "sys/storage/raft/compare", json!({})).await
}

/// As the handbook says: removed, its data directory emptied, and joined anew.
async fn replace(cluster: &mut Cluster, victim: usize, through: usize) {
    let name = json!({"server_id": cluster.nodes[victim].name});
    let api = cluster.api(through);
    api.must("POST", "sys/storage/raft/remove-peer", name).await;
    cluster.nodes[victim].kill();
    let data = cluster.nodes[victim].data();
    std::fs::rename(&data, data.with_extension("rotten")).expect("a data directory");
    let mut private = DirBuilder::new();
    private.mode(0o700).create(&data).expect("an empty one");
    cluster.nodes[victim].start().await;
    cluster.join(victim, through).await;
    cluster.give_shares(&[victim; 3]).await;
    cluster.all_unsealed(&[victim]).await;
    cluster.voters(3).await;
}
