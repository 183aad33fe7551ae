//! One node of three is no cluster: it acknowledges nothing and tells nothing that others might have changed.

use serde_json::json;

use crate::harness::{Api, Cluster, FAILOVER, SOON, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_minority() {
    let mut cluster = Cluster::formed().await;
    let value = json!({"data": {"value": "kept"}});
    cluster.api(0).must("POST", "secret/data/kept", value).await;
    let alone = cluster.seed.below(3);
    for other in cluster.others(alone) {
        cluster.nodes[other].kill();
    }
    let api = cluster.api(alone);
    serves_nothing(&api).await;

    // One more makes a quorum, sealed as it is.
    let back = (alone + 1) % 3;
    cluster.nodes[back].start().await;
    eventually("two of three serve", FAILOVER * 2, async || {
        let reply = api
            .call("POST", "secret/data/after", Some(json!({"data": {"value": 1}})))
            .await;
        match reply {
            Ok(reply) if reply.is_good() => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(
        api.get("secret/data/kept").await.body["data"]["data"]["value"],
        "kept"
    );
    let lost = api.get("secret/data/lost").await;
    assert!(
        matches!(lost.status, 200 | 404),
        "its outcome was unknown: {}",
        lost.text()
    );
    // Without the sealed one there would be no quorum: said as an error that an operator can act on, whoever leads.
    let name = json!({"server_id": cluster.nodes[back].name});
    let refused = api
        .call("POST", "sys/storage/raft/remove-peer", Some(name))
        .await
        .expect("an answer");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("quorum"), "{}", refused.text());
    cluster.nodes[(alone + 2) % 3].start().await;
    cluster.give_shares(&[alone, back, back]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}

async fn serves_nothing(api: &Api) {
    eventually("it notices that it is alone", SOON, async || {
        let health = api.get("sys/health").await;
        if health.status == 503 { Ok(()) } else { Err(health) }
    })
    .await;
    let read = api.get("secret/data/kept").await;
    assert_eq!(
        read.status,
        503,
        "a read that nobody vouches for: {}",
        read.text()
    );
    let written = api
        .call("POST", "secret/data/lost", Some(json!({"data": {"value": 1}})))
        .await;
    let written = written.expect("an answer in time");
    assert!(
        matches!(written.status, 503 | 504),
        "a write without a quorum: {}",
        written.text()
    );
}
