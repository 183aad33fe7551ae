//! Tokens of limited use while nodes are killed: a use is paid before the change it pays for is committed, by a command of its own.
//! Whoever dies in between, no use is spent twice, none comes back, and each that is gone was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Api, Cluster, SOON, eventually};

/// Uses of the token.
const USES: u64 = 400;
const CLIENTS: usize = 12;
/// Between two kills so many are used.
const BETWEEN: u64 = 60;

/// What became of the requests that showed the token.
#[derive(Default)]
struct Came {
    acknowledged: AtomicU64,
    /// Not done, or nobody knows: it may have been paid for.
    other: AtomicU64,
    over: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_uses_are_spent_once() {
    let mut cluster = Cluster::formed().await;
    let api = cluster.api(0);
    let policy = json!({"policy": r#"path "secret/*" { capabilities = ["create", "update"] }"#});
    api.must("POST", "sys/policies/acl/put", policy).await;
    let wish = json!({"policies": ["put"], "num_uses": USES, "ttl": "1h", "no_default_policy": true});
    let made = api
        .call("POST", "auth/token/create", Some(wish))
        .await
        .expect("an answer");
    let token = made.body["auth"]["client_token"]
        .as_str()
        .expect("a token")
        .to_owned();

    let came = Arc::new(Came::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let apis: Vec<Api> = (0..3)
            .map(|at| cluster.nodes[at].api.with_token(&token))
            .collect();
        clients.spawn(spend(number, apis, Arc::clone(&came)));
    }
    for victim in cluster.seed.shuffled(&[0, 1, 2]) {
        progress(&came, BETWEEN).await;
        cluster.nodes[victim].kill();
        progress(&came, BETWEEN).await;
        cluster.nodes[victim].start().await;
        cluster.give_shares(&[victim; 3]).await;
        cluster.all_unsealed(&[victim]).await;
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client that does not fail");
    }
    let count = |number: &AtomicU64| number.load(Ordering::SeqCst);
    let (acknowledged, other) = (count(&came.acknowledged), count(&came.other));
    let listed = cluster.api(0).call("LIST", "secret/metadata/uses/", None).await;
    let listed = listed.expect("an answer").body;
    let there = listed["data"]["keys"].as_array().expect("keys").len() as u64;
    eprintln!("{acknowledged} acknowledged, {other} failed or unknown, {there} are there");
    assert!(there <= USES, "{there} changes for {USES} uses");
    assert!(
        acknowledged <= there,
        "{acknowledged} acknowledged, {there} are there"
    );
    assert!(
        there + other >= USES,
        "{there} done and {other} not: uses are gone that nobody asked for"
    );
    assert!(
        acknowledged * 2 > USES,
        "too few to show anything: {acknowledged}"
    );
    let api = cluster.api(0);
    eventually("it ended with its last use", SOON, async || {
        let body = json!({"accessor": made.body["auth"]["accessor"]});
        let found = api.call("POST", "auth/token/lookup-accessor", Some(body)).await;
        let found = found.expect("an answer");
        if found.status == 400 {
            Ok(())
        } else {
            Err(found.text())
        }
    })
    .await;
    cluster.digests_agree().await;
    the_leader_dies_with_the_last_use(&mut cluster).await;
}

/// Between the use and the end of its token: whoever leads then ends it.
async fn the_leader_dies_with_the_last_use(cluster: &mut Cluster) {
    const STEP: &str = "before-end-of-spent";
    let leader = cluster.leader().await;
    let wish = json!({"policies": ["put"], "num_uses": 1, "ttl": "1h"});
    let made = cluster
        .api(leader)
        .call("POST", "auth/token/create", Some(wish))
        .await
        .expect("an answer");
    let token = made.body["auth"]["client_token"].as_str().expect("a token");
    cluster.nodes[leader].arm(STEP);
    let api = cluster.nodes[leader].api.with_token(token);
    let asking = tokio::spawn(async move {
        let body = json!({"data": {"value": "kept"}});
        api.call("POST", "secret/data/last", Some(body)).await
    });
    eventually("the last use is taken", SOON, async || {
        cluster.nodes[leader]
            .stands_at(STEP)
            .then_some(())
            .ok_or("not yet")
    })
    .await;
    cluster.nodes[leader].kill();
    assert!(asking.await.expect("a request that does not fail").is_err());
    let api = cluster.api(cluster.others(leader)[0]);
    eventually("its token is ended by who leads now", SOON, async || {
        let body = json!({"accessor": made.body["auth"]["accessor"]});
        match api.call("POST", "auth/token/lookup-accessor", Some(body)).await {
            Ok(reply) if reply.status == 400 => Ok(()),
            other => Err(other.map(|reply| reply.text()).map_err(|_| "no answer")),
        }
    })
    .await;
    let kept = api.get("secret/data/last").await;
    assert!(kept.is_good(), "it was served: {}", kept.text());
}

/// Writes new keys by the token until it is over.
async fn spend(number: usize, apis: Vec<Api>, came: Arc<Came>) {
    for round in 0..usize::MAX {
        let path = format!("secret/data/uses/{number}-{round}");
        let body = json!({"data": {"value": round}});
        let reply = apis[(number + round) % apis.len()]
            .call("POST", &path, Some(body))
            .await;
        let count = match &reply {
            Ok(reply) if reply.is_good() => &came.acknowledged,
            Ok(reply) if reply.status == 403 => {
                came.over.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Ok(reply) => {
                assert!(matches!(reply.status, 503 | 504), "{}", reply.text());
                &came.other
            }
            Err(_) => &came.other,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until so many more are acknowledged, or the token is over.
async fn progress(came: &Came, more: u64) {
    let enough = came.acknowledged.load(Ordering::SeqCst) + more;
    eventually("uses are spent", SOON * 2, async || {
        let (now, over) = (
            came.acknowledged.load(Ordering::SeqCst),
            came.over.load(Ordering::SeqCst),
        );
        if now >= enough || over > 0 {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
}
