//! New shares, a new root key and root tokens by share holders, on one node and as a second one sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use conclave_core::{Error, Settings, Verb};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use support::Node;
use support::held::Held;
use support::shared::node_on;

const INIT: &str = "sys/rotate/root/init";
const UPDATE: &str = "sys/rotate/root/update";
const VERIFY: &str = "sys/rotate/root/verify";

/// The fields of an answer, from the envelope or the top level.
async fn ask(node: &Node, verb: Verb, path: &str, data: Value) -> Result<Value, Error> {
    node.call(verb, path, data)
        .await
        .map(|answer| answer["data"].clone())
}

async fn begin(node: &Node, data: Value) -> String {
    let begun = ask(node, Verb::Write, INIT, data).await.unwrap();
    assert_eq!((&begun["started"], &begun["progress"]), (&json!(true), &json!(0)));
    begun["nonce"].as_str().unwrap().to_owned()
}

async fn give(node: &Node, path: &str, nonce: &str, key: &str) -> Result<Value, Error> {
    ask(node, Verb::Write, path, json!({"nonce": nonce, "key": key})).await
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

async fn readable(node: &Node) -> bool {
    let read = node.call(Verb::Read, "secret/data/kept", Value::Null).await;
    read.is_ok_and(|read| read["data"]["data"]["k"] == "v")
}

async fn with_secret() -> Node {
    let node = Node::unsealed().await;
    let kept = node
        .call(Verb::Write, "secret/data/kept", json!({"data": {"k": "v"}}))
        .await;
    kept.unwrap();
    node
}

/// Restarts the node, shows that the old shares are refused one by one, and opens it with the new.
async fn restart_with(node: Node, old: &[String], new: &[String], needed: usize) -> Node {
    let node = node.restarted().await;
    for share in old {
        let refused = node.plain(Verb::Write, "sys/unseal", json!({"key": share})).await;
        assert!(matches!(refused, Err(Error::Invalid(_))));
    }
    for share in &new[new.len() - needed..] {
        node.plain(Verb::Write, "sys/unseal", json!({"key": share}))
            .await
            .unwrap();
    }
    assert!(readable(&node).await);
    node
}

#[tokio::test]
async fn new_shares_open_and_old_ones_do_not() {
    let node = with_secret().await;
    let before = rows_named(&node);
    let nonce = begin(&node, json!({"secret_shares": 5, "secret_threshold": 3})).await;
    let status = give(&node, UPDATE, &nonce, &node.shares[0]).await.unwrap();
    assert_eq!(
        (
            &status["progress"],
            &status["required"],
            &status["t"],
            &status["n"]
        ),
        (&json!(1), &json!(2), &json!(3), &json!(5))
    );
    let again = give(&node, UPDATE, &nonce, &node.shares[0]).await.unwrap_err();
    assert!(again.to_string().contains("already been provided"));
    let made = give(&node, UPDATE, &nonce, &node.shares[2]).await.unwrap();
    assert_eq!(
        (&made["complete"], &made["verification_required"]),
        (&json!(true), &json!(false))
    );
    let new = texts(&made["keys"]);
    assert_eq!((new.len(), texts(&made["keys_base64"]).len()), (5, 5));
    assert!(readable(&node).await, "nobody had to unseal anew");
    node.call(Verb::Write, "sys/rotate", Value::Null)
        .await
        .expect("the keyring rotates on");
    assert_eq!(
        ask(&node, Verb::Read, INIT, Value::Null).await.unwrap()["started"],
        false
    );
    let status = node
        .plain(Verb::Read, "sys/seal-status", Value::Null)
        .await
        .unwrap();
    assert_eq!((&status["t"], &status["n"]), (&json!(3), &json!(5)));
    let after = rows_named(&node);
    for name in ["seal", "keyring", "handover"] {
        assert_ne!(before.get(name), after.get(name), "{name}");
    }

    let old = node.shares.clone();
    let node = restart_with(node, &old, &new, 3).await;
    // The same again with the new shares: generations go on.
    let nonce = begin(&node, json!({"secret_shares": 1, "secret_threshold": 1})).await;
    for share in &old {
        let error = give(&node, UPDATE, &nonce, share).await.unwrap_err();
        assert!(error.to_string().contains("generation 2"), "{error}");
    }
    for share in &new[1..3] {
        give(&node, UPDATE, &nonce, share).await.unwrap();
    }
    let made = give(&node, UPDATE, &nonce, &new[4]).await.unwrap();
    let last = texts(&made["keys"]);
    restart_with(node, &[old, new].concat(), &last, 1).await;
}

#[tokio::test]
async fn with_verification_nothing_changes_before_the_new_shares_came_back() {
    let node = with_secret().await;
    let before = rows_named(&node);
    let nonce = begin(
        &node,
        json!({"secret_shares": 3, "secret_threshold": 2, "require_verification": true}),
    )
    .await;
    let early = give(&node, VERIFY, &nonce, &node.shares[0]).await.unwrap_err();
    assert!(early.to_string().contains("no rotation verification"), "{early}");
    give(&node, UPDATE, &nonce, &node.shares[0]).await.unwrap();
    let made = give(&node, UPDATE, &nonce, &node.shares[1]).await.unwrap();
    assert_eq!(
        (&made["complete"], &made["verification_required"]),
        (&json!(true), &json!(true))
    );
    let new = texts(&made["keys"]);
    let verification = made["verification_nonce"].as_str().unwrap().to_owned();
    assert_ne!(verification, nonce);
    assert_eq!(rows_named(&node), before, "handed out, not in effect");
    let status = ask(&node, Verb::Read, INIT, Value::Null).await.unwrap();
    assert_eq!(
        (&status["nonce"], &status["verification_nonce"]),
        (&json!(nonce), &json!(verification))
    );
    let more = give(&node, UPDATE, &nonce, &node.shares[2]).await.unwrap_err();
    assert!(more.to_string().contains("handed out already"), "{more}");

    assert!(
        give(&node, VERIFY, &nonce, &new[0]).await.is_err(),
        "the other nonce"
    );
    for wrong in [&node.shares[0], "00", "zz"] {
        assert!(give(&node, VERIFY, &verification, wrong).await.is_err());
    }
    let status = give(&node, VERIFY, &verification, &new[0]).await.unwrap();
    assert_eq!(
        (&status["progress"], &status["t"], &status["n"]),
        (&json!(1), &json!(2), &json!(3))
    );
    assert!(
        give(&node, VERIFY, &verification, &new[0]).await.is_err(),
        "the same again"
    );
    let anew = ask(&node, Verb::Delete, VERIFY, Value::Null).await.unwrap();
    assert_eq!((&anew["progress"], &anew["started"]), (&json!(0), &json!(true)));
    assert!(
        give(&node, VERIFY, &verification, &new[0]).await.is_err(),
        "its nonce went with it"
    );
    let verification = anew["nonce"].as_str().unwrap();
    give(&node, VERIFY, verification, &new[2]).await.unwrap();
    assert_eq!(rows_named(&node), before);
    let done = give(&node, VERIFY, verification, &new[1]).await.unwrap();
    assert_eq!(
        (&done["complete"], &done["nonce"]),
        (&json!(true), &json!(verification))
    );
    assert!(ask(&node, Verb::Read, VERIFY, Value::Null).await.is_err());
    let old = node.shares.clone();
    restart_with(node, &old, &new, 2).await;
}

#[tokio::test]
async fn an_attempt_is_named_by_its_nonce_and_cancelled_whole() {
    let node = with_secret().await;
    for bad in [
        json!({}),
        json!({"secret_shares": 1, "secret_threshold": 2}),
        json!({"secret_shares": 3, "secret_threshold": 1}),
        json!({"secret_shares": 256, "secret_threshold": 2}),
        json!({"secret_shares": 1, "secret_threshold": 1, "backup": true}),
    ] {
        assert!(matches!(
            ask(&node, Verb::Write, INIT, bad).await,
            Err(Error::Invalid(_))
        ));
    }
    let pgp = json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["x"]});
    assert!(matches!(
        ask(&node, Verb::Write, INIT, pgp).await,
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        node.call(Verb::Write, "sys/rotate/root", Value::Null).await,
        Err(Error::Invalid(_))
    ));
    assert!(
        give(&node, UPDATE, "x", &node.shares[0]).await.is_err(),
        "nothing begun"
    );
    ask(&node, Verb::Delete, INIT, Value::Null)
        .await
        .expect("nothing to cancel");

    let split = json!({"secret_shares": 2, "secret_threshold": 2, "require_verification": true});
    let nonce = begin(&node, split.clone()).await;
    assert!(
        ask(&node, Verb::Write, INIT, split.clone()).await.is_err(),
        "one at a time"
    );
    for (nonce, key) in [
        ("", node.shares[0].as_str()),
        ("other", &node.shares[0]),
        (&nonce, ""),
        (&nonce, "0g"),
    ] {
        assert!(matches!(
            give(&node, UPDATE, nonce, key).await,
            Err(Error::Invalid(_))
        ));
    }
    give(&node, UPDATE, &nonce, &node.shares[0]).await.unwrap();
    let made = give(&node, UPDATE, &nonce, &node.shares[1]).await.unwrap();
    let (new, verification) = (
        texts(&made["keys"]),
        made["verification_nonce"].as_str().unwrap().to_owned(),
    );
    assert!(
        ask(&node, Verb::Delete, INIT, json!({"nonce": "other"}))
            .await
            .is_err()
    );
    ask(&node, Verb::Delete, INIT, json!({"nonce": nonce}))
        .await
        .unwrap();
    assert!(give(&node, VERIFY, &verification, &new[0]).await.is_err());
    assert_ne!(begin(&node, split).await, nonce);
    ask(&node, Verb::Delete, INIT, Value::Null)
        .await
        .expect("whoever may cancel needs no nonce");
    let old = node.shares.clone();
    restart_with(node, &new, &old, 2).await;
}

#[tokio::test]
async fn sealing_ends_every_ceremony() {
    let node = with_secret().await;
    let nonce = begin(&node, json!({"secret_shares": 1, "secret_threshold": 1})).await;
    give(&node, UPDATE, &nonce, &node.shares[0]).await.unwrap();
    let begun = ask(&node, Verb::Write, "sys/generate-root-token/attempt", json!({}))
        .await
        .unwrap();
    node.call(Verb::Write, "sys/seal", Value::Null).await.unwrap();
    node.unseal().await;
    assert_eq!(
        ask(&node, Verb::Read, INIT, Value::Null).await.unwrap()["started"],
        false
    );
    assert!(give(&node, UPDATE, &nonce, &node.shares[1]).await.is_err());
    let other = begun["nonce"].as_str().unwrap();
    assert!(
        give(&node, "sys/generate-root-token/update", other, &node.shares[0])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_share_from_before_a_seal_of_the_cluster_counts_for_nothing_after_it() {
    let node = with_secret().await;
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    let (busy, idle) = (node_on(&node, &replica), node_on(&node, &replica));
    for node in [&busy, &idle] {
        node.core.resume().await.unwrap();
    }
    busy.unseal().await;
    let given = async |share: usize| {
        let body = json!({"key": node.shares[share]});
        let answer = idle.plain(Verb::Write, "sys/unseal", body).await.unwrap();
        (answer["sealed"].clone(), answer["progress"].clone())
    };
    assert_eq!(given(0).await, (json!(true), json!(1)));
    busy.call(Verb::Write, "sys/seal", json!({"cluster": true}))
        .await
        .unwrap();
    assert_eq!(given(1).await, (json!(true), json!(1)), "the first was before");
    assert_eq!(given(2).await.0, json!(false));
}

#[tokio::test]
async fn share_holders_make_a_root_token() {
    let node = with_secret().await;
    for path in ["sys/generate-root-token", "sys/generate-root"] {
        let (attempt, update) = (format!("{path}/attempt"), format!("{path}/update"));
        let status = ask(&node, Verb::Read, &attempt, Value::Null).await.unwrap();
        assert_eq!(
            (&status["started"], &status["otp_length"]),
            (&json!(false), &json!(26))
        );
        let begun = ask(&node, Verb::Write, &attempt, json!({})).await.unwrap();
        let (nonce, otp) = (begun["nonce"].as_str().unwrap(), begun["otp"].as_str().unwrap());
        assert_eq!(otp.len(), 26);
        let status = ask(&node, Verb::Read, &attempt, Value::Null).await.unwrap();
        assert_eq!(
            (&status["nonce"], &status["otp"]),
            (&json!(nonce), &json!("")),
            "shown once"
        );
        let one = give(&node, &update, nonce, &node.shares[1]).await.unwrap();
        assert_eq!(
            (&one["progress"], &one["complete"], &one["encoded_token"]),
            (&json!(1), &json!(false), &json!(""))
        );
        assert!(
            give(&node, &update, nonce, &node.shares[1]).await.is_err(),
            "the same again"
        );
        let done = give(&node, &update, nonce, &node.shares[2]).await.unwrap();
        assert_eq!((&done["progress"], &done["complete"]), (&json!(2), &json!(true)));
        let encoded = done["encoded_root_token"].as_str().unwrap();
        let decoded = ask(
            &node,
            Verb::Write,
            "sys/decode-token",
            json!({"encoded_token": encoded, "otp": otp}),
        );
        let token = decoded.await.unwrap()["token"].as_str().unwrap().to_owned();
        let found = node
            .call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await
            .unwrap();
        assert_eq!(
            (&found["data"]["policies"], &found["data"]["ttl"]),
            (&json!(["root"]), &json!(0))
        );
        assert!(
            give(&node, &update, nonce, &node.shares[0]).await.is_err(),
            "it is over"
        );
    }
    let bad = ask(
        &node,
        Verb::Write,
        "sys/decode-token",
        json!({"encoded_token": "AA", "otp": "xy"}),
    )
    .await;
    assert!(matches!(bad, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_generation_is_named_by_its_nonce() {
    let node = with_secret().await;
    let (attempt, update) = (
        "sys/generate-root-token/attempt",
        "sys/generate-root-token/update",
    );
    assert!(
        give(&node, update, "x", &node.shares[0]).await.is_err(),
        "nothing begun"
    );
    let short = ask(&node, Verb::Write, attempt, json!({"otp": "short"})).await;
    assert_eq!(short.unwrap_err().to_string(), "OTP string has incorrect length");
    let pgp = ask(&node, Verb::Write, attempt, json!({"pgp_key": "x"})).await;
    assert!(matches!(pgp, Err(Error::Invalid(_))));
    let own = "abcdefghijklmnopqrstuvwxyz";
    let begun = ask(&node, Verb::Write, attempt, json!({"otp": own}))
        .await
        .unwrap();
    assert_eq!(begun["otp"], "", "who brought one knows it");
    let nonce = begun["nonce"].as_str().unwrap();
    assert!(
        ask(&node, Verb::Write, attempt, json!({})).await.is_err(),
        "one at a time"
    );
    for (nonce, key) in [
        ("x", node.shares[0].as_str()),
        ("", &node.shares[0]),
        (nonce, "00"),
        (nonce, ""),
    ] {
        assert!(matches!(
            give(&node, update, nonce, key).await,
            Err(Error::Invalid(_))
        ));
    }
    assert!(
        ask(&node, Verb::Delete, attempt, json!({"nonce": "x"}))
            .await
            .is_err()
    );
    assert_eq!(
        ask(&node, Verb::Read, attempt, Value::Null).await.unwrap()["started"],
        true
    );
    ask(&node, Verb::Delete, attempt, json!({"nonce": nonce}))
        .await
        .unwrap();
    assert!(give(&node, update, nonce, &node.shares[0]).await.is_err());
}

#[tokio::test]
async fn shares_that_were_replaced_meanwhile_make_no_root_token() {
    let node = with_secret().await;
    let begun = ask(&node, Verb::Write, "sys/generate-root/attempt", json!({}))
        .await
        .unwrap();
    let generation = begun["nonce"].as_str().unwrap();
    give(&node, "sys/generate-root/update", generation, &node.shares[0])
        .await
        .unwrap();
    let nonce = begin(&node, json!({"secret_shares": 1, "secret_threshold": 1})).await;
    for share in &node.shares[..2] {
        give(&node, UPDATE, &nonce, share).await.unwrap();
    }
    let late = give(&node, "sys/generate-root/update", generation, &node.shares[1])
        .await
        .unwrap_err();
    assert!(late.to_string().contains("changed"), "{late}");
    let accessors = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(accessors["data"]["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn old_paths_need_a_token_unless_the_node_says_otherwise() {
    let node = with_secret().await;
    let split = json!({"secret_shares": 1, "secret_threshold": 1});
    let weak = node.token(json!({"policies": ["default"]})).await;
    for path in [
        "sys/rekey/init",
        "sys/generate-root/attempt",
        INIT,
        "sys/generate-root-token/attempt",
    ] {
        for verb in [Verb::Read, Verb::Write, Verb::Delete] {
            let refused = node.plain(verb, path, split.clone()).await;
            assert!(matches!(refused, Err(Error::Denied { .. })), "{path}");
            let refused = node.call_as(&weak, verb, path, split.clone()).await;
            assert!(matches!(refused, Err(Error::Denied { .. })), "{path}");
        }
    }
    // With a token the old paths are the new ones under another name.
    let begun = ask(&node, Verb::Write, "sys/rekey/init", split).await.unwrap();
    assert_eq!(ask(&node, Verb::Read, INIT, Value::Null).await.unwrap(), begun);
    ask(&node, Verb::Delete, "sys/rekey/init", Value::Null)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_open_node_answers_share_holders_without_a_token_and_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let open = Node::unsealed_with(Settings {
        unauthenticated_generate_root: true,
        audit_directories: vec![directory.path().to_owned()],
        ..Settings::default()
    });
    let open = open.await;
    let log = directory.path().join("audit.log");
    let device = json!({"type": "file", "options": {"file_path": log}});
    open.call(Verb::Write, "sys/audit/file", device).await.unwrap();
    let rekey = open.plain(Verb::Read, "sys/rekey/init", Value::Null).await;
    assert!(
        matches!(rekey, Err(Error::Denied { .. })),
        "each has its own setting"
    );
    let other = open
        .plain(Verb::Read, "sys/generate-root-token/attempt", Value::Null)
        .await;
    assert!(matches!(other, Err(Error::Denied { .. })));
    let attempt = "sys/generate-root/attempt";
    let begun = open.plain(Verb::Write, attempt, json!({})).await.unwrap()["data"].clone();
    let (nonce, otp) = (begun["nonce"].as_str().unwrap(), begun["otp"].as_str().unwrap());
    for data in [json!({}), json!({"nonce": "x"})] {
        assert!(
            open.plain(Verb::Delete, attempt, data).await.is_err(),
            "cancelled by its nonce only"
        );
    }
    let update = |share: &String| json!({"nonce": nonce, "key": share});
    let path = "sys/generate-root/update";
    open.plain(Verb::Write, path, update(&open.shares[0]))
        .await
        .unwrap();
    let done = open
        .plain(Verb::Write, path, update(&open.shares[1]))
        .await
        .unwrap();
    let data = json!({"encoded_token": done["data"]["encoded_token"], "otp": otp});
    let token = ask(&open, Verb::Write, "sys/decode-token", data).await.unwrap()["token"].clone();
    open.call_as(token.as_str().unwrap(), Verb::Read, "sys/mounts", Value::Null)
        .await
        .unwrap();

    let text = std::fs::read_to_string(&log).unwrap();
    let of_update = text.lines().filter(|line| line.contains(path)).count();
    assert_eq!(of_update, 4, "requests and responses are on record");
    for secret in [
        otp,
        &open.shares[0],
        &open.shares[1],
        done["data"]["encoded_token"].as_str().unwrap(),
    ] {
        assert!(!text.contains(secret));
    }
}

#[tokio::test]
async fn other_unsealed_nodes_follow_a_new_root_key() {
    let node = with_secret().await;
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    let (one, two) = (node_on(&node, &replica), node_on(&node, &replica));
    for node in [&one, &two] {
        node.core.resume().await.unwrap();
    }
    for node in [&one, &two] {
        node.unseal().await;
        assert!(readable(node).await);
    }
    let split = json!({"secret_shares": 1, "secret_threshold": 1});
    let nonce = begin(&one, split.clone()).await;
    let elsewhere = give(&two, UPDATE, &nonce, &one.shares[0]).await.unwrap_err();
    assert!(elsewhere.to_string().contains("on this node"), "{elsewhere}");
    // Both begin; whose shares are complete first wins, and the other attempt is void.
    let second = begin(&two, split).await;
    give(&one, UPDATE, &nonce, &one.shares[0]).await.unwrap();
    give(&two, UPDATE, &second, &one.shares[0]).await.unwrap();
    let made = give(&one, UPDATE, &nonce, &one.shares[1]).await.unwrap();
    let new = texts(&made["keys"]);
    let void = give(&two, UPDATE, &second, &one.shares[1]).await.unwrap_err();
    assert!(void.to_string().contains("void"), "{void}");
    assert!(readable(&two).await, "two never saw the new shares");
    two.call(Verb::Write, "sys/rotate", Value::Null)
        .await
        .expect("it has the new root key");
    two.call(Verb::Write, "secret/data/kept", json!({"data": {"k": "v"}}))
        .await
        .unwrap();
    assert!(readable(&one).await);
    let three = node_on(&node, &replica);
    three.core.resume().await.unwrap();
    assert!(
        three
            .plain(Verb::Write, "sys/unseal", json!({"key": one.shares[0]}))
            .await
            .is_err()
    );
    three
        .plain(Verb::Write, "sys/unseal", json!({"key": new[0]}))
        .await
        .unwrap();
    assert!(readable(&three).await);
}

#[tokio::test]
async fn a_node_that_slept_through_two_rotations_is_sealed_and_opens_with_the_new_shares() {
    let node = with_secret().await;
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    let (busy, mut idle) = (node_on(&node, &replica), node_on(&node, &replica));
    for node in [&busy, &idle] {
        node.core.resume().await.unwrap();
        node.unseal().await;
    }
    // The new root key is handed over under a data key that the idle node has not seen.
    busy.call(Verb::Write, "sys/rotate", Value::Null).await.unwrap();
    let shares = rotate_root(&busy, &node.shares).await;
    let lost = idle.call(Verb::Read, "secret/data/kept", Value::Null).await;
    assert!(matches!(lost, Err(Error::Sealed)));
    idle.shares = shares;
    idle.unseal().await;
    assert!(readable(&idle).await && readable(&busy).await);
}

/// What is asked of a node whose look at the keyring comes late: meanwhile another node put a new root key in place, and
/// another request of its own followed that. Most requests look more than once: each look is the late one in turn.
async fn overtaken<F>(ask: impl Fn(Arc<Node>, String) -> F) -> Vec<Result<Value, Error>>
where
    F: Future<Output = Result<Value, Error>> + Send + 'static,
{
    let mut answers = Vec::new();
    for pass in 0.. {
        let node = with_secret().await;
        let replica: Arc<dyn Replica> =
            Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
        let held = Held::over(replica.clone());
        let late: Arc<dyn Replica> = held.clone();
        let (other, slow) = (node_on(&node, &replica), Arc::new(node_on(&node, &late)));
        for node in [&other, &slow] {
            node.core.resume().await.unwrap();
            node.unseal().await;
        }
        let nonce = begin(&slow, json!({"secret_shares": 1, "secret_threshold": 1})).await;
        give(&slow, UPDATE, &nonce, &node.shares[0]).await.unwrap();
        held.hold_after(pass);
        let mut asked = tokio::spawn(ask(slow.clone(), nonce));
        tokio::select! {
            // It looks less often than that.
            _ = &mut asked => return answers,
            () = held.is_held() => {}
        }
        rotate_root(&other, &node.shares).await;
        assert!(readable(&slow).await, "it follows");
        held.release();
        answers.push(asked.await.unwrap());
        assert!(readable(&slow).await && readable(&other).await);
    }
    answers
}

#[tokio::test]
async fn a_rotation_that_another_overtakes_is_void_and_no_failure() {
    let answers = overtaken(|node, nonce| async move {
        let last = node.shares[1].clone();
        give(&node, UPDATE, &nonce, &last).await
    });
    let answers = answers.await;
    assert!(!answers.is_empty());
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        assert!(error.to_string().contains("void"), "{error}");
    }
}

#[tokio::test]
async fn a_data_key_is_made_although_the_root_key_changes_meanwhile() {
    let answers = overtaken(|node, _| async move { node.call(Verb::Write, "sys/rotate", Value::Null).await });
    let answers = answers.await;
    assert!(!answers.is_empty());
    for answer in answers {
        answer.unwrap();
    }
}

/// Two new shares, of which both are needed.
async fn rotate_root(node: &Node, shares: &[String]) -> Vec<String> {
    let nonce = begin(node, json!({"secret_shares": 2, "secret_threshold": 2})).await;
    give(node, UPDATE, &nonce, &shares[0]).await.unwrap();
    let made = give(node, UPDATE, &nonce, &shares[1]).await.unwrap();
    texts(&made["keys"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_disturbs_nobody() {
    let node = Arc::new(with_secret().await);
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..4).map(|n| {
        let (node, stop) = (node.clone(), stop.clone());
        tokio::spawn(async move {
            let path = format!("secret/data/busy-{n}");
            let mut requests = 0;
            while !stop.load(Ordering::Relaxed) {
                let data = json!({"data": {"n": requests}});
                node.call(Verb::Write, &path, data).await.unwrap();
                let read = node.call(Verb::Read, &path, Value::Null).await.unwrap();
                assert_eq!(read["data"]["data"]["n"], requests);
                requests += 1;
            }
            requests
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut shares = node.shares.clone();
    for _ in 0..20 {
        node.call(Verb::Write, "sys/rotate", Value::Null).await.unwrap();
        shares = rotate_root(&node, &shares).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

/// Values of the rows whose names are clear.
fn rows_named(node: &Node) -> std::collections::BTreeMap<String, Vec<u8>> {
    const SEAL: u8 = 0x10;
    /// Bytes before a clear name: the space and the name's length.
    const BEFORE: usize = 14;
    let mut rows = std::collections::BTreeMap::new();
    let snapshot = node.store.snapshot().unwrap();
    snapshot
        .scan(&[], None, &mut |key, row| {
            if key.get(1) == Some(&SEAL) {
                let name = String::from_utf8(key[BEFORE..].to_vec()).unwrap();
                rows.insert(name, row.value.to_vec());
            }
            Ok(true)
        })
        .unwrap();
    rows
}
