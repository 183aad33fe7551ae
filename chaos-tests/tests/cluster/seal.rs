//! `sys/seal`: a node without keys serves nothing, leads no more while another can, and still replicates.

use serde_json::json;

use crate::harness::{Cluster, FAILOVER, SOON, Writers, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_seal() {
    let mut cluster = Cluster::formed().await;
    let before = json!({"data": {"value": "before"}});
    cluster.api(0).must("POST", "secret/data/kept", before).await;
    let sealed = cluster.leader().await;
    let writers = Writers::start(8, &cluster.apis(), &mut cluster.seed);
    writers.go_on(16).await;
    cluster.api(sealed).must("PUT", "sys/seal", json!({})).await;
    assert!(cluster.nodes[sealed].is_sealed().await);
    writers.go_on_within(16, FAILOVER).await;

    serves_nothing(&cluster, sealed).await;
    // It may order what others write until one of them takes over.
    let leader = cluster.another_leader(sealed).await;
    let journal = writers.finish().await;

    let (revision, _) = cluster.digests_agree().await;
    let value = json!({"data": {"value": "while one is sealed"}});
    cluster.api(leader).must("POST", "secret/data/later", value).await;
    eventually("the sealed node replicates", SOON, async || {
        let (reached, _) = cluster.nodes[sealed].digest().await?;
        if reached > revision {
            Ok(())
        } else {
            Err(format!("at {reached}, before {revision}"))
        }
    })
    .await;
    cluster.digests_agree().await;

    // It stays sealed by itself, and opens by shares.
    assert!(cluster.nodes[sealed].is_sealed().await);
    cluster.give_shares(&[sealed, leader, sealed]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    let api = cluster.api(sealed);
    assert_eq!(
        api.get("secret/data/later").await.body["data"]["data"]["value"],
        "while one is sealed"
    );
    journal.is_found_by(&api).await;
    cluster.assert_alive();
}

async fn serves_nothing(cluster: &Cluster, sealed: usize) {
    let api = cluster.api(sealed);
    assert_eq!(api.get("sys/health").await.status, 503);
    let requests = [
        ("GET", "secret/data/kept"),
        ("LIST", "secret/metadata/"),
        ("GET", "sys/mounts"),
        ("GET", "sys/policies/acl/default"),
        ("GET", "auth/token/lookup-self"),
        ("GET", "sys/internal/ui/mounts"),
        ("GET", "sys/storage/raft/configuration"),
    ];
    for (method, path) in requests {
        let reply = api.call(method, path, None).await.expect("an answer");
        assert_eq!(reply.status, 503, "{method} {path}: {}", reply.text());
        assert!(
            !reply.body.to_string().contains("before"),
            "{path} tells a secret"
        );
    }
    let put = api
        .call("POST", "secret/data/kept", Some(json!({"data": {"value": "no"}})))
        .await;
    assert_eq!(put.expect("an answer").status, 503);
    assert!(
        cluster.nodes[sealed]
            .metrics()
            .await
            .contains("conclave_sealed 1")
    );
}
