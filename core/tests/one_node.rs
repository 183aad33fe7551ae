//! The whole line on one node: init, unseal, secrets, tokens, policies, expiry, sealing, restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::{Error, Round, Settings, Verb};
use support::Node;

const READ_ONLY: &str = r#"path "secret/data/app/*" { capabilities = ["read"] }"#;

#[tokio::test]
async fn secrets_survive_seal_and_restart() {
    let node = Node::unsealed().await;
    node.call(
        Verb::Write,
        "secret/data/app/db",
        json!({"data": {"password": "one"}}),
    )
    .await
    .unwrap();
    let read = node
        .call(Verb::Read, "secret/data/app/db", Value::Null)
        .await
        .unwrap();
    assert_eq!(read["data"]["data"]["password"], "one");
    assert_eq!(read["data"]["metadata"]["version"], 1);
    let listed = node
        .call(Verb::List, "secret/metadata", Value::Null)
        .await
        .unwrap();
    assert_eq!(listed["data"]["keys"], json!(["app/"]));

    node.call(Verb::Write, "sys/seal", Value::Null).await.unwrap();
    assert!(matches!(
        node.call(Verb::Read, "secret/data/app/db", Value::Null).await,
        Err(Error::Sealed)
    ));

    let node = node.restarted().await;
    let status = node
        .plain(Verb::Read, "sys/seal-status", Value::Null)
        .await
        .unwrap();
    assert_eq!(
        (&status["initialized"], &status["sealed"], &status["t"]),
        (&json!(true), &json!(true), &json!(2))
    );
    assert!(matches!(
        node.call(Verb::Read, "secret/data/app/db", Value::Null).await,
        Err(Error::Sealed)
    ));
    node.unseal().await;
    let read = node
        .call(Verb::Read, "secret/data/app/db", Value::Null)
        .await
        .unwrap();
    assert_eq!(read["data"]["data"]["password"], "one");
}

#[tokio::test]
async fn shares_are_named_when_wrong_and_harmless_when_repeated() {
    let node = Node::unsealed().await.restarted().await;
    let give = |key: String| node.plain(Verb::Write, "sys/unseal", json!({"key": key}));
    assert_eq!(give(node.shares[0].clone()).await.unwrap()["progress"], 1);
    assert_eq!(
        give(node.shares[0].clone()).await.unwrap()["progress"],
        1,
        "repeated"
    );
    let mut foreign = node.shares[1].clone();
    let last = foreign.pop().unwrap();
    foreign.push(if last == '0' { '1' } else { '0' });
    for wrong in [foreign, "00".into(), "abcd".into(), "zz".into(), String::new()] {
        let error = give(wrong.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{wrong}: {error}");
        let status = node
            .plain(Verb::Read, "sys/seal-status", Value::Null)
            .await
            .unwrap();
        assert_eq!(
            (&status["sealed"], &status["progress"]),
            (&json!(true), &json!(1))
        );
    }
    assert_eq!(give(node.shares[2].clone()).await.unwrap()["sealed"], false);
    let again = node
        .plain(
            Verb::Write,
            "sys/init",
            json!({"secret_shares": 1, "secret_threshold": 1}),
        )
        .await;
    assert_eq!(again.unwrap_err().to_string(), "Vault is already initialized");
}

#[tokio::test]
async fn policies_bound_what_a_token_may_do() {
    let node = Node::unsealed().await;
    node.call(
        Verb::Write,
        "sys/policies/acl/reader",
        json!({"policy": READ_ONLY}),
    )
    .await
    .unwrap();
    node.call(Verb::Write, "secret/data/app/db", json!({"data": {"k": "v"}}))
        .await
        .unwrap();
    node.call(Verb::Write, "secret/data/other", json!({"data": {"k": "v"}}))
        .await
        .unwrap();
    let token = node.token(json!({"policies": ["reader"]})).await;
    node.call_as(&token, Verb::Read, "secret/data/app/db", Value::Null)
        .await
        .unwrap();
    for (verb, path) in [
        (Verb::Write, "secret/data/app/db"),
        (Verb::Read, "secret/data/other"),
        (Verb::List, "secret/metadata"),
        (Verb::Read, "sys/mounts"),
        (Verb::Read, "nowhere/x"),
    ] {
        let denied = node
            .call_as(&token, verb, path, json!({"data": {"k": "w"}}))
            .await;
        assert!(
            matches!(
                denied,
                Err(Error::Denied {
                    unauthenticated: false
                })
            ),
            "{verb:?} {path}"
        );
    }
    let stranger = node
        .call_as("s.nobody", Verb::Read, "secret/data/app/db", Value::Null)
        .await;
    assert!(matches!(
        stranger,
        Err(Error::Denied {
            unauthenticated: true
        })
    ));

    // A tightened policy holds from the next request on.
    node.call(
        Verb::Write,
        "sys/policies/acl/reader",
        json!({"policy": "path \"x\" { capabilities = [\"read\"] }"}),
    )
    .await
    .unwrap();
    let denied = node
        .call_as(&token, Verb::Read, "secret/data/app/db", Value::Null)
        .await;
    assert!(matches!(denied, Err(Error::Denied { .. })));
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_takes_its_children_along() {
    let node = Node::unsealed().await;
    let parent = node.token(json!({"ttl": "1h", "policies": ["root"]})).await;
    let child = node.call_as(
        &parent,
        Verb::Write,
        "auth/token/create",
        json!({"ttl": "10h", "policies": ["root"]}),
    );
    let child = child.await.unwrap()["auth"]["client_token"]
        .as_str()
        .unwrap()
        .to_owned();
    node.call_as(&child, Verb::Write, "cubbyhole/mine", json!({"k": "v"}))
        .await
        .unwrap();
    let orphan = node.call_as(
        &parent,
        Verb::Write,
        "auth/token/create-orphan",
        json!({"ttl": "10h", "policies": ["root"]}),
    );
    let orphan = orphan.await.unwrap()["auth"]["client_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let lookup = async |token: &str| {
        node.call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await
    };
    assert_eq!(lookup(&parent).await.unwrap()["data"]["ttl"], 3600);

    node.clock.advance(3_600_000);
    assert!(lookup(&parent).await.is_err(), "refused before it is removed");
    node.expire().await;
    assert!(lookup(&child).await.is_err(), "children go with their parent");
    assert!(lookup(&orphan).await.is_ok(), "orphans stay");
    let left = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(
        left["data"]["keys"].as_array().unwrap().len(),
        2,
        "root and the orphan"
    );
}

#[tokio::test]
async fn renewal_moves_the_end_within_its_bounds() {
    let node = Node::unsealed().await;
    let token = node.token(json!({"ttl": "1h", "explicit_max_ttl": "90m"})).await;
    node.clock.advance(3_000_000);
    let renewed = node
        .call_as(&token, Verb::Write, "auth/token/renew-self", Value::Null)
        .await
        .unwrap();
    assert_eq!(
        renewed["auth"]["lease_duration"], 2400,
        "capped by explicit_max_ttl"
    );
    assert!(!renewed["warnings"].as_array().unwrap().is_empty());
    node.clock.advance(1_000_000);
    node.expire().await;
    node.call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await
        .unwrap();
    node.clock.advance(1_400_000);
    assert!(
        node.call_as(&token, Verb::Write, "auth/token/renew-self", Value::Null)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn uses_run_out_exactly() {
    let node = Node::unsealed().await;
    let token = node.token(json!({"num_uses": 3, "policies": ["root"]})).await;
    for _ in 0..3 {
        node.call_as(&token, Verb::Read, "sys/mounts", Value::Null)
            .await
            .unwrap();
    }
    assert!(
        node.call_as(&token, Verb::Read, "sys/mounts", Value::Null)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn revoked_means_dead_at_once() {
    let node = Node::unsealed().await;
    let token = node.token(json!({})).await;
    let found = node
        .call(Verb::Write, "auth/token/lookup", json!({"token": token}))
        .await
        .unwrap();
    let accessor = found["data"]["accessor"].clone();
    node.call(
        Verb::Write,
        "auth/token/revoke-accessor",
        json!({"accessor": accessor}),
    )
    .await
    .unwrap();
    assert!(
        node.call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await
            .is_err()
    );
    let gone = node
        .call(
            Verb::Write,
            "auth/token/lookup-accessor",
            json!({"accessor": accessor}),
        )
        .await;
    assert!(matches!(gone, Err(Error::Listed(_))));
}

#[tokio::test]
async fn no_answer_without_an_audit_record() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        audit_directories: vec![directory.path().to_owned()],
        ..Settings::default()
    };
    let node = Node::unsealed_with(settings).await;
    let file = directory.path().join("audit.log");
    let outside = json!({"type": "file", "options": {"file_path": "/tmp/outside.log"}});
    assert!(node.call(Verb::Write, "sys/audit/bad", outside).await.is_err());
    let inside = json!({"type": "file", "options": {"file_path": file}});
    node.call(Verb::Write, "sys/audit/file", inside).await.unwrap();
    node.call(
        Verb::Write,
        "secret/data/x",
        json!({"data": {"password": "hunter2"}}),
    )
    .await
    .unwrap();
    assert!(
        node.call_as("s.wrong-token", Verb::Read, "secret/data/x", Value::Null)
            .await
            .is_err()
    );
    let log = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_write = lines
        .iter()
        .filter(|line| line["request"]["path"] == "secret/data/x");
    let kinds: Vec<_> = of_write
        .map(|line| line["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["request", "response", "request", "response"]);
    for secret in ["hunter2", node.root.as_str(), "s.wrong-token"] {
        assert!(!log.contains(secret), "{secret}");
    }
    assert!(
        lines.last().unwrap()["error"]
            .as_str()
            .unwrap()
            .contains("permission denied")
    );
}

#[tokio::test]
async fn rotation_keeps_everything_readable() {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "secret/data/old", json!({"data": {"k": "old"}}))
        .await
        .unwrap();
    node.call(Verb::Write, "sys/rotate", Value::Null).await.unwrap();
    node.call(Verb::Write, "secret/data/new", json!({"data": {"k": "new"}}))
        .await
        .unwrap();
    assert_eq!(
        node.call(Verb::Read, "sys/key-status", Value::Null)
            .await
            .unwrap()["data"]["term"],
        2
    );
    let node = node.restarted().await;
    node.unseal().await;
    for name in ["old", "new"] {
        let read = node
            .call(Verb::Read, &format!("secret/data/{name}"), Value::Null)
            .await
            .unwrap();
        assert_eq!(read["data"]["data"]["k"], name);
    }
}

#[tokio::test]
async fn writers_on_one_key_never_fail_and_never_lose() {
    let node = std::sync::Arc::new(Node::unsealed().await);
    let writers = (0..64).map(|n| {
        let node = node.clone();
        tokio::spawn(async move {
            for i in 0..10 {
                let data = json!({"data": {"n": n, "i": i}});
                node.call(Verb::Write, "secret/data/hot", data).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let read = node
        .call(Verb::Read, "secret/data/hot", Value::Null)
        .await
        .unwrap();
    assert_eq!(read["data"]["metadata"]["version"], 640);
}

/// A token past its time that the leader has not ended yet still has children: whoever revokes it means them too.
#[tokio::test]
async fn revoking_one_whose_time_is_over_takes_its_children_too() {
    let node = Node::unsealed().await;
    for by_accessor in [false, true] {
        let made = json!({"policies": ["root"], "ttl": "2s"});
        let made = node.call(Verb::Write, "auth/token/create", made).await.unwrap();
        let text = |made: &Value, field: &str| made["auth"][field].as_str().unwrap().to_owned();
        let (parent, accessor) = (text(&made, "client_token"), text(&made, "accessor"));
        let child = json!({"policies": ["root"], "ttl": "1h"});
        let child = node
            .call_as(&parent, Verb::Write, "auth/token/create", child)
            .await;
        let child = text(&child.unwrap(), "client_token");
        node.clock.advance(3_000);
        let (path, asked) = match by_accessor {
            true => ("auth/token/revoke-accessor", json!({"accessor": accessor})),
            false => ("auth/token/revoke", json!({"token": parent})),
        };
        node.call(Verb::Write, path, asked).await.unwrap();
        let used = node
            .call_as(&child, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await;
        assert!(
            used.is_err(),
            "a child works after {path} of its parent: {used:?}"
        );
    }
}

#[tokio::test]
async fn revoking_takes_the_whole_tree_before_the_answer() {
    let node = Node::unsealed().await;
    let top = node.token(json!({"policies": ["root"]})).await;
    let mut generation = vec![top.clone()];
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut next = Vec::new();
        for parent in &generation {
            for _ in 0..3 {
                let made = node.call_as(
                    parent,
                    Verb::Write,
                    "auth/token/create",
                    json!({"policies": ["root"]}),
                );
                next.push(
                    made.await.unwrap()["auth"]["client_token"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
        all.extend(next.clone());
        generation = next;
    }
    assert_eq!(all.len(), 39);
    node.call(Verb::Write, "auth/token/revoke", json!({"token": top}))
        .await
        .unwrap();
    for token in &all {
        assert!(
            node.call_as(token, Verb::Read, "sys/mounts", Value::Null)
                .await
                .is_err()
        );
    }
    node.expire().await;
    let left = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(left["data"]["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn ten_thousand_tokens_end_and_none_that_was_renewed() {
    let node = Node::unsealed().await;
    let mut kept = Vec::new();
    for n in 0..10_000 {
        let made = node
            .call(
                Verb::Write,
                "auth/token/create",
                json!({"ttl": "1h", "no_parent": n % 2 == 0}),
            )
            .await;
        if n % 1000 == 0 {
            kept.push(made.unwrap()["auth"]["client_token"].as_str().unwrap().to_owned());
        }
    }
    node.clock.advance(3_000_000);
    for token in &kept {
        node.call_as(
            token,
            Verb::Write,
            "auth/token/renew-self",
            json!({"increment": "1h"}),
        )
        .await
        .unwrap();
    }
    node.clock.advance(1_000_000);
    for _ in 0..5 {
        assert_eq!(node.core.expire_once().await.unwrap(), Round::Full);
    }
    // The leader is gone midway. The next one knows of nothing but what is in the rows.
    let node = node.restarted().await;
    node.unseal().await;
    node.expire().await;
    for token in &kept {
        node.call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await
            .unwrap();
    }
    let left = node
        .call(Verb::List, "auth/token/accessors", Value::Null)
        .await
        .unwrap();
    assert_eq!(
        left["data"]["keys"].as_array().unwrap().len(),
        kept.len() + 1,
        "the renewed ones and root"
    );
}

#[tokio::test]
async fn rules_bound_and_screen_lists() {
    let node = Node::unsealed().await;
    let policy = r#"
        path "secret/metadata/*" {
            capabilities = ["list"]
            list_scan_response_keys_filter_path = "{{ .path }}{{ .key }}"
        }
        path "secret/metadata/open" { capabilities = ["read"] }
    "#;
    node.call(
        Verb::Write,
        "sys/policies/acl/screened",
        json!({"policy": policy}),
    )
    .await
    .unwrap();
    for name in ["open", "closed"] {
        node.call(
            Verb::Write,
            &format!("secret/data/{name}"),
            json!({"data": {"k": "v"}}),
        )
        .await
        .unwrap();
    }
    let token = node.token(json!({"policies": ["screened"]})).await;
    let listed = node
        .call_as(&token, Verb::List, "secret/metadata/", Value::Null)
        .await
        .unwrap();
    assert_eq!(listed["data"]["keys"], json!(["open"]));
    let all = node
        .call(Verb::List, "secret/metadata/", Value::Null)
        .await
        .unwrap();
    assert_eq!(all["data"]["keys"], json!(["closed", "open"]));
}

#[tokio::test]
async fn a_v1_mount_becomes_v2_in_one_step() {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "sys/mounts/old", json!({"type": "kv"}))
        .await
        .unwrap();
    node.call(Verb::Write, "old/app/db", json!({"password": "one"}))
        .await
        .unwrap();
    node.call(
        Verb::Write,
        "sys/mounts/old/tune",
        json!({"options": {"version": "2"}}),
    )
    .await
    .unwrap();
    let read = node
        .call(Verb::Read, "old/data/app/db", Value::Null)
        .await
        .unwrap();
    assert_eq!(read["data"]["data"]["password"], "one");
    let down = node
        .call(
            Verb::Write,
            "sys/mounts/old/tune",
            json!({"options": {"version": "1"}}),
        )
        .await;
    assert!(matches!(down, Err(Error::Invalid(_))), "{down:?}");
}

#[tokio::test]
async fn mounts_are_tuned_moved_and_asked_about() {
    let node = Node::unsealed().await;
    node.call(
        Verb::Write,
        "sys/mounts/secret/tune",
        json!({"default_lease_ttl": "1h"}),
    )
    .await
    .unwrap();
    let tuned = node
        .call(Verb::Read, "sys/mounts/secret/tune", Value::Null)
        .await
        .unwrap();
    assert_eq!(tuned["data"]["default_lease_ttl"], 3600);
    node.call(Verb::Write, "secret/data/x", json!({"data": {"k": "v"}}))
        .await
        .unwrap();
    let moved = node
        .call(
            Verb::Write,
            "sys/remount",
            json!({"from": "secret", "to": "moved/here"}),
        )
        .await
        .unwrap();
    let status = format!(
        "sys/remount/status/{}",
        moved["data"]["migration_id"].as_str().unwrap()
    );
    let status = node.call(Verb::Read, &status, Value::Null).await.unwrap();
    assert_eq!(status["data"]["migration_info"]["status"], "success");
    let read = node
        .call(Verb::Read, "moved/here/data/x", Value::Null)
        .await
        .unwrap();
    assert_eq!(read["data"]["data"]["k"], "v");
    let token = node.token(json!({"policies": ["default"]})).await;
    let refused = node
        .call_as(
            &token,
            Verb::Read,
            "sys/internal/ui/mounts/moved/here/x",
            Value::Null,
        )
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "preflight capability check returned 403, please ensure client's policies grant access to path \"moved/here/x/\""
    );
}
