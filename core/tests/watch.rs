//! Watches of keys: what is told to whom, from where on, and what ends them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use conclave_core::Verb::{Delete, Patch, Write};
use conclave_core::watch::{Batch, Watching};
use conclave_core::{Body, Error, Request, Verb};
use conclave_raft::state::WriteSet;
use support::sealed::{done, make, seal, unseal};
use support::{Node, ask};

/// Longest that a watch may take to tell of what was acknowledged.
const SOON: Duration = Duration::from_secs(20);
/// Most watches of one token.
const MOST: usize = 32;

/// A watch in a namespace.
async fn watch_in(
    node: &Node,
    (namespace, token): (&str, &str),
    path: &str,
    after: u64,
) -> Result<Watching, Error> {
    let mut request = Request::new(Verb::Read, format!("sys/watch/{path}"));
    request.token = Some(token.to_owned().into());
    request.namespace = Some(namespace.to_owned());
    request.data.insert("after".to_owned(), after.into());
    match node.core.handle(request).await?.body {
        Body::Watch(watching) => Ok(watching),
        _ => panic!("no watch was answered"),
    }
}

/// A watch by root from now on; the revision it stands at.
async fn watch(node: &Node, path: &str) -> (Watching, u64) {
    let mut watching = watch_in(node, ("", &node.root), path, 0).await.unwrap();
    let opening = next(&mut watching).await.unwrap();
    assert!(opening.events.is_empty());
    (watching, opening.revision)
}

async fn next(watching: &mut Watching) -> Result<Batch, Error> {
    let batch = tokio::time::timeout(SOON, watching.next()).await;
    batch
        .expect("something is told in time")
        .expect("an end has an error")
}

/// The next so many events, as `what path [versions]`, and the revision after them.
async fn hear(watching: &mut Watching, count: usize) -> (Vec<String>, u64) {
    let (mut told, mut revision) = (Vec::new(), 0);
    while told.len() < count {
        let batch = next(watching).await.unwrap();
        for event in batch.events {
            // All those of one revision come in one batch.
            assert!(event.revision > revision && event.revision <= batch.revision);
            let (what, versions) = (event.what.name(), event.versions);
            told.push(format!("{what} {}{} {versions:?}", event.mount, event.path));
        }
        revision = batch.revision;
    }
    (told, revision)
}

/// Why a watch ended, after whatever it still told.
async fn end(watching: &mut Watching) -> Error {
    loop {
        if let Err(error) = next(watching).await {
            assert!(watching.next().await.is_none());
            return error;
        }
    }
}

async fn put(node: &Node, path: &str) {
    put_in(node, "", path).await;
}

async fn put_in(node: &Node, namespace: &str, path: &str) {
    done(node, namespace, Write, path, json!({"data": {"p": "canary"}})).await;
}

async fn policy(node: &Node, name: &str, rules: &str) {
    let path = format!("sys/policies/acl/{name}");
    done(node, "", Write, &path, json!({"policy": rules})).await;
}

#[tokio::test]
async fn everything_that_happens_to_keys_beneath_a_path_is_told_in_order() {
    let node = Node::unsealed().await;
    put(&node, "secret/data/app/before").await;
    let (mut watching, _) = watch(&node, "secret/app/").await;
    let (mut alone, _) = watch(&node, "secret/app/db").await;
    put(&node, "secret/data/app/db").await;
    put(&node, "secret/data/apple").await;
    put(&node, "secret/data/app").await;
    let patch = json!({"data": {"q": "canary"}});
    done(&node, "", Patch, "secret/data/app/db", patch).await;
    done(&node, "", Delete, "secret/data/app/db", Value::Null).await;
    let two = json!({"versions": [2, 1]});
    done(&node, "", Write, "secret/undelete/app/db", two.clone()).await;
    put(&node, "secret/data/app/db/deeper").await;
    done(&node, "", Write, "secret/destroy/app/db", two).await;
    let settings = json!({"custom_metadata": {"a": "b"}});
    done(&node, "", Write, "secret/metadata/app/db", settings).await;
    done(&node, "", Delete, "secret/metadata/app/db", Value::Null).await;
    let (mut told, _) = hear(&mut watching, 8).await;
    assert_eq!(
        told,
        [
            "written secret/app/db [1]",
            "written secret/app/db [2]",
            "changed secret/app/db []",
            "changed secret/app/db []",
            "written secret/app/db/deeper [1]",
            "destroyed secret/app/db [1, 2]",
            "changed secret/app/db []",
            "removed secret/app/db []",
        ]
    );
    told.remove(4);
    assert_eq!(hear(&mut alone, 7).await.0, told);
}

#[tokio::test]
async fn mounts_without_versions_are_watched_too_and_others_are_not() {
    let node = Node::unsealed().await;
    done(&node, "", Write, "sys/mounts/one", json!({"type": "kv"})).await;
    let (mut watching, _) = watch(&node, "one").await;
    done(&node, "", Write, "one/a/b", json!({"p": "canary"})).await;
    done(&node, "", Delete, "one/a/b", Value::Null).await;
    let (told, _) = hear(&mut watching, 2).await;
    assert_eq!(told, ["written one/a/b []", "removed one/a/b []"]);
    done(&node, "", Write, "sys/mounts/transit", json!({"type": "transit"})).await;
    for (path, text) in [
        (
            "transit/keys/",
            "unsupported: watching a mount of type \"transit\"",
        ),
        ("sys/policy/", "unsupported: watching a mount of type \"system\""),
        (
            "nowhere/",
            "no handler for route \"nowhere/\". route entry not found.",
        ),
    ] {
        let refused = watch_in(&node, ("", &node.root), path, 0).await.err().unwrap();
        assert_eq!(refused.to_string(), text);
    }
}

#[tokio::test]
async fn only_what_may_be_read_is_told() {
    let node = Node::unsealed().await;
    let rules = "path \"secret/data/app/mine\" { capabilities = [\"read\"] }
                 path \"secret/metadata/app/listed\" { capabilities = [\"read\"] }
                 path \"secret/data/app/written\" { capabilities = [\"update\", \"list\"] }
                 path \"secret/data/app/deep/*\" { capabilities = [\"read\"] }
                 path \"secret/data/app/deep/down\" { capabilities = [\"deny\"] }";
    policy(&node, "some", rules).await;
    let token = node.token(json!({"policies": ["some"]})).await;
    let mut watching = watch_in(&node, ("", &token), "secret/", 0).await.unwrap();
    next(&mut watching).await.unwrap();
    for key in ["mine", "other", "listed", "written", "deep/down", "deep/x"] {
        put(&node, &format!("secret/data/app/{key}")).await;
    }
    let (told, _) = hear(&mut watching, 3).await;
    assert_eq!(
        told,
        [
            "written secret/app/mine [1]",
            "written secret/app/listed [1]",
            "written secret/app/deep/x [1]"
        ]
    );
    // What opens nothing must not tell whether a mount is there.
    let nobody = node.token(json!({"policies": ["default"]})).await;
    let refused = watch_in(&node, ("", &nobody), "secret/app/", 0).await.err();
    assert!(matches!(
        refused,
        Some(Error::Denied {
            unauthenticated: false
        })
    ));
}

#[tokio::test]
async fn rights_that_end_end_the_watch() {
    let node = Node::unsealed().await;
    let rules = "path \"secret/data/app/*\" { capabilities = [\"read\"] }";
    policy(&node, "some", rules).await;
    let made = node.token(json!({"policies": ["some"]})).await;
    let short = node.token(json!({"policies": ["some"], "ttl": "60s"})).await;
    let other = node.token(json!({"policies": ["some"]})).await;
    let mut revoked = watch_in(&node, ("", &made), "secret/app/", 0).await.unwrap();
    let mut expired = watch_in(&node, ("", &short), "secret/app/", 0).await.unwrap();
    let mut lessened = watch_in(&node, ("", &other), "secret/app/", 0).await.unwrap();
    for watching in [&mut revoked, &mut expired, &mut lessened] {
        next(watching).await.unwrap();
    }
    done(&node, "", Write, "auth/token/revoke", json!({"token": made})).await;
    put(&node, "secret/data/app/a").await;
    let error = end(&mut revoked).await;
    assert!(matches!(
        error,
        Error::Denied {
            unauthenticated: true
        }
    ));
    let heard = hear(&mut expired, 1).await.0;
    assert_eq!(heard, ["written secret/app/a [1]"]);
    node.clock.advance(61_000);
    node.expire().await;
    let error = end(&mut expired).await;
    assert!(matches!(
        error,
        Error::Denied {
            unauthenticated: true
        }
    ));
    // A key that may be read no more is not told of, though it may be watched along with others.
    hear(&mut lessened, 1).await;
    let less = "path \"secret/data/app/b\" { capabilities = [\"read\"] }";
    policy(&node, "some", less).await;
    put(&node, "secret/data/app/a").await;
    put(&node, "secret/data/app/b").await;
    assert_eq!(hear(&mut lessened, 1).await.0, ["written secret/app/b [1]"]);
    policy(&node, "some", "path \"other/*\" { capabilities = [\"read\"] }").await;
    let error = end(&mut lessened).await;
    assert!(matches!(
        error,
        Error::Denied {
            unauthenticated: false
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_removes_ends_its_watch_when_its_time_is_over() {
    let node = Node::unsealed().await;
    let token = node.token(json!({"policies": ["root"], "ttl": "10s"})).await;
    let mut watching = watch_in(&node, ("", &token), "secret/", 0).await.unwrap();
    next(&mut watching).await.unwrap();
    // It sleeps by then: nothing but time wakes it.
    let (error, ()) = tokio::join!(end(&mut watching), async { node.clock.advance(10_001) });
    assert!(matches!(
        error,
        Error::Denied {
            unauthenticated: true
        }
    ));
}

#[tokio::test]
async fn a_watch_is_of_one_namespace_and_ends_with_it() {
    let node = Node::unsealed().await;
    let shares = make(&node, "", "t").await;
    unseal(&node, "", "t", &shares).await;
    done(&node, "", Write, "sys/namespaces/u", Value::Null).await;
    let kv = json!({"type": "kv", "options": {"version": "2"}});
    for namespace in ["t", "u"] {
        done(&node, namespace, Write, "sys/mounts/secret", kv.clone()).await;
    }
    let rules = "path \"t/secret/data/app/*\" { capabilities = [\"read\"] }";
    policy(&node, "of-t", rules).await;
    let token = node.token(json!({"policies": ["of-t"]})).await;
    let mut of_t = watch_in(&node, ("t", &token), "secret/app/", 0).await.unwrap();
    let mut of_u = watch_in(&node, ("u", &node.root), "secret/", 0).await.unwrap();
    let (mut of_root, _) = watch(&node, "secret/").await;
    for watching in [&mut of_t, &mut of_u] {
        next(watching).await.unwrap();
    }
    assert!(watch_in(&node, ("u", &token), "secret/app/", 0).await.is_err());
    put_in(&node, "t", "secret/data/app/in-t").await;
    put_in(&node, "u", "secret/data/app/in-u").await;
    put(&node, "secret/data/app/in-root").await;
    for (watching, told) in [
        (&mut of_t, "written secret/app/in-t [1]"),
        (&mut of_u, "written secret/app/in-u [1]"),
        (&mut of_root, "written secret/app/in-root [1]"),
    ] {
        assert_eq!(hear(watching, 1).await.0, [told]);
    }
    seal(&node, "", "t").await;
    assert!(matches!(end(&mut of_t).await, Error::NamespaceSealed { .. }));
    done(&node, "", Delete, "sys/namespaces/u", Value::Null).await;
    assert!(matches!(end(&mut of_u).await, Error::NoNamespace));
    let refused = ask(
        &node,
        "t",
        &node.root,
        (Verb::Read, "sys/watch/secret/"),
        Value::Null,
    )
    .await;
    assert!(matches!(refused, Err(Error::NamespaceSealed { .. })));
}

#[tokio::test]
async fn a_watch_goes_on_after_a_revision_and_says_when_it_cannot() {
    let node = Node::unsealed().await;
    let (mut watching, start) = watch(&node, "secret/").await;
    for number in 0..5 {
        put(&node, &format!("secret/data/{number}")).await;
    }
    let (all, revision) = hear(&mut watching, 5).await;
    drop(watching);
    let again = watch_in(&node, ("", &node.root), "secret/", start).await;
    assert_eq!(hear(&mut again.unwrap(), 5).await, (all, revision));
    let mut rest = watch_in(&node, ("", &node.root), "secret/", revision)
        .await
        .unwrap();
    put(&node, "secret/data/last").await;
    assert_eq!(hear(&mut rest, 1).await.0, ["written secret/last [1]"]);
    let ahead = watch_in(&node, ("", &node.root), "secret/", revision + 1_000).await;
    assert!(matches!(ahead, Err(Error::Invalid(_))));

    let (applied, membership) = node.store.applied().unwrap();
    let trimmed = WriteSet {
        trim_changes: Some(0..revision + 1),
        applied,
        membership,
        ..WriteSet::default()
    };
    node.store.write(trimmed).unwrap();
    put(&node, "secret/data/after").await;
    let gone = watch_in(&node, ("", &node.root), "secret/", start).await;
    let Err(Error::Compacted {
        after,
        revision: fresh,
    }) = gone
    else {
        panic!("it goes on over a gap");
    };
    assert!(after == start && fresh > revision);
    let mut anew = watch_in(&node, ("", &node.root), "secret/", fresh).await.unwrap();
    put(&node, "secret/data/anew").await;
    assert_eq!(hear(&mut anew, 1).await.0, ["written secret/anew [1]"]);
}

#[tokio::test]
async fn who_does_not_read_holds_nothing_up_and_learns_what_was_missed() {
    let node = Node::unsealed().await;
    let (mut slow, _) = watch(&node, "secret/").await;
    put(&node, "secret/data/a").await;
    let (applied, membership) = node.store.applied().unwrap();
    let trimmed = WriteSet {
        trim_changes: Some(0..applied.revision + 1),
        applied,
        membership,
        ..WriteSet::default()
    };
    node.store.write(trimmed).unwrap();
    put(&node, "secret/data/b").await;
    assert!(matches!(end(&mut slow).await, Error::Compacted { .. }));
}

#[tokio::test]
async fn the_revision_is_told_although_nothing_happens() {
    let node = Node::unsealed().await;
    let (mut watching, start) = watch(&node, "secret/app/").await;
    for _ in 0..1_001 {
        put(&node, "secret/data/other").await;
    }
    let batch = next(&mut watching).await.unwrap();
    assert!(batch.events.is_empty() && batch.revision >= start + 1_000);
}

#[tokio::test]
async fn a_sealed_node_and_a_mount_that_is_replaced_end_watches() {
    let node = Node::unsealed().await;
    let (mut watching, _) = watch(&node, "secret/").await;
    done(&node, "", Delete, "sys/mounts/secret", Value::Null).await;
    let kv = json!({"type": "kv", "options": {"version": "2"}});
    done(&node, "", Write, "sys/mounts/secret", kv).await;
    assert!(matches!(end(&mut watching).await, Error::NoRoute(_)));
    let (mut watching, _) = watch(&node, "secret/").await;
    done(&node, "", Write, "sys/seal", Value::Null).await;
    assert!(matches!(end(&mut watching).await, Error::Sealed));
    node.unseal().await;
    let (mut watching, _) = watch(&node, "secret/").await;
    put(&node, "secret/data/a").await;
    assert_eq!(hear(&mut watching, 1).await.0, ["written secret/a [1]"]);
}

#[tokio::test]
async fn a_token_has_so_many_watches_and_no_more() {
    let node = Node::unsealed().await;
    let mut open = Vec::new();
    for _ in 0..MOST {
        open.push(watch_in(&node, ("", &node.root), "secret/", 0).await.unwrap());
    }
    let refused = watch_in(&node, ("", &node.root), "secret/", 0).await;
    assert!(matches!(refused, Err(Error::Overloaded(_))));
    let other = node.token(json!({"policies": ["root"]})).await;
    watch_in(&node, ("", &other), "secret/", 0).await.unwrap();
    assert_eq!(watches(&node), 32.0, "the other one's is over");
    open.pop();
    assert_eq!(watches(&node), 31.0);
    watch_in(&node, ("", &node.root), "secret/", 0).await.unwrap();
    drop(open);
    assert_eq!(watches(&node), 0.0);
}

/// As many as the node says are open.
fn watches(node: &Node) -> f64 {
    let families = node.registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "conclave_watches_open");
    family.expect("it is counted").get_metric()[0]
        .get_gauge()
        .get_value()
}
