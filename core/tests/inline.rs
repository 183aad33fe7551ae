//! Requests that bring their login along: the same rights, records, counts and locks as after a login, and a token that is kept
//! nowhere and told to nobody.
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

use conclave_core::{Body, Error, InlineLogin, Request, Settings, Verb};
use support::played::{PATH, Scene};
use support::{Node, value_of};

/// `ada` may do everything with secrets and databases, and what every token may.
async fn with_ada(node: &Node) {
    let policy = json!({"policy": r#"path "secret/*" { capabilities = ["create", "read", "update"] }
path "database/*" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["update"] }"#});
    for (path, body) in [
        ("sys/auth/userpass", json!({"type": "userpass"})),
        ("sys/policies/acl/app", policy),
        (
            "auth/userpass/users/ada",
            json!({"password": "pw", "token_policies": "app", "token_num_uses": 1}),
        ),
        ("secret/data/a", json!({"data": {"k": "v"}})),
    ] {
        node.call(Verb::Write, path, body).await.unwrap();
    }
}

fn login(path: &str, password: &str) -> Option<Box<InlineLogin>> {
    Some(Box::new(InlineLogin {
        verb: Verb::Write,
        path: path.to_owned(),
        namespace: None,
        data: json!({ "password": password }).as_object().cloned().unwrap(),
    }))
}

/// A request of `ada`'s.
fn asked(verb: Verb, path: &str, data: Value) -> Request {
    let mut request = Request::new(verb, path);
    request.data = data.as_object().cloned().unwrap_or_default();
    request.inline = login("auth/userpass/login/ada", "pw");
    request
}

async fn ask(node: &Node, request: Request) -> Result<Value, Error> {
    node.core.handle(request).await.map(|answer| value_of(&answer))
}

async fn accessors(node: &Node) -> usize {
    let listed = node.call(Verb::List, "auth/token/accessors", Value::Null).await;
    listed.unwrap()["data"]["keys"].as_array().unwrap().len()
}

#[tokio::test]
async fn it_is_served_as_after_a_login_and_leaves_no_token() {
    let node = Node::unsealed().await;
    with_ada(&node).await;
    for _ in 0..2 {
        let read = ask(&node, asked(Verb::Read, "secret/data/a", Value::Null)).await;
        assert_eq!(read.unwrap()["data"]["data"]["k"], "v");
    }
    let body = json!({"data": {"k": "w"}});
    ask(&node, asked(Verb::Write, "secret/data/b", body))
        .await
        .unwrap();
    let denied = ask(&node, asked(Verb::Read, "sys/mounts", Value::Null)).await;
    assert!(
        matches!(
            denied,
            Err(Error::Denied {
                unauthenticated: false
            })
        ),
        "{denied:?}"
    );
    let mut wrapped = asked(Verb::Read, "secret/data/a", Value::Null);
    wrapped.wrap_ttl = Some(60_000);
    let Body::Envelope(envelope) = node.core.handle(wrapped).await.unwrap().body else {
        panic!("no envelope");
    };
    let shown = envelope.wrap_info.unwrap()["token"].clone();
    let taken = node
        .call(Verb::Write, "sys/wrapping/unwrap", json!({ "token": shown }))
        .await;
    assert_eq!(taken.unwrap()["data"]["data"]["k"], "v");
    assert_eq!(accessors(&node).await, 1, "root's alone");
}

#[tokio::test]
async fn what_it_asks_about_its_token_is_told_to_nobody() {
    let scene = Scene::new().await;
    let node = &scene.node;
    with_ada(node).await;
    for (verb, path, data, said) in [
        (Verb::Read, "auth/token/lookup-self", json!({}), Some("bad token")),
        (
            Verb::Write,
            "auth/token/lookup",
            json!({}),
            Some("permission denied"),
        ),
        (
            Verb::Write,
            "auth/token/renew-self",
            json!({}),
            Some("token not found"),
        ),
        (Verb::Write, "auth/token/revoke-self", json!({}), None),
        (
            Verb::Write,
            "auth/token/create",
            json!({}),
            Some("parent token lookup failed: no parent found"),
        ),
        (
            Verb::Write,
            "sys/wrapping/unwrap",
            json!({}),
            Some("wrapping token is not valid or does not exist"),
        ),
        (
            Verb::Read,
            PATH,
            json!({}),
            Some("requests with inline authentication cannot generate leases"),
        ),
    ] {
        let answer = ask(node, asked(verb, path, data)).await;
        assert_eq!(
            answer.err().map(|error| error.to_string()).as_deref(),
            said,
            "{path}"
        );
    }
    let kept = ask(node, asked(Verb::Write, "cubbyhole/a", json!({"k": "v"}))).await;
    assert!(kept.is_err(), "there is none");
    assert_eq!(
        scene.target.asked.load(Ordering::SeqCst),
        1,
        "the check of the configuration"
    );
    assert!(scene.leases().await.is_empty());
}

#[tokio::test]
async fn a_login_that_fails_is_told_apart_counts_and_locks() {
    let node = Node::unsealed().await;
    with_ada(&node).await;
    let wrong = || {
        let mut request = asked(Verb::Read, "secret/data/a", Value::Null);
        request.inline = login("auth/userpass/login/ada", "no");
        request
    };
    for (path, said) in [
        ("auth/userpass/login/nobody", "invalid username or password"),
        ("auth/nosuch/login/ada", "permission denied"),
        ("auth/userpass/users/ada", "permission denied"),
        ("auth/token/create", "permission denied"),
        ("sys/health", "permission denied"),
        ("secret/data/a", "permission denied"),
        ("sys/../a", "path cannot contain parent references"),
        ("", "path is empty"),
    ] {
        let mut request = asked(Verb::Read, "secret/data/a", Value::Null);
        request.inline = login(path, "pw");
        match ask(&node, request).await {
            Err(Error::InlineLogin(error)) => assert_eq!(error.to_string(), said, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    let mut both = asked(Verb::Read, "secret/data/a", Value::Null);
    both.token = Some(node.root.clone().into());
    let both = ask(&node, both).await.unwrap_err().to_string();
    assert!(both.contains("cannot layer inline authentication"), "{both}");
    for _ in 0..5 {
        let refused = ask(&node, wrong()).await;
        assert!(matches!(refused, Err(Error::InlineLogin(_))), "{refused:?}");
    }
    let locked = ask(&node, asked(Verb::Read, "secret/data/a", Value::Null)).await;
    assert_eq!(
        locked.unwrap_err().to_string(),
        "permission denied",
        "too many failed"
    );
    // What needs no token needs no login either.
    let mut open = wrong();
    open.path = "sys/seal-status".to_owned();
    assert!(ask(&node, open).await.is_ok());
}

#[tokio::test]
async fn a_write_that_is_sent_again_with_its_login_is_done_once() {
    let node = Node::unsealed().await;
    with_ada(&node).await;
    let put = || {
        let mut request = asked(Verb::Write, "secret/data/once", json!({"data": {"k": "v"}}));
        request.idempotency_key = Some("key".to_owned());
        request
    };
    for _ in 0..2 {
        assert_eq!(ask(&node, put()).await.unwrap()["data"]["version"], 1);
    }
}

#[tokio::test]
async fn both_steps_are_on_record() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(Settings {
        audit_directories: vec![home.path().to_owned()],
        ..Settings::default()
    })
    .await;
    with_ada(&node).await;
    let log = home.path().join("audit.log");
    let device = json!({"type": "file", "options": {"file_path": log}});
    node.call(Verb::Write, "sys/audit/file", device).await.unwrap();
    ask(&node, asked(Verb::Read, "secret/data/a", Value::Null))
        .await
        .unwrap();
    let mut wrong = asked(Verb::Read, "secret/data/a", Value::Null);
    wrong.inline = login("auth/userpass/login/ada", "hunter2");
    assert!(ask(&node, wrong).await.is_err());
    let text = std::fs::read_to_string(log).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<_> = records
        .filter(|record| record["request"]["path"] != "sys/audit/file" && !record["request"].is_null())
        .map(|record| {
            let path = record["request"]["path"].as_str().unwrap().to_owned();
            (record["type"].as_str().unwrap().to_owned(), path)
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(kind, path)| (kind.as_str(), path.as_str()))
        .collect();
    let login = "auth/userpass/login/ada";
    assert_eq!(
        told,
        [
            ("request", login),
            ("response", login),
            ("request", "secret/data/a"),
            ("response", "secret/data/a"),
            ("request", login),
            ("response", login),
        ]
    );
    assert!(text.contains(r#""display_name":"userpass-ada""#));
    for secret in ["hunter2", r#""b."#] {
        assert!(!text.contains(secret), "{secret}");
    }
}
