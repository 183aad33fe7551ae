//! Leases of tokens: looked up, listed, revoked by id and by prefix.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::{Error, Verb};
use support::Node;

async fn listed(node: &Node, prefix: &str) -> Vec<String> {
    let path = format!("sys/leases/lookup/{prefix}");
    match node.call(Verb::List, &path, Value::Null).await {
        Ok(answer) => serde_json::from_value(answer["data"]["keys"].clone()).unwrap(),
        Err(Error::NotFound { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

async fn lives(node: &Node, token: &str) -> bool {
    node.call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_lease_is_found_and_ended_by_its_id() {
    let node = Node::unsealed().await;
    assert_eq!(listed(&node, "").await, Vec::<String>::new(), "root has no lease");
    let token = node.token(json!({"ttl": "1h"})).await;
    assert_eq!(listed(&node, "").await, ["auth/"]);
    assert_eq!(listed(&node, "auth/token").await, ["create/"]);
    let keys = listed(&node, "auth/token/create/").await;
    let [key] = keys.as_slice() else {
        panic!("{keys:?}")
    };
    let id = format!("auth/token/create/{key}");
    assert!(key.starts_with('h') && !key.contains(&token), "{key}");
    for shown in [key.as_str(), &key[1..], &id] {
        assert!(!lives(&node, shown).await, "a lease id is no token");
    }

    node.clock.advance(60_000);
    let found = node
        .call(Verb::Write, "sys/leases/lookup", json!({"lease_id": id}))
        .await
        .unwrap();
    let data = &found["data"];
    assert_eq!(
        (&data["id"], &data["path"], &data["ttl"], &data["renewable"]),
        (
            &json!(id),
            &json!("auth/token/create"),
            &json!(3540),
            &json!(true)
        )
    );
    assert_eq!(data["expire_time"], "2026-01-01T01:00:00Z");
    assert_eq!(
        (&data["issue_time"], &data["last_renewal"]),
        (&json!("2026-01-01T00:00:00Z"), &Value::Null)
    );

    let renew = node.call(Verb::Write, "sys/leases/renew", json!({"lease_id": id}));
    assert_eq!(
        renew.await.unwrap_err().to_string(),
        "tokens cannot be renewed through this endpoint"
    );
    assert!(lives(&node, &token).await);
    node.call(Verb::Write, "sys/leases/revoke", json!({"lease_id": id}))
        .await
        .unwrap();
    assert!(!lives(&node, &token).await);
    assert!(listed(&node, "").await.is_empty());
    node.call(Verb::Write, &format!("sys/leases/revoke/{id}"), Value::Null)
        .await
        .expect("revoking what is gone is done");
    let gone = node
        .call(Verb::Write, "sys/leases/lookup", json!({"lease_id": id}))
        .await;
    assert_eq!(gone.unwrap_err().to_string(), "invalid lease");
}

#[tokio::test]
async fn no_other_text_is_a_lease() {
    let node = Node::unsealed().await;
    let token = node.token(json!({"ttl": "1h"})).await;
    let key = listed(&node, "auth/token/create").await.remove(0);
    let root = node
        .call(Verb::Write, "auth/token/lookup", json!({"token": node.root}))
        .await
        .unwrap();
    let accessor = root["data"]["accessor"].as_str().unwrap();
    for wrong in [
        key.clone(),
        format!("auth/token/create-orphan/{key}"),
        format!("auth/token/create/{}", &key[1..]),
        format!("auth/token/create/{key}0"),
        format!("auth/token/create/{}", key.to_uppercase()),
        "auth/token/create/h".to_owned(),
        "auth/token/create/h../../x".to_owned(),
        format!("auth/token/create/h{token}"),
        format!("auth/token/root/h{accessor}"),
    ] {
        for (path, text) in [("lookup", "invalid lease"), ("renew", "lease not found")] {
            let path = format!("sys/leases/{path}");
            let answer = node.call(Verb::Write, &path, json!({"lease_id": wrong})).await;
            assert_eq!(answer.unwrap_err().to_string(), text, "{wrong}");
        }
        node.call(Verb::Write, "sys/leases/revoke", json!({"lease_id": wrong}))
            .await
            .unwrap();
    }
    assert!(lives(&node, &token).await);
    for path in ["lookup", "renew", "revoke"] {
        let answer = node
            .call(Verb::Write, &format!("sys/leases/{path}"), Value::Null)
            .await;
        assert_eq!(answer.unwrap_err().to_string(), "lease_id must be specified");
    }
}

#[tokio::test]
async fn a_prefix_takes_all_beneath_it_and_nothing_else() {
    let node = Node::unsealed().await;
    let mut tokens = Vec::new();
    // More than one batch, and children that go with their parents.
    for _ in 0..300 {
        tokens.push(node.token(json!({"ttl": "1h", "policies": ["root"]})).await);
    }
    let child = node
        .call_as(
            &tokens[7],
            Verb::Write,
            "auth/token/create-orphan",
            json!({"ttl": "2h", "policies": ["default"]}),
        )
        .await
        .unwrap();
    let orphan = child["auth"]["client_token"].as_str().unwrap().to_owned();
    let child = node
        .call_as(
            &tokens[7],
            Verb::Write,
            "auth/token/create",
            json!({"ttl": "2h", "policies": ["default"]}),
        )
        .await
        .unwrap();
    let child = child["auth"]["client_token"].as_str().unwrap().to_owned();
    let page = node.call(
        Verb::List,
        "sys/leases/lookup/auth/token/create",
        json!({"limit": 5}),
    );
    assert_eq!(page.await.unwrap()["data"]["keys"].as_array().unwrap().len(), 5);

    let refused = node
        .call_as(
            &orphan,
            Verb::Write,
            "sys/leases/revoke-prefix/auth/token",
            Value::Null,
        )
        .await;
    assert!(matches!(refused, Err(Error::Denied { .. })));
    node.call(Verb::Write, "sys/leases/revoke-prefix/auth/tok", Value::Null)
        .await
        .unwrap();
    assert!(lives(&node, &tokens[0]).await, "prefixes end at a slash");
    node.call(
        Verb::Write,
        "sys/leases/revoke-prefix/auth/token/create",
        Value::Null,
    )
    .await
    .unwrap();
    for token in tokens.iter().chain([&child]) {
        assert!(!lives(&node, token).await);
    }
    assert!(lives(&node, &orphan).await && lives(&node, &node.root).await);
    assert_eq!(listed(&node, "auth/token").await, ["create-orphan/"]);
    node.call(Verb::Write, "sys/leases/revoke-force/auth", Value::Null)
        .await
        .unwrap();
    assert!(!lives(&node, &orphan).await);
    assert!(lives(&node, &node.root).await, "what never ends has no lease");
}

#[tokio::test]
async fn one_row_that_cannot_be_read_holds_up_no_other() {
    let node = Node::unsealed().await;
    for _ in 0..5 {
        node.token(json!({"ttl": "1m"})).await;
    }
    let tokens = async |node: &Node| {
        let listed = node.call(Verb::List, "auth/token/accessors", Value::Null).await;
        listed.unwrap()["data"]["keys"].as_array().unwrap().len()
    };
    assert_eq!(tokens(&node).await, 6);
    node.spoil(1).await;
    let node = node.restarted().await;
    node.unseal().await;
    node.clock.advance(120_000);
    node.expire().await;
    assert_eq!(node.waiting(1), 1, "it stays, and the others are gone");
    assert_eq!(node.number("conclave_expiry_stuck"), 1.0);
    assert_eq!(
        node.number("conclave_rotation_overdue"),
        0.0,
        "nobody can rotate a token"
    );
}
