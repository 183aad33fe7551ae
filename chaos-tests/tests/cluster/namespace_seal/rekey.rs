//! New shares for a namespace with a seal of its own, and a leader that is killed in the midst of it: what was not verified has no
//! effect, and after what was in flight either the old shares open the namespace or the new ones do.

use std::time::Duration;

use serde_json::{Value, json};

use super::{serve, serve_again};
use crate::harness::{Api, Cluster, SOON, THRESHOLD, eventually};

const UNSEAL: &str = "sys/namespaces/t/unseal";
const VERIFY: &str = "t/sys/rotate/root/verify";
/// Times the leader is killed while the last share is on its way.
const ROUNDS: usize = 3;
/// Longest time from the last share to the kill, in microseconds: about as long as a command takes.
const LONGEST: usize = 12_000;

/// New shares, handed out by a node and verified but for the last one; and the name of the verification.
async fn all_but_the_last(api: &Api, shares: &[Value]) -> (Vec<Value>, Value) {
    let wanted = json!({"secret_shares": 3, "secret_threshold": 2, "require_verification": true});
    let begun = api.must("PUT", "t/sys/rotate/root/init", wanted).await;
    let mut made = Value::Null;
    for share in &shares[..2] {
        let given = json!({"nonce": begun["nonce"], "key": share});
        made = api.must("PUT", "t/sys/rotate/root/update", given).await;
    }
    let new = made["keys"].as_array().expect("new shares").clone();
    let nonce = made["verification_nonce"].clone();
    let given = json!({"nonce": nonce, "key": new[0]});
    api.must("PUT", VERIFY, given).await;
    (new, nonce)
}

/// Kills a node, has the others serve without it, and starts it again.
async fn kill_and_start(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].kill();
    // Those that are left have the keys, old or new: nobody is asked for shares.
    serve(cluster, &cluster.others(at), "one").await;
    cluster.nodes[at].start().await;
    cluster.give_shares(&[at; THRESHOLD]).await;
    cluster.all_unsealed(&[at]).await;
    serve_again(cluster, at, "one").await;
}

/// Whether a share counts once the namespace is sealed.
async fn counts(cluster: &Cluster, share: &Value) -> bool {
    let at = cluster.leader().await;
    eventually("the share is judged", SOON, async || {
        let reply = cluster
            .api(at)
            .call("PUT", UNSEAL, Some(json!({"key": share})))
            .await;
        match reply {
            Ok(reply) if reply.is_good() => Ok(true),
            Ok(reply) if reply.text().contains("not a share of this namespace") => Ok(false),
            Ok(reply) => Err(reply.text()),
            Err(lost) => Err(format!("{lost:?}")),
        }
    })
    .await
}

/// Seals the namespace and opens it with the old shares or with the new ones, of which the others open nothing.
async fn open_with_either(cluster: &Cluster, old: Vec<Value>, new: Vec<Value>) -> (Vec<Value>, bool) {
    let at = cluster.leader().await;
    cluster
        .api(at)
        .must("PUT", "sys/namespaces/t/seal", json!({}))
        .await;
    let is_new = counts(cluster, &new[0]).await;
    assert_ne!(
        is_new,
        counts(cluster, &old[0]).await,
        "one of both, never neither"
    );
    let good = if is_new { new } else { old };
    assert!(counts(cluster, &good[1]).await);
    serve(cluster, &[0, 1, 2], "one").await;
    (good, is_new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_namespace_rekey() {
    let mut cluster = Cluster::formed().await;
    let seal = json!({"seal": "seal \"shamir\" {\n shares = 3\n threshold = 2\n}"});
    let made = cluster.api(0).must("POST", "sys/namespaces/t", seal).await;
    let mut shares = made["key_shares"].as_array().expect("shares").clone();
    for (share, at) in shares.iter().zip([0, 1]) {
        let key = json!({"key": share});
        cluster.api(at).must("PUT", UNSEAL, key).await;
    }
    let mount = json!({"type": "kv"});
    cluster.api(0).must("POST", "t/sys/mounts/kv", mount).await;
    cluster.api(0).must("POST", "t/kv/a", json!({"k": "one"})).await;
    serve(&cluster, &[0, 1, 2], "one").await;

    // Not all of the new shares came back: the old ones are those that count.
    let leader = cluster.leader().await;
    let (new, _) = all_but_the_last(&cluster.api(leader), &shares).await;
    kill_and_start(&mut cluster, leader).await;
    let is_new;
    (shares, is_new) = open_with_either(&cluster, shares, new).await;
    assert!(!is_new, "nobody verified them");

    for _ in 0..ROUNDS {
        let leader = cluster.leader().await;
        let api = cluster.api(leader);
        let (new, nonce) = all_but_the_last(&api, &shares).await;
        let last = json!({"nonce": nonce, "key": new[1]});
        let asked = tokio::spawn(async move { api.call("PUT", VERIFY, Some(last)).await });
        let wait = cluster.seed.below(LONGEST);
        // why: the leader dies anywhere on the way of the last share, which no file tells
        tokio::time::sleep(Duration::from_micros(wait as u64)).await;
        kill_and_start(&mut cluster, leader).await;
        let answered = asked.await.expect("the request ended");
        let is_done = answered.is_ok_and(|reply| reply.is_good());
        let is_new;
        (shares, is_new) = open_with_either(&cluster, shares, new).await;
        assert!(is_new || !is_done, "what was acknowledged is lost");
    }

    // Undisturbed, all nodes go on with the new root key and none is asked for shares.
    let leader = cluster.leader().await;
    let (new, nonce) = all_but_the_last(&cluster.api(leader), &shares).await;
    let last = json!({"nonce": nonce, "key": new[1]});
    cluster.api(leader).must("PUT", VERIFY, last).await;
    serve(&cluster, &[0, 1, 2], "one").await;
    let (_, is_new) = open_with_either(&cluster, shares, new).await;
    assert!(is_new);
    cluster.digests_agree().await;
    cluster.assert_alive();
}
