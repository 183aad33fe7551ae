//! Members come and go: removed, refused, replaced under a new id, promoted, demoted, stepped down.

use serde_json::json;

use crate::harness::{Cluster, SOON, Writers, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_members() {
    let mut cluster = Cluster::formed().await;
    let writers = Writers::start(4, &cluster.apis()[..2], &mut cluster.seed);
    writers.go_on(8).await;
    step_down(&cluster).await;
    writers.go_on(8).await;
    demote_and_promote(&cluster).await;
    writers.go_on(8).await;
    removed_and_refused(&mut cluster).await;
    writers.go_on(8).await;
    a_fresh_node_takes_the_place(&mut cluster).await;
    writers.go_on(8).await;
    what_cannot_be_is_refused(&cluster).await;
    the_leader_is_removed(&mut cluster).await;
    let journal = writers.finish().await;
    let left = cluster.running()[0];
    journal.is_found_by(&cluster.api(left)).await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}

async fn step_down(cluster: &Cluster) {
    for through_another in [false, true] {
        let leader = cluster.leader().await;
        let asked = if through_another {
            cluster.others(leader)[0]
        } else {
            leader
        };
        cluster.api(asked).must("PUT", "sys/step-down", json!({})).await;
        assert_ne!(cluster.leader().await, leader, "who led leads no more");
    }
}

async fn demote_and_promote(cluster: &Cluster) {
    // Through another node than the leader: it hands the change on.
    let leader = cluster.leader().await;
    let through = cluster.others(leader)[0];
    let subject = json!({"server_id": cluster.nodes[cluster.others(leader)[1]].name});
    cluster
        .api(through)
        .must("POST", "sys/storage/raft/demote", subject.clone())
        .await;
    cluster.voters(2).await;
    // A learner that has caught up is promoted again, by an operator or by the leader's own care.
    cluster
        .api(through)
        .must("POST", "sys/storage/raft/promote", subject)
        .await;
    cluster.voters(3).await;
}

async fn removed_and_refused(cluster: &mut Cluster) {
    // Never the leader, so that this is about the member.
    if cluster.leader().await == 2 {
        cluster.api(2).must("PUT", "sys/step-down", json!({})).await;
    }
    let leader = cluster.leader().await;
    assert_ne!(leader, 2);
    let name = json!({"server_id": cluster.nodes[2].name});
    cluster
        .api(leader)
        .must("POST", "sys/storage/raft/remove-peer", name)
        .await;
    eventually("two members are left", SOON, async || {
        let servers = cluster.servers(leader).await?;
        if servers.len() == 2 {
            Ok(())
        } else {
            Err(format!("{servers:?}"))
        }
    })
    .await;
    // Its disk and key are as they were: nobody listens to it any more.
    let (revision, _) = cluster.nodes[leader].digest().await.expect("a digest");
    cluster.nodes[2].kill();
    cluster.nodes[2].start().await;
    let value = json!({"data": {"value": "after the removal"}});
    cluster
        .api(leader)
        .must("POST", "secret/data/removed", value)
        .await;
    let api = cluster.api(2);
    let read = api.get("secret/data/removed").await;
    assert_eq!(read.status, 503, "a removed node serves: {}", read.text());
    cluster.give_shares(&[2, 2, 2]).await;
    let write = api
        .call(
            "POST",
            "secret/data/removed",
            Some(json!({"data": {"value": "mine"}})),
        )
        .await;
    assert!(
        write.is_ok_and(|reply| reply.status == 503),
        "a removed node takes no writes"
    );
    let (reached, _) = cluster.nodes[2].digest().await.expect("a digest");
    assert!(
        reached <= revision + 64,
        "a removed node still hears of writes: {reached} after {revision}"
    );
    assert_eq!(
        cluster.servers(leader).await.expect("members").len(),
        2,
        "it did not come back by itself"
    );
    cluster.nodes[2].kill();
}

async fn a_fresh_node_takes_the_place(cluster: &mut Cluster) {
    let fresh = cluster.add("node4", "c");
    cluster.nodes[fresh].start().await;
    cluster.join(fresh, 0).await;
    cluster.give_shares(&[fresh, 0, 1]).await;
    cluster.all_unsealed(&[0, 1, fresh]).await;
    let servers = cluster.voters(3).await;
    let mut ids: Vec<u64> = servers
        .iter()
        .map(|server| server["id"].as_u64().expect("an id"))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 4], "an id is never given twice");
    let read = cluster.api(fresh).get("secret/data/removed").await;
    assert_eq!(read.body["data"]["data"]["value"], "after the removal");
}

async fn what_cannot_be_is_refused(cluster: &Cluster) {
    for at in cluster.running() {
        let nobody = json!({"server_id": "nobody"});
        let reply = cluster
            .api(at)
            .call("POST", "sys/storage/raft/remove-peer", Some(nobody))
            .await
            .expect("an answer");
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
}

/// Whoever leads is removed by a request to itself: it hands over first.
async fn the_leader_is_removed(cluster: &mut Cluster) {
    let leader = cluster.leader().await;
    let name = json!({"server_id": cluster.nodes[leader].name});
    cluster
        .api(leader)
        .must("POST", "sys/storage/raft/remove-peer", name)
        .await;
    cluster.nodes[leader].kill();
    let servers = cluster.voters(2).await;
    assert_eq!(servers.len(), 2, "{servers:?}");
    cluster.leader().await;
}
