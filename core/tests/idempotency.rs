//! Writes with an idempotency key: done once, answered as often as they are sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::sync::Arc;

use serde_json::{Value, json};

use conclave_core::{Body, Core, Error, Request, Verb};
use support::Node;

/// Sends a write under a key and gives the answer's kind and what it holds.
async fn send(
    core: &Arc<Core>,
    token: &str,
    key: &str,
    verb: Verb,
    path: &str,
    data: Value,
) -> Result<Value, Error> {
    let mut request = Request::new(verb, path);
    request.token = Some(token.to_owned().into());
    request.data = data.as_object().cloned().unwrap_or_default();
    request.idempotency_key = Some(key.to_owned());
    let response = core.handle(request).await?;
    let (kind, envelope) = match response.body {
        Body::Empty => return Ok(json!("empty")),
        Body::Envelope(envelope) => ("envelope", envelope),
        Body::NotFound(envelope) => ("not found", envelope),
        _ => panic!("another body"),
    };
    Ok(json!({
        "kind": kind, "data": envelope.data, "auth": envelope.auth, "warnings": envelope.warnings,
        "top": envelope.at_top_level,
    }))
}

async fn versions(node: &Node, name: &str) -> Value {
    let path = format!("secret/metadata/{name}");
    let read = node.call(Verb::Read, &path, Value::Null).await.unwrap();
    read["data"]["current_version"].clone()
}

fn secret(value: &str) -> Value {
    json!({"data": {"k": value}})
}

#[tokio::test]
async fn sent_again_is_answered_again_and_not_done_again() {
    let node = Node::unsealed().await;
    let write = |key: &'static str| {
        send(
            &node.core,
            &node.root,
            key,
            Verb::Write,
            "secret/data/x",
            secret("1"),
        )
    };
    let first = write("a").await.unwrap();
    assert_eq!(first["data"]["version"], 1);
    node.clock.advance(1000);
    assert_eq!(write("a").await.unwrap(), first, "the very same answer");
    assert_eq!(versions(&node, "x").await, 1);
    assert_eq!(
        write("b").await.unwrap()["data"]["version"],
        2,
        "another key, another write"
    );
    node.call(Verb::Write, "secret/data/x", secret("1"))
        .await
        .unwrap();
    assert_eq!(versions(&node, "x").await, 3, "without a key each is done");

    // Of core's own tables too: one token, shown twice.
    let data = json!({"policies": ["default"], "ttl": "1h"});
    let make = || {
        send(
            &node.core,
            &node.root,
            "t",
            Verb::Write,
            "auth/token/create",
            data.clone(),
        )
    };
    let made = make().await.unwrap();
    assert_eq!(make().await.unwrap(), made);
    assert!(made["auth"]["client_token"].as_str().unwrap().starts_with("s."));
    let accessors = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(accessors["data"]["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_delete_without_an_answer_is_not_done_again_either() {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "secret/data/x", secret("1"))
        .await
        .unwrap();
    for _ in 0..2 {
        let deleted = send(
            &node.core,
            &node.root,
            "d",
            Verb::Delete,
            "secret/data/x",
            Value::Null,
        );
        assert_eq!(deleted.await.unwrap(), "empty");
    }
    let undeleted = node
        .call(Verb::Write, "secret/undelete/x", json!({"versions": [1]}))
        .await;
    undeleted.unwrap();
    let deleted = send(
        &node.core,
        &node.root,
        "d",
        Verb::Delete,
        "secret/data/x",
        Value::Null,
    );
    assert_eq!(deleted.await.unwrap(), "empty");
    let read = node.call(Verb::Read, "secret/data/x", Value::Null).await.unwrap();
    assert_eq!(
        read["data"]["data"]["k"], "1",
        "the second delete was an answer, no delete"
    );
}

#[tokio::test]
async fn sixteen_at_once_are_one_write() {
    let node = Arc::new(Node::unsealed().await);
    let senders = (0..16).map(|_| {
        let node = node.clone();
        tokio::spawn(async move {
            send(
                &node.core,
                &node.root,
                "same",
                Verb::Write,
                "secret/data/y",
                secret("1"),
            )
            .await
        })
    });
    let mut answers = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        answers.push(sender.await.unwrap().unwrap());
    }
    assert_eq!(versions(&node, "y").await, 1);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[tokio::test]
async fn another_body_or_a_bad_key_is_refused() {
    let node = Node::unsealed().await;
    let write = |key: String, value: &'static str| {
        let (core, root) = (node.core.clone(), node.root.clone());
        async move { send(&core, &root, &key, Verb::Write, "secret/data/z", secret(value)).await }
    };
    write("k".into(), "1").await.unwrap();
    let other = write("k".into(), "2").await.unwrap_err();
    assert!(
        matches!(&other, Error::Invalid(text) if text.contains("another request body")),
        "{other}"
    );
    for bad in [
        String::new(),
        "a b".into(),
        "a\u{7f}".into(),
        "é".into(),
        "x".repeat(129),
    ] {
        let error = write(bad.clone(), "1").await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{bad}: {error}");
    }
    assert_eq!(versions(&node, "z").await, 1);
    assert_eq!(write("x".repeat(128), "1").await.unwrap()["data"]["version"], 2);
    // Reads have no use for a key and do not mind one.
    let read = send(
        &node.core,
        &node.root,
        "a b",
        Verb::Read,
        "secret/data/z",
        Value::Null,
    )
    .await;
    assert_eq!(read.unwrap()["data"]["data"]["k"], "1");
}

#[tokio::test]
async fn keys_belong_to_a_token_a_path_and_a_verb() {
    let node = Node::unsealed().await;
    let other = node.token(json!({"policies": ["root"]})).await;
    for (token, verb, path) in [
        (&node.root, Verb::Write, "secret/data/w"),
        (&other, Verb::Write, "secret/data/w"),
        (&node.root, Verb::Patch, "secret/data/w"),
    ] {
        send(&node.core, token, "k", verb, path, secret("1"))
            .await
            .unwrap();
    }
    assert_eq!(versions(&node, "w").await, 3);
    send(
        &node.core,
        &node.root,
        "k",
        Verb::Write,
        "secret/data/w2",
        secret("1"),
    )
    .await
    .unwrap();
    assert_eq!(versions(&node, "w2").await, 1);
    // Who has lost the right to write is not told how the write went.
    node.call(Verb::Write, "auth/token/revoke", json!({"token": other}))
        .await
        .unwrap();
    let again = send(&node.core, &other, "k", Verb::Write, "secret/data/w", secret("1")).await;
    assert!(matches!(again, Err(Error::Denied { .. })));
}

#[tokio::test]
async fn errors_and_requests_that_change_nothing_are_not_kept() {
    let node = Node::unsealed().await;
    let wrong = json!({"options": {"cas": 1}, "data": {"k": "v"}});
    let write = || {
        send(
            &node.core,
            &node.root,
            "k",
            Verb::Write,
            "secret/data/v",
            wrong.clone(),
        )
    };
    assert!(write().await.is_err());
    node.call(Verb::Write, "secret/data/v", secret("1"))
        .await
        .unwrap();
    assert_eq!(
        write().await.unwrap()["data"]["version"],
        2,
        "it failed before and may succeed now"
    );

    let look = || {
        send(
            &node.core,
            &node.root,
            "l",
            Verb::Write,
            "auth/token/lookup",
            json!({"token": node.root}),
        )
    };
    look().await.unwrap();
    node.clock.advance(1_000);
    node.expire().await;
    let rows = answers(&node);
    assert_eq!(rows, 1, "the lookup wrote nothing, so it left nothing");
    look().await.unwrap();
}

#[tokio::test]
async fn an_answer_is_kept_for_ten_minutes() {
    let node = Node::unsealed().await;
    let write = |key: String| {
        let (core, root) = (node.core.clone(), node.root.clone());
        async move { send(&core, &root, &key, Verb::Write, "secret/data/u", secret("1")).await }
    };
    for n in 0..300 {
        write(format!("k{n}")).await.unwrap();
    }
    assert_eq!(answers(&node), 300);
    node.clock.advance(599_999);
    node.expire().await;
    assert_eq!(answers(&node), 300);
    assert_eq!(write("k0".into()).await.unwrap()["data"]["version"], 1);
    node.clock.advance(1);
    // Due and not yet removed is as good as gone; its row is taken over and lives on.
    assert_eq!(write("k0".into()).await.unwrap()["data"]["version"], 301);
    node.expire().await;
    assert_eq!(answers(&node), 1);
    assert_eq!(write("k0".into()).await.unwrap()["data"]["version"], 301);
    node.clock.advance(600_000);
    node.expire().await;
    assert_eq!(answers(&node), 0);
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_not_done_twice_either() {
    let node = Node::unsealed().await;
    let policy = format!(
        "path \"x\" {{ capabilities = [\"read\"] }}\n# {}",
        "x".repeat(1000)
    );
    node.call(Verb::Write, "sys/policies/acl/p", json!({"policy": policy}))
        .await
        .unwrap();
    let meta: serde_json::Map<_, _> = (0..400)
        .map(|n| (format!("m{n}"), json!("y".repeat(1000))))
        .collect();
    let data = json!({"meta": meta, "ttl": "1h"});
    let make = || {
        send(
            &node.core,
            &node.root,
            "k",
            Verb::Write,
            "auth/token/create",
            data.clone(),
        )
    };
    make().await.unwrap();
    let again = make().await.unwrap_err();
    assert!(
        matches!(&again, Error::Invalid(text) if text.contains("was done")),
        "{again}"
    );
    let accessors = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(accessors["data"]["keys"].as_array().unwrap().len(), 2);
}

/// Rows of the table of answers: its number is the second byte of their keys.
fn answers(node: &Node) -> usize {
    const ANSWERED: u8 = 0x19;
    let mut rows = 0;
    let snapshot = node.store.snapshot().unwrap();
    snapshot
        .scan(&[], None, &mut |key, _| {
            rows += usize::from(key.get(1) == Some(&ANSWERED));
            Ok(true)
        })
        .unwrap();
    rows
}
