//! Who used which secret last, as operators are told: of a secret, beside its metadata, of an entity; which secrets nobody uses,
//! and as whom nobody can log in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::{Error, Request, Verb};
use support::Node;

const DAY: u64 = 86_400_000;

/// A node on which `ada` and `bob` may use what lies in `secret/`.
async fn node() -> Node {
    let node = Node::unsealed().await;
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\", \"list\", \"create\", \"update\"] }"});
    must(&node, Verb::Write, "sys/policies/acl/user", policy).await;
    must(
        &node,
        Verb::Write,
        "sys/auth/userpass",
        json!({"type": "userpass"}),
    )
    .await;
    for user in ["ada", "bob"] {
        let data = json!({"password": "pass-word", "token_policies": "user", "token_ttl": "9000h"});
        must(&node, Verb::Write, &format!("auth/userpass/users/{user}"), data).await;
    }
    node
}

async fn must(node: &Node, verb: Verb, path: &str, data: Value) -> Value {
    node.call(verb, path, data).await.unwrap()
}

/// Logs in; the token, and the entity behind it.
async fn login(node: &Node, user: &str) -> (String, String) {
    let mut request = Request::new(Verb::Write, format!("auth/userpass/login/{user}"));
    request.data = json!({"password": "pass-word"}).as_object().unwrap().clone();
    let answer = support::value_of(&node.core.handle(request).await.unwrap());
    let text = |name: &str| answer["auth"][name].as_str().unwrap().to_owned();
    (text("client_token"), text("entity_id"))
}

async fn ask(node: &Node, token: &str, verb: Verb, path: &str, data: Value) {
    let mut request = Request::new(verb, path);
    request.token = Some(token.to_owned().into());
    request.remote = Some("10.0.0.1".parse().unwrap());
    if let Value::Object(data) = data {
        request.data = data;
    }
    node.core.handle(request).await.unwrap();
}

async fn put(node: &Node, token: &str, name: &str) {
    let path = format!("secret/data/{name}");
    ask(node, token, Verb::Write, &path, json!({"data": {"x": 1}})).await;
}

/// What was seen is stored now.
async fn stored(node: &Node) {
    node.core.watch_once(true).await.unwrap();
    node.clock.advance(61_000);
    node.core.watch_once(true).await.unwrap();
}

#[tokio::test]
async fn who_used_a_secret_last_and_what_nobody_uses() {
    let node = node().await;
    put(&node, &node.root, "a/used").await;
    put(&node, &node.root, "a/left").await;
    let (token, _) = login(&node, "ada").await;
    ask(&node, &token, Verb::Read, "secret/data/a/left", Value::Null).await;
    stored(&node).await;
    node.clock.advance(100 * DAY - 61_000);
    let (token, entity) = login(&node, "ada").await;
    for _ in 0..3 {
        ask(&node, &token, Verb::Read, "secret/data/a/used", Value::Null).await;
    }
    stored(&node).await;
    let used = must(&node, Verb::Read, "sys/anomaly/access/secret/a/used", Value::Null).await;
    let (read, write) = (&used["data"]["last_read"], &used["data"]["last_write"]);
    assert_eq!(
        (&read["count"], &write["count"]),
        (&json!(3), &json!(1)),
        "{used}"
    );
    assert_eq!(
        (&read["time"], &read["network"]),
        (&json!("2026-04-11T00:00:00Z"), &json!("10.0.0.0/24"))
    );
    assert_eq!(read["identity"], format!("userpass-ada (entity {entity})"));
    let unused = must(
        &node,
        Verb::Read,
        "sys/anomaly/unused/secret",
        json!({"days": 90}),
    )
    .await;
    assert_eq!(unused["data"]["keys"], json!(["a/left"]), "{unused}");

    // Beside the metadata for who asks for it, and nothing of it for who does not.
    let metadata = async |data: Value| {
        let told = must(&node, Verb::Read, "secret/metadata/a/used", data).await;
        told["data"].as_object().unwrap().clone()
    };
    let told = metadata(json!({"access": true})).await;
    assert_eq!((&told["last_read"], &told["last_write"]), (read, write));
    assert_eq!(told["current_version"], 1);
    assert!(!metadata(Value::Null).await.contains_key("last_read"));
    for (path, data) in [
        ("sys/anomaly/access/sys/mounts", Value::Null),
        ("sys/anomaly/unused/nosuch", Value::Null),
        ("sys/anomaly/unused/secret", json!({"days": 0})),
        ("secret/metadata/a/used", json!({"access": "perhaps"})),
    ] {
        let refused = node.call(Verb::Read, path, data).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{path}");
    }
    for path in ["access/secret/nosuch", "identities/nosuch"] {
        let unknown = node
            .call(Verb::Read, &format!("sys/anomaly/{path}"), Value::Null)
            .await;
        assert!(matches!(unknown, Err(Error::NotFound { .. })), "{path}");
    }
}

#[tokio::test]
async fn what_an_entity_used_last() {
    let node = node().await;
    let (ada, entity) = login(&node, "ada").await;
    put(&node, &ada, "first").await;
    for name in ["first", "first", "first"] {
        ask(
            &node,
            &ada,
            Verb::Read,
            &format!("secret/data/{name}"),
            Value::Null,
        )
        .await;
    }
    // No use of a secret.
    ask(&node, &ada, Verb::Read, "auth/token/lookup-self", Value::Null).await;
    ask(&node, &ada, Verb::Write, "auth/token/renew-self", Value::Null).await;
    stored(&node).await;
    put(&node, &ada, "second").await;
    stored(&node).await;
    let path = format!("sys/anomaly/identities/{entity}");
    let told = must(&node, Verb::Read, &path, Value::Null).await["data"].take();
    let (read, write) = (&told["last_read"], &told["last_write"]);
    assert_eq!(
        (&read["path"], &read["count"]),
        (&json!("secret/data/first"), &json!(3)),
        "{told}"
    );
    assert_eq!(
        (&write["path"], &write["count"]),
        (&json!("secret/data/second"), &json!(2)),
        "{told}"
    );
    assert_eq!(write["time"], "2026-01-01T00:01:01Z");
    assert_eq!(read["network"], "10.0.0.0/24");
    // It is the cluster's, and outlives the process.
    let node = node.restarted().await;
    node.unseal().await;
    assert_eq!(must(&node, Verb::Read, &path, Value::Null).await["data"], told);
}

#[tokio::test]
async fn as_whom_nobody_can_log_in_is_listed() {
    let node = node().await;
    must(&node, Verb::Write, "sys/namespaces/team", Value::Null).await;
    must(
        &node,
        Verb::Write,
        "team/identity/entity",
        json!({"name": "robot"}),
    )
    .await;
    must(&node, Verb::Write, "sys/auth/other", json!({"type": "userpass"})).await;
    must(
        &node,
        Verb::Write,
        "auth/other/users/eve",
        json!({"password": "pass-word"}),
    )
    .await;
    let (ada, left) = login(&node, "ada").await;
    let (_, stays) = login(&node, "bob").await;
    let mut request = Request::new(Verb::Write, "auth/other/login/eve");
    request.data = json!({"password": "pass-word"}).as_object().unwrap().clone();
    let eve = support::value_of(&node.core.handle(request).await.unwrap());
    let eve = eve["auth"]["entity_id"].as_str().unwrap();
    put(&node, &ada, "by-ada").await;
    stored(&node).await;
    let orphaned = async || {
        let mut told = must(&node, Verb::Read, "sys/anomaly/orphaned", Value::Null).await;
        told["data"]["key_info"].take()
    };
    let before = orphaned().await;
    let robot = before.as_object().unwrap().values().next().unwrap();
    assert_eq!(before.as_object().unwrap().len(), 1, "{before}");
    assert_eq!(
        (&robot["name"], &robot["namespace"], &robot["reason"]),
        (&json!("robot"), &json!("team/"), &json!("it has no alias"))
    );
    assert_eq!(robot["last_read"], Value::Null);

    must(&node, Verb::Delete, "auth/userpass/users/ada", Value::Null).await;
    must(&node, Verb::Delete, "sys/auth/other", Value::Null).await;
    while node.core.expire_once().await.unwrap() == conclave_core::Round::Full {}
    let after = orphaned().await;
    assert_eq!(after.as_object().unwrap().len(), 3, "{after}");
    assert_eq!(after[&left]["reason"], "auth/userpass/ knows \"ada\" no more");
    assert_eq!(after[&left]["last_write"]["path"], "secret/data/by-ada");
    assert_eq!(after[eve]["reason"], "it has no alias");
    assert!(after.get(&stays).is_none());
}
