//! Logging in through the pipeline: the token that comes of it, its life, its end with the mount, lockout, batch tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use conclave_core::{Body, Error, Request, Settings, Verb};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use support::Node;
use support::shared::node_on;

const MINUTE: u64 = 60_000;

async fn with_userpass() -> Node {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "sys/auth/userpass", json!({"type": "userpass"}))
        .await
        .unwrap();
    user(
        &node,
        json!({"password": "pw", "token_policies": "p1", "token_ttl": "10m"}),
    )
    .await;
    node
}

async fn user(node: &Node, body: Value) {
    node.call(Verb::Write, "auth/userpass/users/ada", body)
        .await
        .unwrap();
}

async fn try_login(node: &Node, name: &str, password: &str) -> Result<Value, Error> {
    let path = format!("auth/userpass/login/{name}");
    let answer = node
        .plain(Verb::Write, &path, json!({ "password": password }))
        .await?;
    Ok(answer["auth"].clone())
}

async fn login(node: &Node) -> String {
    let auth = try_login(node, "ada", "pw").await.unwrap();
    auth["client_token"].as_str().unwrap().to_owned()
}

async fn lookup(node: &Node, token: &str) -> Result<Value, Error> {
    let found = node
        .call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await?;
    Ok(found["data"].clone())
}

fn text(outcome: Result<Value, Error>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test]
async fn a_login_makes_a_token_of_its_own() {
    let node = with_userpass().await;
    let auth = try_login(&node, "ADA", "pw").await.unwrap();
    assert_eq!(auth["policies"], json!(["default", "p1"]));
    assert_eq!(
        (&auth["metadata"], &auth["lease_duration"], &auth["renewable"]),
        (&json!({"username": "ada"}), &json!(600), &json!(true))
    );
    assert_eq!(
        (&auth["orphan"], &auth["token_type"]),
        (&json!(true), &json!("service"))
    );
    let token = auth["client_token"].as_str().unwrap();
    let found = lookup(&node, token).await.unwrap();
    assert_eq!(found["display_name"], "userpass-ada");
    assert_eq!(found["path"], "auth/userpass/login/ADA");
    assert_eq!(found["meta"], json!({"username": "ada"}));
    assert_eq!(found["ttl"], 600);
    node.clock.advance(10 * MINUTE);
    assert!(lookup(&node, token).await.is_err(), "it ends by itself");
    node.expire().await;
    let accessors = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(
        accessors["data"]["keys"].as_array().unwrap().len(),
        1,
        "only root is left"
    );
}

#[tokio::test]
async fn nothing_but_a_login_is_open() {
    let node = with_userpass().await;
    for (verb, path) in [
        (Verb::Read, "auth/userpass/users/ada"),
        (Verb::List, "auth/userpass/users"),
        (Verb::Write, "auth/userpass/users/eve"),
        (Verb::Write, "auth/userpass/login"),
        (Verb::Write, "auth/nosuch/login/ada"),
        (Verb::Write, "userpass/login/ada"),
        (Verb::Write, "auth/token/login/ada"),
    ] {
        let answer = node.plain(verb, path, json!({"password": "pw"})).await;
        assert_eq!(text(answer), "permission denied", "{path}");
    }
    let read = node
        .plain(Verb::Read, "auth/userpass/login/ada", Value::Null)
        .await;
    assert_eq!(text(read), "unsupported operation");
    let beneath = node.plain(
        Verb::Write,
        "auth/userpass/login/ada/x",
        json!({"password": "pw"}),
    );
    assert_eq!(text(beneath.await), "unsupported path");
}

#[tokio::test]
async fn renewal_asks_who_it_is() {
    let node = with_userpass().await;
    let token = login(&node).await;
    let renew = |body: Value| node.call_as(&token, Verb::Write, "auth/token/renew-self", body);
    node.clock.advance(5 * MINUTE);
    assert_eq!(renew(json!({})).await.unwrap()["auth"]["lease_duration"], 600);
    assert_eq!(
        renew(json!({"increment": "1h"})).await.unwrap()["auth"]["lease_duration"],
        3600
    );
    // However often, no longer than the user's longest life, counted from the login.
    user(&node, json!({"token_max_ttl": "20m"})).await;
    let cut = renew(json!({"increment": "1h"})).await.unwrap();
    assert_eq!(cut["auth"]["lease_duration"], 900);
    assert!(
        cut["warnings"][0]
            .as_str()
            .unwrap()
            .contains("capped accordingly")
    );
    user(&node, json!({"token_policies": "p2"})).await;
    assert_eq!(
        text(renew(json!({})).await),
        "failed to renew entry: policies have changed, not renewing"
    );
    user(&node, json!({"token_policies": "p1", "token_period": "5m"})).await;
    assert_eq!(renew(json!({})).await.unwrap()["auth"]["lease_duration"], 300);
    node.call(Verb::Delete, "auth/userpass/users/ada", Value::Null)
        .await
        .unwrap();
    let before = lookup(&node, &token).await.unwrap()["expire_time"].clone();
    assert_eq!(renew(json!({})).await.unwrap(), Value::Null);
    assert_eq!(lookup(&node, &token).await.unwrap()["expire_time"], before);
}

#[tokio::test]
async fn a_mount_takes_its_tokens_along() {
    let node = with_userpass().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(login(&node).await);
    }
    let child = node
        .call_as(&tokens[0], Verb::Write, "auth/token/create", json!({}))
        .await;
    assert!(child.is_err(), "the default policy does not make tokens");
    let bystander = node.token(json!({"ttl": "1h"})).await;
    node.call(Verb::Delete, "sys/auth/userpass", Value::Null)
        .await
        .unwrap();
    for token in &tokens {
        assert_eq!(text(lookup(&node, token).await), "permission denied");
    }
    assert!(lookup(&node, &bystander).await.is_ok());
    assert_eq!(text(try_login(&node, "ada", "pw").await), "permission denied");
    node.expire().await;
    let left = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(left["data"]["keys"].as_array().unwrap().len(), 2);
    // The same path again is another mount: nobody is known there, and no token of the first is good.
    node.call(Verb::Write, "sys/auth/userpass", json!({"type": "userpass"}))
        .await
        .unwrap();
    assert_eq!(
        text(try_login(&node, "ada", "pw").await),
        "invalid username or password"
    );
    assert!(lookup(&node, &tokens[0]).await.is_err());
}

#[tokio::test]
async fn a_move_ends_the_tokens_and_keeps_the_users() {
    let node = with_userpass().await;
    let token = login(&node).await;
    let remount = |from: &str, to: &str| {
        let body = json!({"from": from, "to": to});
        node.call(Verb::Write, "sys/remount", body)
    };
    remount("auth/userpass", "auth/people").await.unwrap();
    assert!(lookup(&node, &token).await.is_err());
    let answer = node
        .plain(Verb::Write, "auth/people/login/ada", json!({"password": "pw"}))
        .await
        .unwrap();
    let token = answer["auth"]["client_token"].as_str().unwrap();
    assert_eq!(lookup(&node, token).await.unwrap()["display_name"], "people-ada");
    for (from, to, said) in [
        (
            "auth/people",
            "people",
            "cannot remount auth mount to non-auth mount \"people/\"",
        ),
        ("auth/token", "auth/t2", "cannot remount \"auth/token/\""),
        ("auth/none", "auth/x", "no matching mount at \"auth/none/\""),
        ("secret", "auth/x", "cannot remount to destination auth/x/"),
        (
            "auth/people",
            "auth/token",
            "path already in use at \"auth/token/\"",
        ),
    ] {
        assert_eq!(text(remount(from, to).await), said);
    }
}

#[tokio::test]
async fn tokens_are_bound_to_their_networks() {
    let node = with_userpass().await;
    user(&node, json!({"token_bound_cidrs": "10.0.0.0/8"})).await;
    let from = |address: &str, token: Option<&str>, verb, path: &str| {
        let mut request = Request::new(verb, path);
        request.remote = Some(address.parse::<IpAddr>().unwrap());
        request.token = token.map(|token| token.to_owned().into());
        request.data = json!({"password": "pw"}).as_object().cloned().unwrap();
        node.core.handle(request)
    };
    let path = "auth/userpass/login/ada";
    let outside = from("11.0.0.1", None, Verb::Write, path).await;
    assert_eq!(outside.err().unwrap().to_string(), "invalid username or password");
    let inside = from("10.0.0.1", None, Verb::Write, path).await.unwrap();
    let Body::Envelope(envelope) = inside.body else {
        panic!("a login answers with a token")
    };
    let token = envelope.auth.unwrap()["client_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let lookup = "auth/token/lookup-self";
    assert!(from("10.9.9.9", Some(&token), Verb::Read, lookup).await.is_ok());
    for outside in ["11.0.0.1", "::1"] {
        let answer = from(outside, Some(&token), Verb::Read, lookup).await;
        assert_eq!(
            answer.err().unwrap().to_string(),
            "permission denied",
            "{outside}"
        );
    }
    assert!(
        node.call_as(&token, Verb::Read, lookup, Value::Null)
            .await
            .is_err(),
        "from nowhere"
    );
}

#[tokio::test]
async fn no_login_makes_root() {
    let node = with_userpass().await;
    for policies in ["root", "ROOT", "p1, Root"] {
        user(&node, json!({ "token_policies": policies })).await;
        assert_eq!(
            text(try_login(&node, "ada", "pw").await),
            "auth methods cannot create root tokens"
        );
    }
}

// What must hold of names that are guessed at: CVE-2023-3462, CVE-2025-6004, -6010, -6011, -6013, CVE-2020-35177.

async fn locked(node: &Node) -> Value {
    let listed = node
        .call(Verb::Read, "sys/locked-users", Value::Null)
        .await
        .unwrap();
    listed["data"].clone()
}

#[tokio::test]
async fn five_failures_lock_a_name_in_every_spelling() {
    let node = with_userpass().await;
    for name in ["ada", "Ada", "ADA", "aDa", "adA"] {
        assert_eq!(
            text(try_login(&node, name, "bad").await),
            "invalid username or password"
        );
    }
    for name in ["ada", "ADA"] {
        assert_eq!(
            text(try_login(&node, name, "pw").await),
            "permission denied",
            "also when right"
        );
    }
    let list = locked(&node).await;
    assert_eq!(list["total"], 1);
    let mount = &list["by_namespace"][0]["mount_accessors"][0];
    assert_eq!(mount["alias_identifiers"], json!(["ada"]));
    let accessor = mount["mount_accessor"].as_str().unwrap();
    let unlock = format!("sys/locked-users/{accessor}/unlock/ada");
    node.call(Verb::Write, &unlock, Value::Null).await.unwrap();
    login(&node).await;
    assert_eq!(locked(&node).await["total"], 0);
    // Nobody is locked any more, nobody has that name, nothing is mounted there: an answer all the same.
    for path in [
        unlock,
        format!("sys/locked-users/{accessor}/unlock/nobody"),
        "sys/locked-users/auth_none_0/unlock/ada".to_owned(),
    ] {
        let told = node.call(Verb::Write, &path, Value::Null).await;
        assert!(!matches!(told, Err(Error::Internal(_))), "{path}: {told:?}");
    }
    login(&node).await;
}

/// The same login under an idempotency key, as clients send it that repeat what they got no answer to.
async fn login_by_key(node: &Node, key: &str, password: &str) -> String {
    let mut request = Request::new(Verb::Write, "auth/userpass/login/ada");
    request.data = json!({ "password": password }).as_object().unwrap().clone();
    request.idempotency_key = Some(key.to_owned());
    text(node.core.handle(request).await.map(|_| Value::Null))
}

#[tokio::test]
async fn a_login_that_is_sent_again_fails_once() {
    const WRONG: &str = "invalid username or password";
    let node = with_userpass().await;
    let tuned = json!({"user_lockout_config": {"lockout_threshold": 3}});
    node.call(Verb::Write, "sys/auth/userpass/tune", tuned)
        .await
        .unwrap();
    for key in ["a", "a", "a", "b", "a", "b"] {
        assert_eq!(login_by_key(&node, key, "bad").await, WRONG, "{key}");
    }
    assert_eq!(locked(&node).await["total"], 0, "two logins failed");
    // Another guess under the same key is another login, and one too many.
    assert_eq!(login_by_key(&node, "a", "worse").await, WRONG);
    assert_eq!(locked(&node).await["total"], 1);
    for (key, password, said) in [
        ("a", "worse", WRONG),
        ("b", "bad", WRONG),
        ("b", "worse", "permission denied"),
        ("c", "bad", "permission denied"),
        ("c", "pw", "permission denied"),
        (
            "",
            "bad",
            "an idempotency key must be 1 to 128 visible ASCII characters",
        ),
    ] {
        assert_eq!(login_by_key(&node, key, password).await, said, "{key} {password}");
    }
    // What is right by now opens no lock.
    user(&node, json!({"password": "bad"})).await;
    assert_eq!(login_by_key(&node, "b", "bad").await, "permission denied");
    node.clock.advance(15 * MINUTE);
    try_login(&node, "ada", "bad").await.unwrap();
}

#[tokio::test]
async fn a_failure_that_conflicts_with_others_counts_once() {
    let node = with_userpass().await;
    let guesses = (0..4).map(|_| try_login(&node, "ada", "bad"));
    for refused in futures::future::join_all(guesses).await {
        assert_eq!(text(refused), "invalid username or password");
    }
    assert_eq!(locked(&node).await["total"], 0);
    assert_eq!(
        text(try_login(&node, "ada", "bad").await),
        "invalid username or password"
    );
    assert_eq!(locked(&node).await["total"], 1);
}

#[tokio::test]
async fn a_lock_ends_and_a_success_starts_over() {
    let node = with_userpass().await;
    // Three failures are enough to show it: each is a password hashed.
    let tuned = json!({"user_lockout_config": {"lockout_threshold": 3}});
    node.call(Verb::Write, "sys/auth/userpass/tune", tuned)
        .await
        .unwrap();
    let fail = |times: usize| {
        let node = &node;
        async move {
            for _ in 0..times {
                assert_eq!(
                    text(try_login(node, "ada", "bad").await),
                    "invalid username or password"
                );
            }
        }
    };
    fail(2).await;
    login(&node).await;
    fail(2).await;
    // Without a failure for a quarter of an hour, counting starts over.
    node.clock.advance(15 * MINUTE);
    fail(2).await;
    login(&node).await;
    fail(3).await;
    assert_eq!(text(try_login(&node, "ada", "pw").await), "permission denied");
    node.clock.advance(15 * MINUTE - 1);
    assert_eq!(text(try_login(&node, "ada", "pw").await), "permission denied");
    node.clock.advance(1);
    fail(1).await;
    login(&node).await;
    fail(1).await;
    node.clock.advance(60 * MINUTE);
    node.expire().await;
    assert_eq!(locked(&node).await["total"], 0);
}

#[tokio::test]
async fn names_that_nobody_has_are_answered_like_others() {
    let node = with_userpass().await;
    let answers = |name: &'static str| {
        let node = &node;
        async move {
            let mut said = Vec::new();
            for _ in 0..7 {
                said.push(text(try_login(node, name, "bad").await));
            }
            said
        }
    };
    assert_eq!(answers("ada").await, answers("ghost").await);
}

#[tokio::test]
async fn guesses_at_the_same_time_are_counted_one_by_one() {
    let node = with_userpass().await;
    let guess = |number: usize| {
        let node = &node;
        // The right one is among them, late.
        let password = if number == 11 { "pw" } else { "bad" };
        async move { try_login(node, "ada", password).await }
    };
    let outcomes = futures::future::join_all((0..12).map(guess)).await;
    let refused = outcomes
        .iter()
        .filter(|outcome| {
            let error = outcome.as_ref().err().map(ToString::to_string);
            error.as_deref() == Some("invalid username or password")
        })
        .count();
    assert!(refused <= 5, "{refused} guesses were answered");
    assert_eq!(locked(&node).await["total"], 1);
}

#[tokio::test]
async fn all_nodes_count_together() {
    let blank = Node::blank(Settings::default());
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(blank.store.clone(), blank.clock.clone()).unwrap());
    let mut node = node_on(&blank, &replica);
    let split = json!({"secret_shares": 3, "secret_threshold": 2});
    let born = node.plain(Verb::Write, "sys/init", split).await.unwrap();
    node.root = born["root_token"].as_str().unwrap().to_owned();
    node.shares = serde_json::from_value(born["keys"].clone()).unwrap();
    node.unseal().await;
    let other = node_on(&node, &replica);
    other.core.resume().await.unwrap();
    other.unseal().await;
    node.call(Verb::Write, "sys/auth/userpass", json!({"type": "userpass"}))
        .await
        .unwrap();
    user(&other, json!({"password": "pw"})).await;
    for number in 0..5 {
        let asked = [&node, &other][number % 2];
        assert_eq!(
            text(try_login(asked, "ada", "bad").await),
            "invalid username or password"
        );
    }
    for asked in [&node, &other] {
        assert_eq!(text(try_login(asked, "ada", "pw").await), "permission denied");
    }
    let listed = locked(&other).await;
    assert_eq!(listed["total"], 1);
    let accessor = listed["by_namespace"][0]["mount_accessors"][0]["mount_accessor"].clone();
    let unlock = format!("sys/locked-users/{}/unlock/ada", accessor.as_str().unwrap());
    other.call(Verb::Write, &unlock, Value::Null).await.unwrap();
    login(&node).await;
}

#[tokio::test]
async fn lockout_is_tuned_by_mount() {
    let node = with_userpass().await;
    let tune = |config: Value| {
        let body = json!({ "user_lockout_config": config });
        node.call(Verb::Write, "sys/auth/userpass/tune", body)
    };
    tune(json!({"lockout_threshold": "2", "lockout_duration": "1h"}))
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(
            text(try_login(&node, "ada", "bad").await),
            "invalid username or password"
        );
    }
    node.clock.advance(30 * MINUTE);
    assert_eq!(text(try_login(&node, "ada", "pw").await), "permission denied");
    let shown = node
        .call(Verb::Read, "sys/auth/userpass/tune", Value::Null)
        .await
        .unwrap();
    assert_eq!(
        (
            &shown["data"]["user_lockout_threshold"],
            &shown["data"]["user_lockout_duration"]
        ),
        (&json!(2), &json!(3600))
    );
    tune(json!({"lockout_disable": true})).await.unwrap();
    login(&node).await;
    for _ in 0..7 {
        assert_eq!(
            text(try_login(&node, "ada", "bad").await),
            "invalid username or password"
        );
    }
    login(&node).await;
    assert!(tune(json!({"lockout_threshold": "-1"})).await.is_err());
    let other = node.call(
        Verb::Write,
        "sys/mounts/secret/tune",
        json!({"user_lockout_config": {"lockout_threshold": 3}}),
    );
    assert_eq!(
        text(other.await),
        "tuning of user lockout configuration for auth type \"kv\" not allowed"
    );
}

// Batch tokens.

async fn revision(node: &Node) -> Option<u64> {
    let mut request = Request::new(Verb::Read, "auth/token/lookup-self");
    request.token = Some(node.root.clone().into());
    node.core.handle(request).await.unwrap().revision
}

#[tokio::test]
async fn batch_tokens_write_nothing_and_end_with_what_they_hang_on() {
    let node = with_userpass().await;
    user(&node, json!({"token_type": "batch"})).await;
    // The first login of a name makes its entity.
    login(&node).await;
    let before = revision(&node).await;
    let token = login(&node).await;
    assert_eq!(revision(&node).await, before, "nothing was written");
    assert!(token.starts_with("b."), "{token}");
    let found = lookup(&node, &token).await.unwrap();
    assert_eq!(
        (
            &found["type"],
            &found["accessor"],
            &found["renewable"],
            &found["ttl"]
        ),
        (&json!("batch"), &json!(""), &json!(false), &json!(600))
    );
    for (path, said) in [
        ("auth/token/renew-self", "batch tokens cannot be renewed"),
        ("auth/token/revoke-self", "batch tokens cannot be revoked"),
    ] {
        assert_eq!(
            text(node.call_as(&token, Verb::Write, path, json!({})).await),
            said
        );
    }
    let hole = node
        .call_as(&token, Verb::Write, "cubbyhole/x", json!({"a": 1}))
        .await;
    assert!(hole.is_err(), "nothing can hang on it");
    // Whoever changes it has none.
    for at in [2, token.len() / 2, token.len() - 1] {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(text(lookup(&node, &changed).await), "permission denied");
    }
    assert!(lookup(&node, &token).await.is_ok());
    node.call(Verb::Delete, "sys/auth/userpass", Value::Null)
        .await
        .unwrap();
    assert!(lookup(&node, &token).await.is_err(), "its mount is gone");
}

#[tokio::test]
async fn batch_tokens_end_with_their_parent_and_live_through_rotations() {
    let node = Node::unsealed().await;
    let parent = node.token(json!({"ttl": "1h", "policies": "root"})).await;
    let make = |token: String, body: Value| {
        let node = &node;
        async move {
            let made = node
                .call_as(&token, Verb::Write, "auth/token/create", body)
                .await?;
            Ok::<_, Error>(made["auth"]["client_token"].as_str().unwrap().to_owned())
        }
    };
    let child = json!({"type": "batch", "policies": "default", "ttl": "30m"});
    let token = make(parent.clone(), child.clone()).await.unwrap();
    let orphan = json!({"type": "batch", "policies": "default", "ttl": "30m", "no_parent": true});
    let orphan = make(parent.clone(), orphan).await.unwrap();
    node.call(Verb::Write, "sys/rotate", json!({})).await.unwrap();
    assert!(
        lookup(&node, &token).await.is_ok(),
        "a new data key changes nothing"
    );
    let revoke = json!({ "token": parent });
    node.call(Verb::Write, "auth/token/revoke", revoke).await.unwrap();
    assert!(lookup(&node, &token).await.is_err());
    assert!(lookup(&node, &orphan).await.is_ok());
    node.clock.advance(30 * MINUTE);
    assert!(lookup(&node, &orphan).await.is_err());
    let root = node.root.clone();
    for (body, said) in [
        (json!({"policies": "root"}), "batch tokens cannot be root tokens"),
        (json!({"period": "1h"}), "batch tokens cannot have \"period\" set"),
        (
            json!({"num_uses": 1}),
            "batch tokens cannot have \"num_uses\" set",
        ),
        (
            json!({"explicit_max_ttl": "1h"}),
            "batch tokens cannot have \"explicit_max_ttl\" set",
        ),
    ] {
        let mut body = body.as_object().cloned().unwrap();
        body.insert("type".to_owned(), json!("batch"));
        body.entry("policies").or_insert(json!("default"));
        let refused = make(root.clone(), Value::Object(body)).await;
        assert_eq!(refused.unwrap_err().to_string(), said);
    }
}

// Roles of tokens.

#[tokio::test]
async fn a_role_bounds_the_tokens_that_are_made_by_it() {
    let node = Node::unsealed().await;
    let policy = json!({"policy": "path \"auth/token/create/*\" { capabilities = [\"update\"] }"});
    node.call(Verb::Write, "sys/policy/maker", policy).await.unwrap();
    let maker = node.token(json!({"policies": "maker", "ttl": "1h"})).await;
    let role = json!({
        "allowed_policies": "app", "orphan": true, "token_period": "20m", "renewable": false,
        "token_num_uses": 3, "path_suffix": "sfx", "token_no_default_policy": true,
    });
    node.call(Verb::Write, "auth/token/roles/app", role)
        .await
        .unwrap();
    let make = |body: Value| node.call_as(&maker, Verb::Write, "auth/token/create/app", body);
    let made = make(json!({"ttl": "9h", "renewable": true})).await.unwrap();
    let auth = &made["auth"];
    assert_eq!(
        (
            &auth["policies"],
            &auth["lease_duration"],
            &auth["renewable"],
            &auth["num_uses"],
            &auth["orphan"]
        ),
        (
            &json!(["app"]),
            &json!(1200),
            &json!(false),
            &json!(3),
            &json!(true)
        )
    );
    let found = node.call(
        Verb::Write,
        "auth/token/lookup",
        json!({"token": auth["client_token"]}),
    );
    let found = found.await.unwrap();
    assert_eq!(found["data"]["path"], "auth/token/create/app/sfx");
    assert_eq!(found["data"]["role"], "app");
    assert_eq!(
        text(make(json!({"policies": "maker"})).await),
        "token policies ([\"maker\"]) must be subset of the role's allowed policies ([\"app\"]) or glob policies ([])"
    );
    // Orphans outlive who made them; what is not an orphan does not.
    let child = json!({"orphan": false, "token_num_uses": 0});
    node.call(Verb::Write, "auth/token/roles/app", child)
        .await
        .unwrap();
    let token = |made: &Value| made["auth"]["client_token"].as_str().unwrap().to_owned();
    let (orphan, child) = (token(&made), token(&make(json!({})).await.unwrap()));
    node.call(Verb::Write, "auth/token/revoke", json!({ "token": maker }))
        .await
        .unwrap();
    let lives = |id: String| {
        let node = &node;
        async move {
            let found = node.call(Verb::Write, "auth/token/lookup", json!({ "token": id }));
            found.await.is_ok()
        }
    };
    assert!(lives(orphan).await && !lives(child).await);
    // A role is no way to root.
    let role = json!({"allowed_policies": "root", "token_period": 0, "token_no_default_policy": true});
    node.call(Verb::Write, "auth/token/roles/up", role).await.unwrap();
    let maker = node.token(json!({"policies": "maker", "ttl": "1h"})).await;
    let up = node
        .call_as(&maker, Verb::Write, "auth/token/create/up", json!({}))
        .await;
    assert_eq!(
        text(up),
        "root tokens may not be created without parent token being root"
    );
}
