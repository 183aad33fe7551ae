//! A namespace with a seal of its own over three nodes: shares through any of them, a leader that is killed, a member that comes
//! back without its shares, and a seal that all nodes follow.

mod rekey;

use serde_json::{Value, json};

use crate::harness::{Api, Cluster, SOON, THRESHOLD, eventually};

const SHUT: &str = "{\"errors\":[\"namespace is sealed\"]}";

async fn read(api: &Api) -> Result<Value, String> {
    let reply = api.call("GET", "t/kv/a", None).await;
    let reply = reply.map_err(|lost| format!("{lost:?}"))?;
    match reply.is_good() {
        true => Ok(reply.into_data()["k"].clone()),
        false => Err(reply.text()),
    }
}

/// A leader may be missing for a moment; a namespace that is open on a member may not.
async fn serve(cluster: &Cluster, nodes: &[usize], value: &str) {
    for at in nodes {
        let api = cluster.api(*at);
        eventually("the namespace answers", SOON, async || match read(&api).await {
            Ok(found) if found == value => Ok(()),
            Err(text) if text.contains(SHUT) => panic!("node {at}: {text}"),
            other => Err(other),
        })
        .await;
    }
}

/// One that has started again gets the keys from the others once they have taken in its start, and asks each second.
async fn serve_again(cluster: &Cluster, at: usize, value: &str) {
    let api = cluster.api(at);
    eventually("the namespace is open again", SOON, async || {
        match read(&api).await {
            Ok(found) if found == value => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_namespace_seal() {
    let mut cluster = Cluster::formed().await;
    let seal = json!({"seal": "seal \"shamir\" {\n shares = 3\n threshold = 2\n}"});
    let made = cluster.api(0).must("POST", "sys/namespaces/t", seal).await;
    let unseal = async |cluster: &Cluster, through: [usize; 2]| {
        let mut last = Value::Null;
        for (share, at) in through.into_iter().enumerate() {
            let key = json!({"key": made["key_shares"][share]});
            let path = "sys/namespaces/t/unseal";
            last = cluster.api(at).must("PUT", path, key).await;
        }
        assert_eq!(last["sealed"], false, "{last}");
    };
    let order = cluster.seed.shuffled(&[0, 1, 2]);
    unseal(&cluster, [order[0], order[1]]).await;
    let mount = json!({"type": "kv"});
    cluster.api(order[2]).must("POST", "t/sys/mounts/kv", mount).await;
    let value = json!({"k": "one"});
    cluster.api(order[0]).must("POST", "t/kv/a", value).await;
    serve(&cluster, &[0, 1, 2], "one").await;

    // The next leader has the keys; the one that was killed gets them back with those of the cluster.
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let others = cluster.others(leader);
    serve(&cluster, &others, "one").await;
    cluster.nodes[leader].start().await;
    cluster.give_shares(&[leader; THRESHOLD]).await;
    cluster.all_unsealed(&[leader]).await;
    serve_again(&cluster, leader, "one").await;

    cluster
        .api(order[1])
        .must("PUT", "sys/namespaces/t/seal", json!({}))
        .await;
    for at in 0..3 {
        let api = cluster.api(at);
        eventually("it is sealed", SOON, async || match read(&api).await {
            Err(text) if text.contains(SHUT) => Ok(()),
            Err(text) => Err(text),
            Ok(found) => panic!("node {at}: {found}"),
        })
        .await;
    }
    unseal(&cluster, [order[2], order[0]]).await;
    serve(&cluster, &[0, 1, 2], "one").await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}
