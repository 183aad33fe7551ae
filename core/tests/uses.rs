//! Tokens of limited use: the last one ends the token with all that hangs on it, whatever it was spent on, and no sooner than
//! its request was served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use conclave_core::{Error, Request, Verb};
use support::played::{PATH, SECOND, Scene};
use support::{Node, ask, value_of};

/// The queue of the expiry job.
const EXPIRY_QUEUE: u64 = 1;
/// How long the leader leaves a request that took a token's last use.
const GRACE: u64 = 10 * SECOND;

/// A token of so many uses that may do everything, and its accessor.
async fn limited(node: &Node, uses: u64) -> (String, Value) {
    let wish = json!({"policies": ["root"], "num_uses": uses, "ttl": "1h"});
    let made = node.call(Verb::Write, "auth/token/create", wish).await.unwrap();
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
    (token, made["auth"]["accessor"].clone())
}

async fn is_gone(node: &Node, accessor: &Value) -> bool {
    let asked = json!({ "accessor": accessor });
    let found = node.call(Verb::Write, "auth/token/lookup-accessor", asked).await;
    let listed = node.call(Verb::List, "auth/token/accessors", Value::Null).await;
    let listed = listed.unwrap()["data"]["keys"]
        .as_array()
        .unwrap()
        .contains(accessor);
    assert_eq!(found.is_ok(), listed);
    !listed
}

#[tokio::test]
async fn whatever_the_last_use_is_spent_on_is_served_and_ends_the_token() {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "secret/data/a", json!({"data": {"k": "v"}}))
        .await
        .unwrap();
    for (verb, path, data, served) in [
        (Verb::Read, "secret/data/a", Value::Null, true),
        (Verb::Write, "secret/data/b", json!({"data": {"k": "w"}}), true),
        (Verb::Read, "auth/token/lookup-self", Value::Null, true),
        // It would be told of a life that it does not have.
        (
            Verb::Write,
            "auth/token/renew-self",
            json!({"increment": "50m"}),
            false,
        ),
        (Verb::Write, "auth/token/revoke-self", Value::Null, true),
        (Verb::Read, "sys/rekey/init", Value::Null, true),
        (Verb::Read, "secret/data/nosuch", Value::Null, false),
        (Verb::Read, "nosuch/at/all", Value::Null, false),
    ] {
        let (token, accessor) = limited(&node, 2).await;
        let own = node.call_as(&token, Verb::Write, "cubbyhole/own", json!({"k": "v"}));
        own.await.unwrap();
        assert!(!is_gone(&node, &accessor).await);
        let said = node.call_as(&token, verb, path, data).await;
        assert_eq!(said.is_ok(), served, "{path}: {said:?}");
        assert!(is_gone(&node, &accessor).await, "{path}");
        let over = node.call_as(&token, Verb::Read, "sys/mounts", Value::Null).await;
        assert!(matches!(over, Err(Error::Denied { .. })), "{path}: {over:?}");
    }
    node.clock.advance(GRACE);
    node.expire().await;
    assert_eq!(node.waiting(EXPIRY_QUEUE), 0, "nothing is left of them");
}

#[tokio::test]
async fn its_leases_end_with_it_and_the_last_use_gets_none() {
    let scene = Scene::new().await;
    let (token, accessor) = limited(&scene.node, 2).await;
    let issue = || scene.node.call_as(&token, Verb::Read, PATH, Value::Null);
    let issued = issue().await.unwrap();
    assert_eq!(scene.target.accounts(), 1);
    let asked = scene.target.asked.load(Ordering::SeqCst);
    let refused = issue().await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked."
    );
    assert_eq!(scene.target.asked.load(Ordering::SeqCst), asked, "none was made");
    assert!(is_gone(&scene.node, &accessor).await);
    scene.pass(0).await;
    assert_eq!(scene.target.accounts(), 0);
    assert!(scene.look_up(&issued["lease_id"]).await.is_err());
    assert_eq!(scene.leases().await, [""; 0]);
}

#[tokio::test]
async fn as_many_as_there_are_uses_are_served_at_once() {
    const USES: u64 = 5;
    let node = Node::unsealed().await;
    for _ in 0..4 {
        let (token, accessor) = limited(&node, USES).await;
        let asked = (0..2 * USES).map(|_| node.call_as(&token, Verb::Read, "sys/mounts", Value::Null));
        let said = futures::future::join_all(asked).await;
        assert_eq!(said.iter().filter(|said| said.is_ok()).count() as u64, USES);
        assert!(is_gone(&node, &accessor).await);
    }
}

#[tokio::test]
async fn a_wrapped_answer_to_the_last_use_outlives_it() {
    let node = Node::unsealed().await;
    let (token, accessor) = limited(&node, 1).await;
    let mut request = Request::new(Verb::Read, "sys/mounts");
    request.token = Some(token.into());
    request.wrap_ttl = Some(60 * SECOND);
    let conclave_core::Body::Envelope(envelope) = node.core.handle(request).await.unwrap().body else {
        panic!("no envelope");
    };
    assert!(is_gone(&node, &accessor).await);
    let wrapping = envelope.wrap_info.unwrap();
    // It shows itself, so it pays its only use with what ends it.
    let shown = wrapping["token"].as_str().unwrap();
    let mut request = Request::new(Verb::Write, "sys/wrapping/unwrap");
    request.token = Some(shown.to_owned().into());
    let taken = value_of(&node.core.handle(request).await.unwrap());
    assert!(taken["data"]["secret/"].is_object(), "{taken}");
    assert!(is_gone(&node, &wrapping["accessor"]).await);
    node.clock.advance(GRACE);
    node.expire().await;
    assert_eq!(node.waiting(EXPIRY_QUEUE), 0);
}

#[tokio::test]
async fn tokens_of_namespaces_end_with_their_last_use_too() {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "sys/namespaces/team", Value::Null)
        .await
        .unwrap();
    let within = async |token: &str, verb, path: &'static str, data| {
        ask(&node, "team", token, (verb, path), data).await
    };
    let policy = json!({"policy": r#"path "*" { capabilities = ["read", "create", "update"] }"#});
    within(&node.root, Verb::Write, "sys/policies/acl/p", policy)
        .await
        .unwrap();
    let wish = json!({"policies": ["p"], "num_uses": 1, "ttl": "1h"});
    let made = within(&node.root, Verb::Write, "auth/token/create", wish)
        .await
        .unwrap();
    let token = made["auth"]["client_token"].as_str().unwrap();
    let asked = json!({"accessor": made["auth"]["accessor"]});
    within(token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await
        .unwrap();
    let gone = within(&node.root, Verb::Write, "auth/token/lookup-accessor", asked).await;
    assert!(matches!(gone, Err(Error::Listed(_))), "{gone:?}");
    node.clock.advance(GRACE);
    node.expire().await;
    assert_eq!(node.waiting(EXPIRY_QUEUE), 0);
}
