//! Operators' snapshots: saved, restored in place, restored into another cluster, and refused when anything is wrong
//! with the file, without a trace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod malformed;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_core::backup::inspect;
use conclave_core::{Body, Error, Request, Verb};
use conclave_raft::local::LocalReplica;
use conclave_raft::state::digest;
use conclave_raft::{Replica, View};
use serde_json::{Value, json};
use support::Node;
use support::shared::node_on;
use tempfile::TempDir;

const SAVE: &str = "sys/storage/raft/snapshot";
const FORCE: &str = "sys/storage/raft/snapshot-force";
const READ_ONLY: &str = r#"path "secret/data/*" { capabilities = ["read"] }"#;
const NOTHING: &str = r#"path "secret/data/*" { capabilities = ["deny"] }"#;

/// Saves a snapshot of the node's state into a file of ours.
async fn save(node: &Node, dir: &TempDir, name: &str) -> PathBuf {
    let mut request = Request::new(Verb::Read, SAVE);
    request.token = Some(node.root.clone().into());
    let response = node.core.handle(request).await.unwrap();
    let Body::File { content_type, file } = response.body else {
        panic!("no file")
    };
    assert_eq!(content_type, "application/gzip");
    let kept = dir.path().join(name);
    std::fs::copy(file.path(), &kept).unwrap();
    let spool = file.path().to_owned();
    drop(file);
    assert!(!spool.exists(), "what nobody sends is removed");
    kept
}

async fn restore(node: &Node, path: &str, file: &Path) -> Result<(), Error> {
    let mut request = Request::new(Verb::Write, path);
    request.token = Some(node.root.clone().into());
    request.upload = Some(file.to_owned());
    let response = node.core.handle(request).await?;
    assert!(matches!(response.body, Body::Empty));
    Ok(())
}

async fn write(node: &Node, name: &str, value: &str) {
    let path = format!("secret/data/{name}");
    node.call(Verb::Write, &path, json!({"data": {"k": value}}))
        .await
        .unwrap();
}

async fn read(node: &Node, token: &str, name: &str) -> Result<String, Error> {
    let path = format!("secret/data/{name}");
    let read = node.call_as(token, Verb::Read, &path, Value::Null).await?;
    Ok(read["data"]["data"]["k"].as_str().unwrap_or("none").to_owned())
}

async fn policy(node: &Node, text: &str) {
    node.call(Verb::Write, "sys/policies/acl/reader", json!({"policy": text}))
        .await
        .unwrap();
}

/// The whole state, as one number.
fn state(node: &Node) -> [u8; 32] {
    let snapshot = node.store.snapshot().unwrap();
    let (applied, _) = snapshot.applied().unwrap();
    digest(&View::new(snapshot, applied)).unwrap()
}

fn denied(outcome: Result<String, Error>) -> bool {
    matches!(outcome, Err(Error::Denied { .. }))
}

/// The token is refused in whatever it asks for.
async fn is_void(node: &Node, token: &str) -> bool {
    let answer = node.call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null);
    matches!(answer.await, Err(Error::Denied { .. }))
}

fn text_of(outcome: Result<(), Error>) -> String {
    match outcome {
        Err(Error::Invalid(text)) => text,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

#[tokio::test]
async fn everything_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    policy(&node, READ_ONLY).await;
    write(&node, "kept", "one").await;
    write(&node, "lost", "here").await;
    let token = node.token(json!({"policies": ["reader"]})).await;
    let used = node.token(json!({"policies": ["reader"], "num_uses": 3})).await;
    assert_eq!(read(&node, &used, "kept").await.unwrap(), "one");
    let revoked = node.token(json!({"policies": ["reader"]})).await;
    let file = save(&node, &dir, "a.snap").await;

    write(&node, "kept", "two").await;
    write(&node, "new", "later").await;
    node.call(Verb::Delete, "secret/metadata/lost", Value::Null)
        .await
        .unwrap();
    policy(&node, NOTHING).await;
    let late = node.token(json!({"policies": ["root"]})).await;
    node.call(Verb::Write, "auth/token/revoke", json!({"token": revoked}))
        .await
        .unwrap();
    node.call(Verb::Write, "sys/mounts/extra", json!({"type": "kv"}))
        .await
        .unwrap();
    assert!(denied(read(&node, &token, "kept").await));
    assert_eq!(read(&node, &late, "new").await.unwrap(), "later");

    restore(&node, SAVE, &file).await.unwrap();
    assert_eq!(
        read(&node, &token, "kept").await.unwrap(),
        "one",
        "the old policy"
    );
    assert_eq!(read(&node, &revoked, "lost").await.unwrap(), "here");
    assert!(is_void(&node, &late).await, "a token from after it is unknown");
    let gone = node.call(Verb::Read, "secret/data/new", Value::Null).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
    let mounts = node.call(Verb::Read, "sys/mounts", Value::Null).await.unwrap();
    assert!(mounts["data"].get("extra/").is_none() && mounts["data"].get("secret/").is_some());
    for _ in 0..2 {
        assert_eq!(read(&node, &used, "kept").await.unwrap(), "one");
    }
    assert!(is_void(&node, &used).await, "two of its three uses were left");

    // It goes on from there, also after a restart.
    write(&node, "kept", "three").await;
    policy(&node, NOTHING).await;
    assert!(denied(read(&node, &token, "kept").await));
    let node = node.restarted().await;
    node.unseal().await;
    assert_eq!(read(&node, &node.root, "kept").await.unwrap(), "three");
    // The same file again.
    restore(&node, SAVE, &file).await.unwrap();
    assert_eq!(read(&node, &token, "kept").await.unwrap(), "one");
}

#[tokio::test]
async fn what_expired_meanwhile_is_not_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    let short = node.token(json!({"policies": ["root"], "ttl": "1h"})).await;
    let long = node.token(json!({"policies": ["root"], "ttl": "9h"})).await;
    let file = save(&node, &dir, "a.snap").await;
    node.clock.advance(2 * 3_600_000);
    node.expire().await;
    restore(&node, SAVE, &file).await.unwrap();
    assert!(is_void(&node, &short).await);
    assert!(!is_void(&node, &long).await);
    let accessors = |node: &Node| {
        let rows = node.store.snapshot().unwrap();
        rows.due(1, u64::MAX, 100).unwrap().len()
    };
    let before = accessors(&node);
    node.expire().await;
    assert_eq!(accessors(&node), before - 1, "its rows end with the next expiry");
}

#[tokio::test]
async fn another_cluster_takes_it_by_force_and_then_needs_its_shares() {
    let dir = tempfile::tempdir().unwrap();
    let old = Node::unsealed().await;
    write(&old, "kept", "one").await;
    let file = save(&old, &dir, "a.snap").await;

    let fresh = Node::unsealed().await;
    let replica = LocalReplica::open(fresh.store.clone(), fresh.clock.clone()).unwrap();
    let replica: Arc<dyn Replica> = Arc::new(replica);
    let (one, two) = (node_on(&fresh, &replica), node_on(&fresh, &replica));
    for node in [&one, &two] {
        node.core.resume().await.unwrap();
        node.unseal().await;
    }
    write(&one, "own", "x").await;
    let before = state(&fresh);
    let refused = text_of(restore(&one, SAVE, &file).await);
    assert!(refused.contains("snapshot-force"), "{refused}");
    assert_eq!(state(&fresh), before);
    assert_eq!(read(&two, &fresh.root, "own").await.unwrap(), "x");

    restore(&one, FORCE, &file).await.unwrap();
    for node in [&one, &two] {
        assert!(
            matches!(read(node, &fresh.root, "own").await, Err(Error::Sealed)),
            "the keys of this cluster are of no use any more"
        );
        let status = node
            .plain(Verb::Read, "sys/seal-status", Value::Null)
            .await
            .unwrap();
        assert_eq!(status["sealed"], json!(true));
        for share in &fresh.shares {
            let refused = node.plain(Verb::Write, "sys/unseal", json!({"key": share})).await;
            assert!(matches!(refused, Err(Error::Invalid(_))));
        }
        for share in &old.shares[1..] {
            node.plain(Verb::Write, "sys/unseal", json!({"key": share}))
                .await
                .unwrap();
        }
        assert_eq!(read(node, &old.root, "kept").await.unwrap(), "one");
        assert!(is_void(node, &fresh.root).await);
    }
    let one = Node {
        root: old.root.clone(),
        ..one
    };
    write(&one, "kept", "two").await;
    assert_eq!(read(&two, &old.root, "kept").await.unwrap(), "two");
    // From here on it is that cluster: its snapshots need no force.
    restore(&one, SAVE, &file).await.unwrap();
    assert_eq!(read(&two, &old.root, "kept").await.unwrap(), "one");
}

async fn change_shares(node: &Node) -> Vec<String> {
    let split = json!({"secret_shares": 1, "secret_threshold": 1});
    let begun = node
        .call(Verb::Write, "sys/rotate/root/init", split)
        .await
        .unwrap();
    let nonce = begun["data"]["nonce"].clone();
    let mut last = Value::Null;
    for share in &node.shares[..2] {
        let body = json!({"nonce": nonce, "key": share});
        last = node
            .call(Verb::Write, "sys/rotate/root/update", body)
            .await
            .unwrap();
    }
    serde_json::from_value(last["data"]["keys"].clone()).unwrap()
}

#[tokio::test]
async fn a_snapshot_from_before_new_shares_needs_force_and_the_old_shares() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    write(&node, "kept", "one").await;
    let file = save(&node, &dir, "a.snap").await;
    let new = change_shares(&node).await;
    write(&node, "kept", "two").await;

    let before = state(&node);
    let refused = text_of(restore(&node, SAVE, &file).await);
    assert!(refused.contains("generation 1"), "{refused}");
    assert_eq!(state(&node), before);
    restore(&node, FORCE, &file).await.unwrap();
    assert!(matches!(
        read(&node, &node.root, "kept").await,
        Err(Error::Sealed)
    ));
    let refused = node
        .plain(Verb::Write, "sys/unseal", json!({"key": new[0]}))
        .await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
    node.unseal().await;
    assert_eq!(read(&node, &node.root, "kept").await.unwrap(), "one");
}

#[tokio::test]
async fn the_keyring_goes_back_and_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    let replica = LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap();
    let replica: Arc<dyn Replica> = Arc::new(replica);
    let (one, two) = (node_on(&node, &replica), node_on(&node, &replica));
    for node in [&one, &two] {
        node.core.resume().await.unwrap();
        node.unseal().await;
    }
    write(&one, "kept", "one").await;
    let file = save(&one, &dir, "a.snap").await;
    let rotate = |node: &Node| {
        let mut request = Request::new(Verb::Write, "sys/rotate");
        request.token = Some(node.root.clone().into());
        let core = node.core.clone();
        async move { core.handle(request).await.map(|_| ()) }
    };
    rotate(&one).await.unwrap();
    write(&one, "kept", "two").await;
    assert_eq!(read(&two, &two.root, "kept").await.unwrap(), "two");
    // Back, and forward to a keyring of the same generation with another key, which `two` has not seen coming.
    restore(&one, SAVE, &file).await.unwrap();
    rotate(&one).await.unwrap();
    write(&one, "kept", "three").await;
    assert_eq!(read(&two, &two.root, "kept").await.unwrap(), "three");
    write(&two, "kept", "four").await;
    assert_eq!(read(&one, &one.root, "kept").await.unwrap(), "four");
    let status = two.call(Verb::Read, "sys/key-status", Value::Null).await.unwrap();
    assert_eq!(status["data"]["term"], json!(2));
}

#[tokio::test]
async fn policies_decide_who_may_save_and_restore() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    let file = save(&node, &dir, "a.snap").await;
    let text = r#"path "sys/storage/raft/snapshot" { capabilities = ["read", "update"] }"#;
    policy(&node, text).await;
    let token = node.token(json!({"policies": ["reader"]})).await;
    let request = |verb, token: &str| {
        let mut request = Request::new(verb, SAVE);
        request.token = Some(token.to_owned().into());
        request
    };
    for verb in [Verb::Read, Verb::Write] {
        let mut asked = request(verb, &token);
        asked.upload = Some(file.clone());
        assert!(matches!(
            node.core.admits(&asked).await,
            Err(Error::Denied { .. })
        ));
        let outcome = node.core.handle(asked).await.map(|_| ());
        assert!(
            matches!(outcome, Err(Error::Denied { .. })),
            "{verb:?} without sudo"
        );
    }
    for stranger in ["", "s.nobody"] {
        let mut asked = request(Verb::Write, stranger);
        asked.upload = Some(file.clone());
        assert!(node.core.admits(&asked).await.is_err());
        assert!(matches!(
            node.core.handle(asked).await.map(|_| ()),
            Err(Error::Denied { .. })
        ));
    }
    let with_sudo = text.replace("\"update\"", "\"update\", \"sudo\"");
    policy(&node, &with_sudo).await;
    node.core.admits(&request(Verb::Write, &token)).await.unwrap();
    let node = Node { root: token, ..node };
    restore(&node, SAVE, &file).await.unwrap();
}

#[tokio::test]
async fn a_file_tells_what_it_is_without_keys() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    write(&node, "kept", "a value that is secret").await;
    let file = save(&node, &dir, "a.snap").await;
    let again = save(&node, &dir, "b.snap").await;
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(
        bytes,
        std::fs::read(again).unwrap(),
        "the same state, the same file"
    );
    let found = inspect(&file).unwrap();
    assert_eq!(found.file_bytes, bytes.len() as u64);
    assert_eq!((found.meta.format, found.meta.seal_generation), (1, 1));
    assert_eq!((found.meta.seal_threshold, found.meta.keyring_generation), (2, 1));
    assert_eq!(found.meta.cluster_name, "conclave");
    assert_eq!(found.meta.made_at, "2026-01-01T00:00:00Z");
    assert!(found.meta.rows > 10 && found.meta.due == 0);
    let applied = node.store.snapshot().unwrap().applied().unwrap().0;
    assert_eq!(found.meta.revision, applied.revision);
    for secret in [
        "a value that is secret",
        "kept",
        "secret/",
        "default",
        node.root.as_str(),
    ] {
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{secret:?} is in the file");
    }
}

#[tokio::test]
async fn a_snapshot_from_the_future_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = Node::unsealed().await;
    ahead.clock.advance(3_600_000);
    write(&ahead, "kept", "one").await;
    let file = save(&ahead, &dir, "a.snap").await;
    let node = Node::unsealed().await;
    let before = state(&node);
    let text = text_of(restore(&node, FORCE, &file).await);
    assert!(text.contains("in the future"), "{text}");
    assert_eq!(state(&node), before);
    node.clock.advance(3_600_000);
    write(&node, "own", "x").await;
    restore(&node, FORCE, &file).await.unwrap();
}

/// A namespace with a seal of its own is in the snapshot, and sealed by every restore: keys that were opened before open nothing
/// after it.
#[tokio::test]
async fn a_namespace_with_a_seal_comes_back_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    let ask = async |namespace: &str, verb: Verb, path: &str, body: Value| {
        support::ask(&node, namespace, &node.root, (verb, path), body).await
    };
    let seal = json!({"seal": "seal \"shamir\" {\n shares = 1\n threshold = 1\n}"});
    let made = ask("", Verb::Write, "sys/namespaces/t", seal).await.unwrap();
    let share = json!({"key": made["data"]["key_shares"][0]});
    let unseal = async || {
        ask("", Verb::Write, "sys/namespaces/t/unseal", share.clone())
            .await
            .unwrap()
    };
    unseal().await;
    ask("t", Verb::Write, "sys/mounts/kv", json!({"type": "kv"}))
        .await
        .unwrap();
    ask("t", Verb::Write, "kv/a", json!({"k": "one"})).await.unwrap();
    let file = save(&node, &dir, "a.snap").await;
    ask("t", Verb::Write, "kv/a", json!({"k": "two"})).await.unwrap();

    restore(&node, SAVE, &file).await.unwrap();
    let read = async || ask("t", Verb::Read, "kv/a", Value::Null).await;
    assert!(matches!(read().await, Err(Error::NamespaceSealed { .. })));
    unseal().await;
    assert_eq!(read().await.unwrap()["data"]["k"], "one");

    // Sealed, then restored to a state in which it was open.
    ask("", Verb::Write, "sys/namespaces/t/seal", Value::Null)
        .await
        .unwrap();
    restore(&node, SAVE, &file).await.unwrap();
    assert!(matches!(read().await, Err(Error::NamespaceSealed { .. })));
    unseal().await;
    assert_eq!(read().await.unwrap()["data"]["k"], "one");
}
