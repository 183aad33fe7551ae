//! Members come and go: removed, refused, replaced under a new id, without a vote, promoted, demoted, stepped down; and hold the
//! same rows all the while.

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
    let fresh = cluster.add("node4", "c");
    cluster.nodes[fresh].start().await;
    a_token_is_bound_to_networks(&cluster, fresh).await;
    writers.go_on(8).await;
    a_fresh_node_takes_the_place(&mut cluster, fresh, &writers).await;
    states_are_equal(&cluster).await;
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
        cluster.another_leader(leader).await;
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
    let leader = cluster.another_leader(2).await;
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

async fn a_token_is_bound_to_networks(cluster: &Cluster, joiner: usize) {
    let wish = json!({"bound_cidrs": ["10.0.0.0/8", "::1"]});
    let given = cluster
        .api(0)
        .must("POST", "sys/storage/raft/join-token", wish)
        .await;
    assert_eq!(given["bound_cidrs"], json!(["10.0.0.0/8", "::1"]));
    let target = target(cluster, &given["join_token"]);
    for _ in 0..2 {
        let refused = cluster.nodes[joiner]
            .api
            .call("POST", "sys/storage/raft/join", Some(target.clone()))
            .await
            .expect("an answer");
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("403"), "{}", refused.text());
    }
    assert!(
        cluster.nodes[0].said().contains("10.0.0.0/8"),
        "the member says why"
    );
}

fn target(cluster: &Cluster, token: &serde_json::Value) -> serde_json::Value {
    let ca = std::fs::read_to_string(cluster.ca()).expect("the authority");
    json!({"leader_api_addr": cluster.nodes[0].url, "leader_ca_cert": ca, "join_token": token})
}

async fn a_fresh_node_takes_the_place(cluster: &mut Cluster, fresh: usize, writers: &Writers) {
    let wish = json!({"bound_cidrs": "127.0.0.0/8"});
    let given = cluster
        .api(1)
        .must("POST", "sys/storage/raft/join-token", wish)
        .await;
    let mut target = target(cluster, &given["join_token"]);
    target["non_voter"] = json!(true);
    let joined = cluster.nodes[fresh]
        .api
        .must("POST", "sys/storage/raft/join", target)
        .await;
    assert_eq!(joined["joined"], true, "{joined}");
    eventually("it hears of the cluster", SOON, async || {
        let sealed = cluster.nodes[fresh].seal_status().await;
        if sealed["initialized"] == true {
            Ok(())
        } else {
            Err(sealed)
        }
    })
    .await;
    cluster.give_shares(&[fresh, 0, 1]).await;
    cluster.all_unsealed(&[0, 1, fresh]).await;
    // It has the log and serves what is in it, and is not promoted however long it goes on.
    for _ in 0..3 {
        let read = cluster.api(fresh).get("secret/data/removed").await;
        assert_eq!(read.body["data"]["data"]["value"], "after the removal");
        writers.go_on(16).await;
        let servers = cluster.servers(0).await.expect("members");
        let voters = servers.iter().filter(|server| server["voter"] == true);
        assert_eq!((servers.len(), voters.count()), (3, 2), "{servers:?}");
    }
    let name = json!({"server_id": cluster.nodes[fresh].name});
    cluster
        .api(1)
        .must("POST", "sys/storage/raft/promote", name)
        .await;
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

/// While others write, and through whichever node is asked.
async fn states_are_equal(cluster: &Cluster) {
    for at in cluster.running() {
        let found = cluster
            .api(at)
            .must("POST", "sys/storage/raft/compare", json!({}))
            .await;
        assert_eq!(found["decided"], true, "{found}");
        let members = found["members"].as_array().expect("members");
        assert_eq!(members.len(), 3);
        for member in members {
            assert_eq!(member["differs"], false, "{found}");
            assert_eq!(member["digest"], members[0]["digest"], "{found}");
        }
    }
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
