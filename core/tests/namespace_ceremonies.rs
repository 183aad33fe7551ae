//! What the share holders of a namespace with a seal of its own do together: new shares, a root token of the namespace; and its data
//! key, which grows old by itself. Nothing of it touches the cluster's seal or another namespace's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use conclave_core::Verb::{Delete, Read, Write};
use conclave_core::{Error, Verb};
use conclave_raft::local::LocalReplica;
use conclave_raft::{Command, Op, Outcome, Replica};
use support::held::Held;
use support::sealed::{done, is_sealed, make, seal, unseal};
use support::shared::node_on;
use support::{Node, ask};

const INIT: &str = "sys/rotate/root/init";
const UPDATE: &str = "sys/rotate/root/update";
const VERIFY: &str = "sys/rotate/root/verify";
const ATTEMPT: &str = "sys/generate-root-token/attempt";
const GENERATE: &str = "sys/generate-root-token/update";

/// What is asked in the namespace by the root token.
async fn within(node: &Node, verb: Verb, path: &str, body: Value) -> Result<Value, Error> {
    let answer = ask(node, "t", &node.root, (verb, path), body).await;
    answer.map(|answer| answer["data"].clone())
}

async fn give(node: &Node, path: &str, nonce: &str, key: &str) -> Result<Value, Error> {
    within(node, Write, path, json!({"nonce": nonce, "key": key})).await
}

async fn begin(node: &Node, wanted: Value) -> String {
    let begun = within(node, Write, INIT, wanted).await.unwrap();
    assert_eq!((&begun["started"], &begun["progress"]), (&json!(true), &json!(0)));
    begun["nonce"].as_str().unwrap().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn said<T>(outcome: Result<T, Error>) -> String {
    outcome.err().expect("it is refused").to_string()
}

/// A namespace with a seal, opened, with a secret in it.
async fn tenant(node: &Node) -> Vec<String> {
    let shares = make(node, "", "t").await;
    unseal(node, "", "t", &shares).await;
    done(node, "t", Write, "sys/mounts/kv", json!({"type": "kv"})).await;
    done(node, "t", Write, "kv/a", json!({"k": "v"})).await;
    shares
}

async fn is_readable(node: &Node) -> bool {
    let read = within(node, Read, "kv/a", Value::Null).await;
    read.is_ok_and(|read| read["k"] == "v")
}

/// Two new shares of two.
async fn rotate_root(node: &Node, shares: &[String]) -> Vec<String> {
    let nonce = begin(node, json!({"secret_shares": 2, "secret_threshold": 2})).await;
    give(node, UPDATE, &nonce, &shares[0]).await.unwrap();
    let made = give(node, UPDATE, &nonce, &shares[1]).await.unwrap();
    texts(&made["keys"])
}

/// Values of the rows whose names are clear.
fn clear_rows(node: &Node) -> BTreeMap<String, Vec<u8>> {
    const SEAL_TABLE: u8 = 0x10;
    /// Bytes before a clear name: the space and the name's length.
    const BEFORE: usize = 14;
    let mut rows = BTreeMap::new();
    let snapshot = node.store.snapshot().unwrap();
    snapshot
        .scan(&[], None, &mut |key, row| {
            if key.get(1) == Some(&SEAL_TABLE) {
                let name = String::from_utf8(key[BEFORE..].to_vec()).unwrap();
                rows.insert(name, row.value.to_vec());
            }
            Ok(true)
        })
        .unwrap();
    rows
}

/// Another way to the state of a node, which is asked nothing from then on.
fn replica_of(node: &Node) -> Arc<dyn Replica> {
    Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap())
}

/// Two nodes over the state of one, both open; the namespace on neither.
async fn two_on(node: &Node, replica: &Arc<dyn Replica>) -> [Node; 2] {
    let both = [node_on(node, replica), node_on(node, replica)];
    for node in &both {
        node.core.resume().await.unwrap();
        node.unseal().await;
    }
    both
}

#[tokio::test]
async fn new_shares_open_it_and_old_ones_are_named_as_such() {
    let node = Node::unsealed().await;
    let old = tenant(&node).await;
    let foreign = make(&node, "", "other").await;
    let before = clear_rows(&node);
    let nonce = begin(&node, json!({"secret_shares": 5, "secret_threshold": 3})).await;
    for wrong in [&node.shares[0], &foreign[0]] {
        assert_eq!(
            said(give(&node, UPDATE, &nonce, wrong).await),
            "not a share of this namespace (generation 1)"
        );
    }
    let status = give(&node, UPDATE, &nonce, &old[0]).await.unwrap();
    let told = ["progress", "required", "t", "n"].map(|name| status[name].clone());
    assert_eq!(told, [1, 2, 3, 5].map(Value::from));
    assert!(said(give(&node, UPDATE, &nonce, &old[0]).await).contains("already been provided"));
    // The cluster's own ceremony is another.
    let root = done(&node, "", Read, INIT, Value::Null).await;
    assert_eq!(root["data"]["started"], false);
    let made = give(&node, UPDATE, &nonce, &old[2]).await.unwrap();
    assert_eq!(
        (&made["complete"], &made["verification_required"]),
        (&json!(true), &json!(false))
    );
    let new = texts(&made["keys"]);
    assert_eq!((new.len(), texts(&made["keys_base64"]).len()), (5, 5));
    assert!(is_readable(&node).await, "nobody had to unseal anew");
    done(&node, "t", Write, "sys/rotate", Value::Null).await;
    assert_eq!(
        within(&node, Read, INIT, Value::Null).await.unwrap()["started"],
        false
    );

    let after = clear_rows(&node);
    let mut changed = after.keys().filter(|name| before.get(*name) != after.get(*name));
    assert!(
        changed.all(|name| ["ring-0001", "handover-1"].contains(&name.as_str())),
        "of this namespace alone"
    );
    let status = done(&node, "", Read, "sys/namespaces/t/seal-status", Value::Null).await;
    assert_eq!(
        (&status["data"]["t"], &status["data"]["n"]),
        (&json!(3), &json!(5))
    );
    seal(&node, "", "t").await;
    only_new_shares_open_it(&node, &old, &new).await;
    let node = node.restarted().await;
    node.unseal().await;
    only_new_shares_open_it(&node, &old, &new).await;

    // The same again with the new shares: generations go on.
    let nonce = begin(&node, json!({"secret_shares": 1, "secret_threshold": 1})).await;
    assert!(said(give(&node, UPDATE, &nonce, &old[0]).await).contains("generation 2"));
    for share in &new[..3] {
        give(&node, UPDATE, &nonce, share).await.unwrap();
    }
    assert!(is_readable(&node).await);
}

async fn only_new_shares_open_it(node: &Node, old: &[String], new: &[String]) {
    let path = "sys/namespaces/t/unseal";
    for share in old {
        let refused = ask(node, "", &node.root, (Write, path), json!({"key": share})).await;
        assert_eq!(
            said(refused),
            "invalid key: not a share of this namespace (generation 2)"
        );
    }
    for share in &new[2..] {
        assert!(is_sealed(node, "", "t").await);
        done(node, "", Write, path, json!({"key": share})).await;
    }
    assert!(is_readable(node).await);
}

#[tokio::test]
async fn with_verification_nothing_changes_before_the_new_shares_came_back() {
    let node = Node::unsealed().await;
    let old = tenant(&node).await;
    let before = clear_rows(&node);
    let wanted = json!({"secret_shares": 3, "secret_threshold": 2, "require_verification": true});
    let nonce = begin(&node, wanted.clone()).await;
    give(&node, UPDATE, &nonce, &old[0]).await.unwrap();
    let made = give(&node, UPDATE, &nonce, &old[1]).await.unwrap();
    let verification = made["verification_nonce"].as_str().unwrap();
    let new = texts(&made["keys"]);
    for wrong in [&old[0], &node.shares[0]] {
        assert_eq!(
            said(give(&node, VERIFY, verification, wrong).await),
            "rotation verification failed; incorrect key shares supplied"
        );
    }
    let status = give(&node, VERIFY, verification, &new[0]).await.unwrap();
    assert_eq!((&status["progress"], &status["t"]), (&json!(1), &json!(2)));
    let anew = within(&node, Delete, VERIFY, Value::Null).await.unwrap();
    assert_eq!((&anew["progress"], &anew["started"]), (&json!(0), &json!(true)));
    assert_eq!(clear_rows(&node), before, "handed out, not in effect");

    // A seal of the namespace ends it: what was given is wiped, the shares are the old ones.
    seal(&node, "", "t").await;
    unseal(&node, "", "t", &old).await;
    assert!(said(within(&node, Read, VERIFY, Value::Null).await).contains("no rotation is in progress"));

    let nonce = begin(&node, wanted).await;
    give(&node, UPDATE, &nonce, &old[0]).await.unwrap();
    let made = give(&node, UPDATE, &nonce, &old[1]).await.unwrap();
    let verification = made["verification_nonce"].as_str().unwrap();
    let newer = texts(&made["keys"]);
    assert!(
        give(&node, VERIFY, verification, &new[0]).await.is_err(),
        "of the one that was ended"
    );
    give(&node, VERIFY, verification, &newer[0]).await.unwrap();
    let verified = give(&node, VERIFY, verification, &newer[2]).await.unwrap();
    assert_eq!(verified["complete"], true);
    assert!(is_readable(&node).await);
    seal(&node, "", "t").await;
    let path = "sys/namespaces/t/unseal";
    let refused = ask(&node, "", &node.root, (Write, path), json!({"key": old[0]})).await;
    assert!(said(refused).contains("generation 2"));
    unseal(&node, "", "t", &newer).await;
    assert!(is_readable(&node).await);
}

#[tokio::test]
async fn a_seal_in_the_midst_makes_what_was_begun_before_void() {
    let node = Node::unsealed().await;
    let old = tenant(&node).await;
    let [one, two] = two_on(&node, &replica_of(&node)).await;
    unseal(&one, "", "t", &old).await;
    unseal(&two, "", "t", &old).await;
    let nonce = begin(&one, json!({"secret_shares": 2, "secret_threshold": 2})).await;
    give(&one, UPDATE, &nonce, &old[0]).await.unwrap();
    let attempt = within(&one, Write, ATTEMPT, json!({})).await.unwrap();
    give(&one, GENERATE, attempt["nonce"].as_str().unwrap(), &old[0])
        .await
        .unwrap();
    // The other node seals and opens it; this one has not looked since.
    seal(&two, "", "t").await;
    unseal(&two, "", "t", &old).await;
    unseal(&one, "", "t", &old).await;
    for (path, nonce) in [
        (UPDATE, nonce.as_str()),
        (GENERATE, attempt["nonce"].as_str().unwrap()),
    ] {
        let refused = said(give(&one, path, nonce, &old[1]).await);
        let is_ended = ["void", "changed", "in progress"]
            .iter()
            .any(|word| refused.contains(word));
        assert!(is_ended, "{path}: {refused}");
    }
    assert!(is_readable(&one).await && is_readable(&two).await);
    assert!(!clear_rows(&node).contains_key("handover-1"));
}

#[tokio::test]
async fn a_share_from_before_a_seal_counts_for_nothing_after_it() {
    let node = Node::unsealed().await;
    let shares = make(&node, "", "t").await;
    let [one, two] = two_on(&node, &replica_of(&node)).await;
    let path = "sys/namespaces/t/unseal";
    let given = done(&two, "", Write, path, json!({"key": shares[0]})).await;
    assert_eq!(given["data"]["progress"], 1);
    // Nobody tells this node of it but the state.
    unseal(&one, "", "t", &shares).await;
    seal(&one, "", "t").await;
    let given = done(&two, "", Write, path, json!({"key": shares[1]})).await;
    let told = (&given["data"]["sealed"], &given["data"]["progress"]);
    assert_eq!(told, (&json!(true), &json!(1)));
    let given = done(&two, "", Write, path, json!({"key": shares[2]})).await;
    assert_eq!(given["data"]["sealed"], false);
}

#[tokio::test]
async fn each_namespace_has_its_own_ceremonies() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let others = make(&node, "", "u").await;
    unseal(&node, "", "u", &others).await;
    let split = json!({"secret_shares": 2, "secret_threshold": 2});
    let mut nonces = Vec::new();
    for namespace in ["", "t", "u"] {
        let begun = done(&node, namespace, Write, INIT, split.clone()).await;
        nonces.push(begun["data"]["nonce"].as_str().unwrap().to_owned());
    }
    let refused = within(&node, Write, INIT, split).await;
    assert_eq!(said(refused), "rotation already in progress");
    assert!(
        give(&node, UPDATE, &nonces[0], &shares[0]).await.is_err(),
        "another's nonce"
    );
    give(&node, UPDATE, &nonces[1], &shares[0]).await.unwrap();
    let progress = async |namespace: &str| {
        let status = done(&node, namespace, Read, INIT, Value::Null).await;
        status["data"]["progress"].clone()
    };
    assert_eq!(
        [progress("").await, progress("t").await, progress("u").await],
        [0, 1, 0].map(Value::from)
    );
    done(&node, "u", Delete, INIT, json!({"nonce": nonces[2]})).await;
    assert_eq!(progress("t").await, 1);
    // One that lies in it and has no seal of its own has none of this; one that has no need of shares is not to be had.
    done(&node, "t", Write, "sys/namespaces/kid", Value::Null).await;
    for path in [INIT, ATTEMPT, "sys/rotate/config"] {
        let refused = ask(&node, "t/kid", &node.root, (Read, path), Value::Null).await;
        assert_eq!(said(refused), "namespace is not sealable", "{path}");
    }
    for (verb, path, text) in [
        (Write, "sys/rotate/root", "the shares are of the root key itself"),
        (Read, "sys/rotate/recovery/init", "recovery not supported"),
        (Read, "sys/rotate/root/backup", "no backed-up keys found"),
        (Read, "sys/rekey/init", "operation unavailable in namespaces"),
        (
            Read,
            "sys/generate-root/attempt",
            "operation unavailable in namespaces",
        ),
    ] {
        let refused = said(within(&node, verb, path, Value::Null).await);
        assert!(refused.starts_with(text), "{path}: {refused}");
    }
    // Beginning and cancelling need sudo in it.
    let policy = json!({"policy": "path \"sys/*\" { capabilities = [\"read\", \"update\", \"delete\"] }"});
    done(&node, "t", Write, "sys/policies/acl/most", policy).await;
    let made = done(
        &node,
        "t",
        Write,
        "auth/token/create",
        json!({"policies": ["most"]}),
    )
    .await;
    let most = made["auth"]["client_token"].as_str().unwrap();
    for (path, body) in [
        (INIT, json!({"secret_shares": 1, "secret_threshold": 1})),
        (ATTEMPT, json!({})),
    ] {
        let refused = ask(&node, "t", most, (Write, path), body).await;
        assert!(matches!(refused, Err(Error::Denied { .. })), "{path}");
        assert!(
            ask(&node, "t", most, (Read, path), Value::Null).await.is_ok(),
            "{path}"
        );
    }
}

/// Has the holders of `shares` make a root token of the namespace.
async fn generate(node: &Node, shares: &[String]) -> String {
    let begun = within(node, Write, ATTEMPT, json!({})).await.unwrap();
    let (nonce, otp) = (begun["nonce"].as_str().unwrap(), begun["otp"].as_str().unwrap());
    assert_eq!(begun["otp_length"], otp.len());
    let first = give(node, GENERATE, nonce, &shares[0]).await.unwrap();
    assert_eq!(
        (&first["progress"], &first["complete"]),
        (&json!(1), &json!(false))
    );
    let made = give(node, GENERATE, nonce, &shares[1]).await.unwrap();
    let data = json!({"encoded_token": made["encoded_token"], "otp": otp});
    let decoded = within(node, Write, "sys/decode-token", data).await.unwrap();
    decoded["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn its_share_holders_make_a_root_token_of_it() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    done(&node, "t", Write, "sys/namespaces/kid", Value::Null).await;
    let short = within(
        &node,
        Write,
        ATTEMPT,
        json!({"otp": "abcdefghijklmnopqrstuvwxyz"}),
    )
    .await;
    assert_eq!(
        said(short),
        "OTP string has incorrect length",
        "as long as one of the root's"
    );
    let own = "abcdefghijklmnopqrstuvwxyz0123456";
    let begun = within(&node, Write, ATTEMPT, json!({"otp": own})).await.unwrap();
    let nonce = begun["nonce"].as_str().unwrap();
    assert_eq!(
        said(give(&node, GENERATE, nonce, &node.shares[0]).await),
        "not a share of this namespace (generation 1)"
    );
    within(&node, Delete, ATTEMPT, json!({"nonce": nonce}))
        .await
        .unwrap();

    let token = generate(&node, &shares).await;
    let found = ask(&node, "t", &token, (Read, "auth/token/lookup-self"), Value::Null).await;
    let found = found.unwrap()["data"].clone();
    assert_eq!(
        (
            &found["policies"],
            &found["ttl"],
            &found["namespace_path"],
            &found["orphan"]
        ),
        (&json!(["root"]), &json!(0), &json!("t/"), &json!(true))
    );
    for namespace in ["t", "t/kid"] {
        let asked = ask(&node, namespace, &token, (Read, "sys/mounts"), Value::Null).await;
        assert!(asked.is_ok(), "{namespace}");
    }
    for path in ["sys/mounts", "sys/rotate/root/init", "secret/data/a"] {
        let above = ask(&node, "", &token, (Read, path), Value::Null).await;
        assert!(matches!(above, Err(Error::Denied { .. })), "{path}");
    }
    // It goes with the keys, and comes back with them.
    seal(&node, "", "t").await;
    let shut = ask(&node, "t", &token, (Read, "sys/mounts"), Value::Null).await;
    assert!(matches!(shut, Err(Error::NamespaceSealed { .. })));
    unseal(&node, "", "t", &shares).await;
    let open = ask(&node, "t", &token, (Read, "sys/mounts"), Value::Null).await;
    assert!(open.is_ok());

    // Shares that were replaced meanwhile make none.
    let begun = within(&node, Write, ATTEMPT, json!({})).await.unwrap();
    let nonce = begun["nonce"].as_str().unwrap();
    give(&node, GENERATE, nonce, &shares[0]).await.unwrap();
    let newer = rotate_root(&node, &shares).await;
    assert!(said(give(&node, GENERATE, nonce, &shares[1]).await).contains("changed"));
    within(&node, Delete, ATTEMPT, json!({})).await.unwrap();
    generate(&node, &newer).await;
}

#[tokio::test]
async fn other_nodes_that_are_open_follow_its_new_root_key() {
    let node = Node::unsealed().await;
    let old = tenant(&node).await;
    let [one, two] = two_on(&node, &replica_of(&node)).await;
    for node in [&one, &two] {
        unseal(node, "", "t", &old).await;
        assert!(is_readable(node).await);
    }
    let new = rotate_root(&one, &old).await;
    assert!(is_readable(&two).await, "two never saw the new shares");
    done(&two, "t", Write, "sys/rotate", Value::Null).await;
    assert!(is_readable(&one).await);
    let newer = rotate_root(&two, &new).await;
    assert!(is_readable(&one).await && is_readable(&two).await);

    // Once all follow it, it is on offer no longer.
    assert!(clear_rows(&node).contains_key("handover-1"));
    one.core.drop_handover_once().await.unwrap();
    assert!(!clear_rows(&node).contains_key("handover-1"));
    assert!(is_readable(&one).await && is_readable(&two).await);

    // What nobody can open any more leaves no row of its ring behind.
    done(&one, "t", Write, "sys/rotate", Value::Null).await;
    rotate_root(&one, &newer).await;
    done(&one, "t", Write, "kv/b", json!({"k": "v"})).await;
    one.core.report_encryptions().await.unwrap();
    for row in ["ring-0001", "handover-1", "encryptions-1"] {
        assert!(clear_rows(&node).contains_key(row), "{row}");
    }
    seal(&one, "", "t").await;
    let wipe = "sys/namespaces/t/delete-sealed";
    done(&one, "", Delete, wipe, Value::Null).await;
    one.expire().await;
    let left = clear_rows(&node);
    let mut of_ring = left
        .keys()
        .filter(|name| name.ends_with("-1") || name.ends_with("-0001"));
    assert_eq!(of_ring.next(), None);
}

#[tokio::test]
async fn a_node_that_slept_through_two_rotations_lacks_this_namespace_alone() {
    let node = Node::unsealed().await;
    let old = tenant(&node).await;
    let [busy, idle] = two_on(&node, &replica_of(&node)).await;
    for node in [&busy, &idle] {
        unseal(node, "", "t", &old).await;
    }
    // The new root key is handed over under a data key that the idle node has not seen.
    done(&busy, "t", Write, "sys/rotate", Value::Null).await;
    let new = rotate_root(&busy, &old).await;
    let lost = within(&idle, Read, "kv/a", Value::Null).await;
    assert!(matches!(lost, Err(Error::NamespaceSealed { .. })));
    done(&idle, "", Read, "sys/mounts", Value::Null).await;
    unseal(&idle, "", "t", &new).await;
    assert!(is_readable(&idle).await && is_readable(&busy).await);
}

/// Asks something of a node whose look at the state comes late: meanwhile another node put a new root key of the namespace in place,
/// and another request of its own followed that. Most requests look more than once: each look is the late one in turn. How many
/// there were.
async fn overtaken(verb: Verb, path: &'static str) -> usize {
    for pass in 0.. {
        let node = Node::unsealed().await;
        let old = tenant(&node).await;
        let replica = replica_of(&node);
        let held = Held::over(replica.clone());
        let late: Arc<dyn Replica> = held.clone();
        let (other, slow) = (node_on(&node, &replica), Arc::new(node_on(&node, &late)));
        for node in [&other, &slow] {
            node.core.resume().await.unwrap();
            node.unseal().await;
            unseal(node, "", "t", &old).await;
        }
        // What the late look sees has a new root key on offer too, which is not the newest.
        let shares = rotate_root(&other, &old).await;
        assert!(is_readable(&slow).await);
        held.hold_after(pass);
        let asking = slow.clone();
        let mut asked = tokio::spawn(async move { within(&asking, verb, path, Value::Null).await });
        tokio::select! {
            // It looks less often than that.
            answered = &mut asked => {
                answered.unwrap().unwrap();
                return pass;
            }
            () = held.is_held() => {}
        }
        let newest = rotate_root(&other, &shares).await;
        assert!(is_readable(&slow).await, "it follows");
        held.release();
        asked.await.unwrap().unwrap();
        assert!(is_readable(&slow).await && is_readable(&other).await);
        done(&slow, "t", Write, "sys/rotate", Value::Null).await;
        seal(&slow, "", "t").await;
        unseal(&slow, "", "t", &newest).await;
        assert!(is_readable(&slow).await);
    }
    0
}

#[tokio::test]
async fn what_a_new_root_key_overtakes_is_answered_all_the_same() {
    assert!(overtaken(Read, "kv/a").await > 0);
    assert!(overtaken(Write, "sys/rotate").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn its_rotations_disturb_nobody() {
    let node = Arc::new(Node::unsealed().await);
    let mut shares = tenant(&node).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..4).map(|n| {
        let (node, stop) = (node.clone(), stop.clone());
        tokio::spawn(async move {
            let path = format!("kv/busy-{n}");
            let mut requests = 0;
            while !stop.load(Ordering::Relaxed) {
                within(&node, Write, &path, json!({"n": requests})).await.unwrap();
                let read = within(&node, Read, &path, Value::Null).await.unwrap();
                assert_eq!(read["n"], requests);
                requests += 1;
            }
            requests
        })
    });
    let clients: Vec<_> = clients.collect();
    for _ in 0..20 {
        done(&node, "t", Write, "sys/rotate", Value::Null).await;
        shares = rotate_root(&node, &shares).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn its_data_key_is_rotated_by_age_and_by_use() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let replica = replica_of(&node);
    let [node, other] = two_on(&node, &replica).await;
    unseal(&node, "", "t", &shares).await;
    let key_status = async |node: &Node, namespace: &str| {
        let status = done(node, namespace, Read, "sys/key-status", Value::Null).await;
        (
            status["data"]["term"].clone(),
            status["data"]["encryptions"].clone(),
        )
    };
    let settings = async |path: &str| within(&node, Read, path, Value::Null).await.unwrap();
    let fresh = json!({"enabled": true, "max_operations": 3_865_470_566_u64, "interval": 0});
    assert_eq!(settings("sys/rotate/config").await, fresh);
    let early = within(&node, Write, "sys/rotate/config", json!({"interval": "1h"})).await;
    assert!(said(early).contains("greater or equal to 24h0m0s"));
    let wanted = json!({"interval": "30h", "max_operations": 1_000_000});
    within(&node, Write, "sys/rotate/keyring/config", wanted)
        .await
        .unwrap();
    let kept = json!({"enabled": true, "max_operations": 1_000_000, "interval": "30h0m0s"});
    assert_eq!(settings("sys/rotate/config").await, kept);
    let cluster = done(&node, "", Read, "sys/rotate/config", Value::Null).await;
    assert_eq!(cluster["data"], fresh, "the cluster's are its own");

    assert!(!node.core.rotate_if_due().await.unwrap());
    node.clock.advance(30 * 3_600_000);
    assert!(!other.core.rotate_if_due().await.unwrap(), "it has no keys of it");
    assert!(node.core.rotate_if_due().await.unwrap());
    assert!(!node.core.rotate_if_due().await.unwrap(), "it is young again");
    assert_eq!(key_status(&node, "t").await, (json!(2), json!(0)));
    assert_eq!(key_status(&node, "").await.0, 1);

    done(&node, "t", Write, "kv/b", json!({"k": "v"})).await;
    node.core.report_encryptions().await.unwrap();
    let used = key_status(&node, "t").await.1.as_u64().unwrap();
    assert!((1..100).contains(&used), "{used}");
    let many = Op::Add {
        key: encryptions_key(&node),
        delta: 1_000_000,
        floor: 0,
        ceiling: i64::MAX,
    };
    let command = Command {
        origin: replica.next_origin(),
        oldest_term: 0,
        now_used: replica.now(),
        expect: Vec::new(),
        ops: vec![many],
    };
    let outcome = replica.propose(command).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    within(&node, Write, "sys/rotate/config", json!({"enabled": false}))
        .await
        .unwrap();
    assert!(!node.core.rotate_if_due().await.unwrap(), "switched off");
    within(&node, Write, "sys/rotate/config", json!({"enabled": true}))
        .await
        .unwrap();
    assert!(node.core.rotate_if_due().await.unwrap());
    assert_eq!(key_status(&node, "t").await, (json!(3), json!(0)));
    assert!(is_readable(&node).await);
}

/// The key of the row that counts what the namespace's data key sealed.
fn encryptions_key(node: &Node) -> bytes::Bytes {
    let mut found = None;
    let snapshot = node.store.snapshot().unwrap();
    snapshot
        .scan(&[], None, &mut |key, _| {
            if key.ends_with(b"encryptions-1") {
                found = Some(bytes::Bytes::copy_from_slice(key));
            }
            Ok(true)
        })
        .unwrap();
    found.unwrap()
}
