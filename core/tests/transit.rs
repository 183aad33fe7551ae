//! Transit behind the pipeline: heavy keys, rights, the leader's rotations, and a node that starts again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use conclave_core::{Body, Error, Request, Verb};
use serde_json::{Value, json};
use support::Node;

const HOUR: u64 = 3_600_000;

async fn node() -> Node {
    let node = Node::unsealed().await;
    let transit = json!({"type": "transit"});
    node.call(Verb::Write, "sys/mounts/transit", transit)
        .await
        .unwrap();
    node
}

async fn post(node: &Node, path: &str, data: Value) -> Value {
    node.call(Verb::Write, path, data).await.unwrap()["data"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_weight_outlive_a_restart() {
    let node = node().await;
    let mut made = Vec::new();
    for kind in ["aes256-gcm96", "rsa-2048"] {
        post(&node, &format!("transit/keys/{kind}"), json!({"type": kind})).await;
        let sealed = post(
            &node,
            &format!("transit/encrypt/{kind}"),
            json!({"plaintext": "aGk="}),
        )
        .await;
        let rotated = post(&node, &format!("transit/keys/{kind}/rotate"), json!({})).await;
        assert_eq!(rotated["latest_version"], 2);
        made.push((kind, sealed["ciphertext"].clone()));
    }
    let node = node.restarted().await;
    node.unseal().await;
    for (kind, ciphertext) in made {
        let opened = post(
            &node,
            &format!("transit/decrypt/{kind}"),
            json!({"ciphertext": ciphertext}),
        )
        .await;
        assert_eq!(opened["plaintext"], "aGk=");
    }
}

#[tokio::test]
async fn the_leader_rotates_keys_that_ask_for_it() {
    let node = node().await;
    post(&node, "transit/keys/k", json!({"auto_rotate_period": "1h"})).await;
    for rotations in 0..3 {
        let key = node.call(Verb::Read, "transit/keys/k", json!({})).await.unwrap();
        assert_eq!(key["data"]["latest_version"], 1 + rotations);
        node.clock.advance(HOUR);
        node.expire().await;
    }
}

#[tokio::test]
async fn making_a_key_while_encrypting_needs_the_right_to_create() {
    let node = node().await;
    post(&node, "transit/keys/old", json!({})).await;
    let policy = json!({"policy": "path \"transit/encrypt/*\" { capabilities = [\"update\"] }"});
    node.call(Verb::Write, "sys/policies/acl/p", policy)
        .await
        .unwrap();
    let token = node.token(json!({"policies": ["p"]})).await;
    let encrypt = |path: &'static str| node.call_as(&token, Verb::Write, path, json!({"plaintext": "aGk="}));
    assert!(encrypt("transit/encrypt/old").await.is_ok());
    assert!(matches!(
        encrypt("transit/encrypt/new").await,
        Err(Error::Denied { .. })
    ));
    assert!(
        node.call(Verb::Read, "transit/keys/new", json!({}))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_batch_that_fails_in_part_tells_both() {
    let node = node().await;
    let batch = json!({
        "batch_input": [{"plaintext": "aGk="}, {"plaintext": "!"}],
        "partial_failure_response_code": 207,
    });
    let mut request = Request::new(Verb::Write, "transit/encrypt/k");
    request.token = Some(node.root.clone().into());
    request.data = batch.as_object().cloned().unwrap();
    let Body::InPart { status, envelope } = node.core.handle(request).await.unwrap().body else {
        panic!("another body");
    };
    let results = envelope.data.unwrap()["batch_results"].clone();
    assert_eq!(status, 207);
    assert!(results[0]["ciphertext"].is_string() && results[1]["error"].is_string());
    // What succeeded is kept: the key it made is there.
    assert!(node.call(Verb::Read, "transit/keys/k", json!({})).await.is_ok());
}
