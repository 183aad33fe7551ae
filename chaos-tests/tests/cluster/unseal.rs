//! Who opens whom: shares through any nodes, members that open each other, seals that stand against it, and sealed leaders
//! that look after a cluster until somebody can lead it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{AUDIT, Api, Cluster, SOON, THRESHOLD, Writers, eventually};

/// Sealed nodes wait three election time-outs before one of them stands.
const CARETAKER: Duration = SOON;

async fn always() -> Cluster {
    let mut cluster = Cluster::prepared(3);
    for node in &mut cluster.nodes {
        node.configure("peer_unseal = \"always\"");
        node.start().await;
    }
    cluster.form().await;
    cluster
}

async fn restart(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].kill();
    cluster.nodes[at].start().await;
}

/// Waits until the present starts of all are ordered.
async fn all_registered(cluster: &Cluster) {
    eventually("all starts are registered", SOON, async || {
        let late = cluster.nodes.iter().find(|node| !node.is_registered());
        late.map_or(Ok(()), |node| Err(&node.name))
    })
    .await;
}

async fn status(api: &Api) -> Value {
    api.get("sys/seal-status").await.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_unseal_always() {
    let mut cluster = always().await;
    let file = cluster.files().join(AUDIT);
    std::fs::create_dir_all(&file).expect("a folder for audit files");
    let device = json!({"type": "file", "options": {"file_path": file.join("all.log")}});
    cluster.api(0).must("PUT", "sys/audit/all", device).await;

    // A member that restarts is opened by the others, and both leave a record of it.
    let order = cluster.seed.shuffled(&[0, 1, 2]);
    let [kept, sealed, other] = [order[0], order[1], order[2]];
    restart(&mut cluster, other).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    let records = std::fs::read_to_string(file.join("all.log")).expect("audit records");
    for side in [
        format!("sys/unseal/offer/to-node/{}", other + 1),
        "sys/unseal/offer/from-node/".to_owned(),
    ] {
        assert!(records.contains(&side), "no record of {side}");
    }

    // One that an operator sealed is not, not even after a restart; one that restarts after it is.
    cluster.api(sealed).must("PUT", "sys/seal", json!({})).await;
    restart(&mut cluster, sealed).await;
    restart(&mut cluster, other).await;
    cluster.all_unsealed(&[kept, other]).await;
    assert!(
        cluster.nodes[sealed].is_sealed().await,
        "a seal survives a restart"
    );
    cluster.give_shares(&[kept, other, kept]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    restart(&mut cluster, sealed).await;
    cluster.all_unsealed(&[sealed]).await;

    the_whole_cluster_is_sealed(&mut cluster, other).await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// `seal -cluster`, with one member that does not hear of it at first.
async fn the_whole_cluster_is_sealed(cluster: &mut Cluster, away: usize) {
    let asked = cluster.others(away)[0];
    let value = json!({"data": {"value": "kept"}});
    cluster.api(asked).must("POST", "secret/data/kept", value).await;
    cluster.nodes[away].freeze();
    let here = cluster.others(away);
    eventually("the others have a leader among them", SOON, async || {
        let leader = cluster.api(asked).get("sys/leader").await.body;
        let led = leader["leader_address"].as_str().unwrap_or_default().to_owned();
        if here.iter().any(|at| cluster.nodes[*at].url == led) {
            Ok(())
        } else {
            Err(led)
        }
    })
    .await;
    let all = json!({"cluster": true});
    cluster.api(asked).must("PUT", "sys/seal", all).await;
    cluster.all_sealed(&here).await;
    cluster.nodes[away].thaw();
    let api = cluster.api(away);
    let late = api.get("secret/data/kept").await;
    assert_eq!(late.status, 503, "it was away: {}", late.text());
    cluster.all_sealed(&[away]).await;
    // Nobody opens anybody: a restarted member finds no open one, and says so.
    restart(cluster, away).await;
    cluster.leader_within(CARETAKER).await;
    assert!(cluster.nodes[away].is_sealed().await);
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    let read = api.get("secret/data/kept").await;
    assert_eq!(read.body["data"]["data"]["value"], "kept", "{}", read.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_unseal_by_shares() {
    let mut cluster = Cluster::formed().await;
    for at in 0..3 {
        cluster.nodes[at].kill();
    }
    one_alone_serves_nothing(&mut cluster).await;
    let short = json!({"ttl": "8s", "policies": ["default"]});
    let minted = cluster.api(0).must("POST", "auth/token/create", short).await;
    drop(minted);
    // At once: nobody with keys is there when its time is over.
    for at in cluster.running() {
        cluster.nodes[at].kill();
    }
    for at in 0..3 {
        cluster.nodes[at].start().await;
    }
    cluster.leader_within(CARETAKER).await;
    all_registered(&cluster).await;
    a_sealed_leader_runs_no_job(&mut cluster).await;
    progress_is_the_clusters(&mut cluster).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    eventually("the token that ended meanwhile is removed", SOON, async || {
        let accessors = cluster.api(0).call("LIST", "auth/token/accessors", None).await;
        let left = accessors.expect("an answer").body["data"]["keys"].clone();
        if left.as_array().map(Vec::len) == Some(1) && expired(&cluster).await == 1 {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// How many tokens the nodes that run have ended.
async fn expired(cluster: &Cluster) -> u64 {
    let mut ended = 0;
    for node in &cluster.nodes {
        let metrics = node.metrics().await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("conclave_expired_total "));
        ended += line.expect("a number").parse::<u64>().expect("a number");
    }
    ended
}

/// A node with keys and without a quorum answers nothing, not even what it holds itself: it was away, and cannot know.
async fn one_alone_serves_nothing(cluster: &mut Cluster) {
    cluster.nodes[0].start().await;
    cluster.give_shares(&[0; THRESHOLD]).await;
    cluster.all_unsealed(&[0]).await;
    let api = cluster.api(0);
    for (method, path) in [("GET", "secret/data/none"), ("GET", "auth/token/lookup-self")] {
        let reply = api.call(method, path, None).await.expect("an answer");
        assert_eq!(reply.status, 503, "{method} {path}: {}", reply.text());
    }
    assert_eq!(api.get("sys/health").await.status, 503);
    // The same node serves as soon as a quorum says what it must have seen.
    cluster.nodes[1].start().await;
    eventually("two of three serve", SOON, async || {
        let reply = api.get("sys/mounts").await;
        if reply.is_good() { Ok(()) } else { Err(reply) }
    })
    .await;
    assert!(
        cluster.nodes[1].is_sealed().await,
        "it started after the last share: it needs shares of its own"
    );
    // Where the sealed one has entries that this one lacks, it leads until it has handed them over.
    eventually("who is open leads", SOON, async || match cluster.leader().await {
        0 => Ok(()),
        leader => Err(leader),
    })
    .await;
}

/// It orders what members propose, here their starts, and leaves everything else to one that holds keys. All starts were ordered
/// before: nobody asks for anything but the one that follows.
async fn a_sealed_leader_runs_no_job(cluster: &mut Cluster) {
    let (before, _) = cluster.digests_agree().await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    restart(cluster, follower).await;
    all_registered(cluster).await;
    let (ordered, _) = cluster.digests_agree().await;
    assert!(
        ordered > before,
        "at {ordered} after {before}: no start was ordered"
    );
    let deadline = server_time(cluster, leader).await + 10;
    eventually("the token's time is over", SOON, async || {
        match server_time(cluster, leader).await {
            now if now > deadline => Ok(()),
            now => Err(now),
        }
    })
    .await;
    // Whoever led meanwhile held no keys.
    cluster.all_sealed(&[0, 1, 2]).await;
    let (after, _) = cluster.digests_agree().await;
    assert_eq!(
        after, ordered,
        "a sealed leader ended a token it cannot even name"
    );
    assert_eq!(expired(cluster).await, 0);
}

async fn server_time(cluster: &Cluster, at: usize) -> u64 {
    let health = cluster.api(at).get("sys/health").await;
    health.body["server_time_utc"].as_u64().expect("a time")
}

/// Wrong, repeated, forgotten: what one node is told of a share, all know.
async fn progress_is_the_clusters(cluster: &mut Cluster) {
    let apis = cluster.apis();
    let shares = cluster.seed.shuffled(&cluster.shares);
    let wrong = json!({"key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    let share = |number: usize| json!({"key": shares[number]});
    let first = all_count(&apis, 0, share(0), 1).await;
    let again = all_count(&apis, 1, share(0), 1).await;
    assert_eq!(again, first, "a repeated share changes nothing");
    let refused = apis[2].call("PUT", "sys/unseal", Some(wrong)).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(
        refused.text().contains("not a share of this cluster"),
        "{}",
        refused.text()
    );
    assert_eq!(all_count(&apis, 2, share(1), 2).await, first);
    let reset = json!({"reset": true});
    assert_eq!(all_count(&apis, 1, reset, 0).await, "", "forgotten by all");
    // Three shares through three nodes, as a balancer would spread them.
    for (at, api) in apis.iter().enumerate().take(THRESHOLD) {
        api.must("PUT", "sys/unseal", share(at)).await;
    }
}

/// Tells one node, and waits until all count so many shares of one ceremony; its name. A member that could not be reached in time
/// hears of it when it is told again.
async fn all_count(apis: &[Api], at: usize, told: Value, given: u64) -> String {
    apis[at].must("PUT", "sys/unseal", told.clone()).await;
    eventually("progress is the cluster's", SOON, async || {
        let mut counted = Vec::new();
        for api in apis {
            let status = status(api).await;
            let name = status["nonce"].as_str().expect("a nonce").to_owned();
            counted.push((status["progress"].as_u64(), name));
        }
        let (progress, name) = counted[0].clone();
        if progress == Some(given) && counted.iter().all(|one| *one == counted[0]) {
            return Ok(name);
        }
        apis[at].must("PUT", "sys/unseal", told.clone()).await;
        Err(counted)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_unsealed_one_behind() {
    let mut cluster = Cluster::formed().await;
    let behind = cluster.seed.below(3);
    let ahead = cluster.others(behind);
    cluster.nodes[behind].freeze();
    let apis: Vec<Api> = ahead.iter().map(|at| cluster.api(*at)).collect();
    let writers = Writers::start(4, &apis, &mut cluster.seed);
    writers.go_on(64).await;
    for at in &ahead {
        cluster.nodes[*at].kill();
    }
    let journal = writers.finish().await;
    for at in &ahead {
        cluster.nodes[*at].start().await;
    }
    // A sealed caretaker has the whole log; the only one with keys lacks its end.
    eventually("a caretaker leads", CARETAKER, async || {
        let leader = cluster.nodes[ahead[0]].api.get("sys/leader").await.body;
        let led = leader["leader_address"].as_str().unwrap_or_default().to_owned();
        if ahead.iter().any(|at| cluster.nodes[*at].url == led) {
            Ok(())
        } else {
            Err(led)
        }
    })
    .await;
    cluster.nodes[behind].thaw();
    eventually(
        "the caretaker hands over to the one with keys",
        SOON,
        async || match cluster.leader().await {
            leader if leader == behind => Ok(()),
            leader => Err(leader),
        },
    )
    .await;
    let api = cluster.api(behind);
    journal.is_found_by(&api).await;
    let value = json!({"data": {"value": "by one alone"}});
    api.must("POST", "secret/data/alone", value).await;
    for at in &ahead {
        assert!(
            cluster.nodes[*at].is_sealed().await,
            "a restart under peer_unseal = ceremony needs shares"
        );
    }

    // Its keys die with it: then only shares help.
    cluster.nodes[behind].kill();
    cluster.nodes[behind].start().await;
    cluster.leader_within(CARETAKER).await;
    let read = api.get("secret/data/alone").await;
    assert_eq!(read.status, 503, "{}", read.text());
    cluster.give_shares(&[ahead[0], behind, ahead[1]]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    for api in cluster.apis() {
        journal.is_found_by(&api).await;
        let read = api.get("secret/data/alone").await;
        assert_eq!(read.body["data"]["data"]["value"], "by one alone");
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}
