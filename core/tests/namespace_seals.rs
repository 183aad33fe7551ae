//! Namespaces with a seal of their own: what the cluster's keys do not open, what a sealed one answers, and that everything goes
//! on where it stood once its shares come.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use conclave_barrier::{Barrier, BarrierId, Keyring, RingKeys, SealConfig, SecretBytes};
use conclave_core::Verb::{Delete, List, Read, Scan, Write};
use conclave_core::{Error, Request, Rewrapped, Verb};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use conclave_raft::state::DueEntry;
use support::played::Scene;
use support::sealed::{SEAL, done, is_sealed, make, seal, unseal};
use support::{Node, ask};

const HOUR: u64 = 3_600_000;
/// Bytes of a key before its first segment, and where in them the ring stands.
const PREFIX: usize = 12;
const SEAL_TABLE: u8 = 0x10;

/// A namespace with a seal, opened, with a secret in it and a namespace within.
async fn tenant(node: &Node) -> Vec<String> {
    let shares = make(node, "", "t").await;
    unseal(node, "", "t", &shares).await;
    done(
        node,
        "t",
        Write,
        "sys/mounts/canary-mount",
        json!({"type": "kv", "options": {"version": "2"}}),
    )
    .await;
    put(node, "canary-value").await;
    done(
        node,
        "t",
        Write,
        "sys/namespaces/canary-child",
        json!({"custom_metadata": {"note": "canary-note"}}),
    )
    .await;
    shares
}

async fn put(node: &Node, value: &str) {
    let data = json!({"data": {"p": value}});
    done(node, "t", Write, "canary-mount/data/canary-path", data).await;
}

async fn got(node: &Node) -> Result<Value, Error> {
    let read = ask(
        node,
        "t",
        &node.root,
        (Read, "canary-mount/data/canary-path"),
        Value::Null,
    );
    Ok(read.await?["data"]["data"]["p"].clone())
}

fn refused(outcome: Result<Value, Error>) -> bool {
    let text = outcome.as_ref().err().map(ToString::to_string);
    matches!(outcome, Err(Error::NamespaceSealed { .. })) && text.as_deref() == Some("namespace is sealed")
}

/// Whatever is asked in it, beneath it, or with a token of it.
async fn nothing_within_answers(node: &Node, token: &str) {
    let root = node.root.as_str();
    for (namespace, shown, path) in [
        ("", root, "t/canary-mount/data/canary-path"),
        ("", root, "t/kid/sys/mounts"),
        ("t/kid", root, "sys/mounts"),
        ("t", token, "auth/token/lookup-self"),
        ("", token, "auth/token/lookup-self"),
        ("t", "none", "canary-mount/data/x"),
        ("t", root, "sys/namespaces/kid/seal-status"),
    ] {
        let answer = ask(node, namespace, shown, (Read, path), Value::Null).await;
        assert!(refused(answer), "{namespace} {path}");
    }
    assert!(refused(
        ask(
            node,
            "t",
            "",
            (Write, "auth/userpass/login/x"),
            json!({"password": "x"})
        )
        .await
    ));
    assert!(refused(
        ask(node, "", root, (Delete, "sys/namespaces/t"), Value::Null).await
    ));
}

#[tokio::test]
async fn a_sealed_namespace_answers_nothing_until_its_shares_come() {
    let node = Node::unsealed().await;
    let root = node.root.clone();
    let shares = make(&node, "", "t").await;
    assert!(is_sealed(&node, "", "t").await, "made sealed");
    assert!(refused(
        ask(&node, "t", &root, (Read, "sys/mounts"), Value::Null).await
    ));
    let first = done(
        &node,
        "",
        Write,
        "sys/namespaces/t/unseal",
        json!({"key": shares[2]}),
    )
    .await;
    assert_eq!(
        (&first["data"]["progress"], &first["data"]["sealed"]),
        (&json!(1), &json!(true))
    );
    assert_ne!(first["data"]["nonce"], "");
    let status = unseal(&node, "", "t", &shares).await;
    assert_eq!(
        (&status["sealed"], &status["progress"]),
        (&json!(false), &json!(0))
    );
    done(
        &node,
        "t",
        Write,
        "sys/mounts/canary-mount",
        json!({"type": "kv", "options": {"version": "2"}}),
    )
    .await;
    put(&node, "one").await;
    done(&node, "t", Write, "sys/namespaces/kid", Value::Null).await;
    let token = done(
        &node,
        "t",
        Write,
        "auth/token/create",
        json!({"policies": ["default"]}),
    )
    .await;
    let token = token["auth"]["client_token"].as_str().unwrap().to_owned();
    assert_eq!(got(&node).await.unwrap(), "one");

    seal(&node, "", "t").await;
    assert!(is_sealed(&node, "", "t").await);
    assert!(refused(got(&node).await));
    nothing_within_answers(&node, &token).await;

    // The namespace it lies in sees it as before, and nothing of what is in it.
    for verb in [List, Scan] {
        let listed = done(&node, "", verb, "sys/namespaces", Value::Null).await;
        assert_eq!(listed["data"]["keys"], json!(["t/"]));
    }
    let changed = done(
        &node,
        "",
        Write,
        "sys/namespaces/t",
        json!({"custom_metadata": {"a": "b"}}),
    )
    .await;
    assert_eq!(changed["data"]["custom_metadata"], json!({"a": "b"}));

    unseal(&node, "", "t", &shares).await;
    assert_eq!(got(&node).await.unwrap(), "one");
    let known = ask(&node, "t", &token, (Read, "auth/token/lookup-self"), Value::Null).await;
    assert_eq!(known.unwrap()["data"]["namespace_path"], "t/");
    done(&node, "t/kid", Read, "sys/mounts", Value::Null).await;
}

type Wrong = (Verb, &'static str, Value, &'static str);

fn wrong_shares(foreign: &str) -> Vec<Wrong> {
    let unseal_path = "sys/namespaces/t/unseal";
    vec![
        (Write, unseal_path, json!({"key": ""}), "provided key is empty"),
        (
            Write,
            unseal_path,
            json!({"key": "zz!"}),
            "'key' must be a valid hex or base64 string",
        ),
        (
            Write,
            unseal_path,
            json!({"key": "00"}),
            "invalid key: key is shorter than minimum 16 bytes",
        ),
        (
            Write,
            unseal_path,
            json!({"key": foreign}),
            "invalid key: not a share of this namespace (generation 1)",
        ),
        (
            Write,
            "sys/namespaces/plain/unseal",
            json!({"key": "00"}),
            "namespace is not sealable",
        ),
        (
            Read,
            "sys/namespaces/plain/seal-status",
            Value::Null,
            "namespace is not sealable",
        ),
        (
            Write,
            "sys/namespaces/nope/seal",
            Value::Null,
            "namespace doesn't exist",
        ),
        (
            Delete,
            "sys/namespaces/plain/delete-sealed",
            Value::Null,
            "namespace is not sealed",
        ),
        (
            Write,
            "sys/namespaces/t/kid/unseal",
            Value::Null,
            "namespace name cannot contain /",
        ),
    ]
}

fn wrong_seals() -> Vec<Wrong> {
    vec![
        (
            Write,
            "sys/namespaces/t",
            json!({"seal": SEAL}),
            "cannot modify existing namespace seal config",
        ),
        (
            Write,
            "sys/namespaces/x",
            json!({"seal": "seal \"awskms\" {}"}),
            "namespaces currently only support shamir seals",
        ),
        (
            Write,
            "sys/namespaces/x",
            json!({"seal": ""}),
            "seal config must contain exactly one seal stanza",
        ),
        (
            Write,
            "sys/namespaces/x",
            json!({"seal": "seal \"shamir\" {}"}),
            "invalid seal config: shares must be at least one",
        ),
        (
            Write,
            "sys/namespaces/x",
            json!({"seal": "seal \"shamir\" {\n shares = 3\n threshold = 1\n}"}),
            "invalid seal config: threshold must be greater than one for multiple shares",
        ),
    ]
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_and_changes_nothing() {
    let node = Node::unsealed().await;
    let shares = make(&node, "", "t").await;
    make(&node, "", "other").await;
    done(&node, "", Write, "sys/namespaces/plain", Value::Null).await;
    let foreign = make(&node, "", "foreign").await;
    let unseal_path = "sys/namespaces/t/unseal";
    done(&node, "", Write, unseal_path, json!({"key": shares[0]})).await;
    for (verb, path, body, text) in wrong_shares(&foreign[1]).into_iter().chain(wrong_seals()) {
        let answer = ask(&node, "", &node.root, (verb, path), body).await;
        assert_eq!(
            answer.err().map(|error| error.to_string()).as_deref(),
            Some(text),
            "{path}"
        );
    }
    let answer = ask(
        &node,
        "",
        &node.root,
        (Read, "sys/namespaces/t/seal"),
        Value::Null,
    )
    .await;
    assert!(matches!(answer, Err(Error::UnsupportedOperation)));
    // As upstream: there is nothing to be done.
    seal(&node, "", "plain").await;
    // The share that was given counts still, and one given twice counts once.
    let again = done(&node, "", Write, unseal_path, json!({"key": shares[0]})).await;
    assert_eq!(again["data"]["progress"], 1);
    let reset = done(&node, "", Write, unseal_path, json!({"reset": true})).await;
    assert_eq!(
        (&reset["data"]["progress"], &reset["data"]["nonce"]),
        (&json!(0), &json!(""))
    );
    // Without a token nobody unseals.
    let nobody = ask(&node, "", "", (Write, unseal_path), json!({"key": shares[0]})).await;
    assert!(matches!(nobody, Err(Error::Denied { .. })));
    let policy = json!({"policy": "path \"sys/namespaces/*\" { capabilities = [\"update\", \"delete\"] }"});
    done(&node, "", Write, "sys/policies/acl/most", policy).await;
    let most = node.token(json!({"policies": ["most"]})).await;
    let wipe = ask(
        &node,
        "",
        &most,
        (Delete, "sys/namespaces/t/delete-sealed"),
        Value::Null,
    )
    .await;
    assert!(matches!(wipe, Err(Error::Denied { .. })), "needs sudo");
}

/// Every row, by key.
fn rows(node: &Node) -> BTreeMap<Bytes, Bytes> {
    let mut rows = BTreeMap::new();
    let snapshot = node.store.snapshot().unwrap();
    snapshot
        .scan(&[], None, &mut |key, row| {
            rows.insert(Bytes::copy_from_slice(key), row.value);
            Ok(true)
        })
        .unwrap();
    rows
}

fn clear(rows: &BTreeMap<Bytes, Bytes>, name: &str) -> Bytes {
    let mut of_seal = rows.iter().filter(|(key, _)| key.get(1) == Some(&SEAL_TABLE));
    let found = of_seal.find(|(key, _)| key[PREFIX + 2..] == *name.as_bytes());
    found.unwrap_or_else(|| panic!("no row {name}")).1.clone()
}

fn shares_of(texts: &[String]) -> Vec<SecretBytes> {
    let decoded = texts.iter().take(2).map(|share| hex::decode(share).unwrap());
    decoded.map(SecretBytes::new).collect()
}

/// What whoever holds the disk and the cluster's shares can make of it.
fn cluster_keys(node: &Node, rows: &BTreeMap<Bytes, Bytes>) -> Barrier {
    let id = BarrierId::from_slice(&clear(rows, "barrier-id")).unwrap();
    let config = SealConfig::decode(&clear(rows, "seal")).unwrap();
    let root = config.open_root(&shares_of(&node.shares)).unwrap();
    Barrier::new(id, Keyring::open(&root, id, &clear(rows, "keyring")).unwrap()).unwrap()
}

/// All names and values that keys open, as one text; and how many rows are in rings that they do not open.
fn readable(barrier: &Barrier, rows: &BTreeMap<Bytes, Bytes>) -> (String, usize) {
    let (mut text, mut closed) = (String::new(), 0);
    for (key, value) in rows {
        if key.len() < PREFIX || !(0x11..0x80).contains(&key[1]) {
            // Replication's own, and what is clear: it is looked through as it is.
            text.push_str(&String::from_utf8_lossy(value));
            continue;
        }
        let ring = u16::from_be_bytes([key[2], key[3]]);
        let mut at = PREFIX;
        let mut opens = barrier.has_ring(ring);
        while at < key.len() {
            let length = usize::from(u16::from_be_bytes([key[at], key[at + 1]]));
            let sealed = &key[at + 2..at + 2 + length];
            match barrier.open_segment(ring, &key[..at], sealed) {
                Ok(name) => text.push_str(&String::from_utf8_lossy(name.expose())),
                Err(_) => opens = false,
            }
            at += 2 + length;
            text.push('/');
        }
        if let Ok(value) = barrier.open_value(key[1], key, value) {
            assert!(opens, "a value opens whose name does not");
            text.push_str(&String::from_utf8_lossy(value.expose()));
        }
        closed += usize::from(!opens);
    }
    (text, closed)
}

#[tokio::test]
async fn the_clusters_keys_read_nothing_of_it() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let all = rows(&node);
    let cluster = cluster_keys(&node, &all);
    let (text, closed) = readable(&cluster, &all);
    assert!(closed > 10, "{closed} rows of the namespace");
    for canary in [
        "canary-mount",
        "canary-path",
        "canary-value",
        "canary-child",
        "canary-note",
    ] {
        assert!(!text.contains(canary), "{canary} can be read");
    }
    // That it is there, and what its parent says of it, is the parent's.
    assert!(text.contains("canary-team"), "the search finds what there is");

    // With the namespace's own shares, all of it can be read.
    let row = clear(&all, "ring-0001");
    let length = usize::try_from(u32::from_be_bytes(row[12..16].try_into().unwrap())).unwrap();
    let config = SealConfig::decode(&row[16..16 + length]).unwrap();
    assert!(config.open_root(&shares_of(&node.shares)).is_err());
    let root = config.open_root(&shares_of(&shares)).unwrap();
    let keyring = Keyring::open(&root, cluster.id(), &row[16 + length..]).unwrap();
    let both = cluster.beside([RingKeys::new(1, keyring).unwrap()]);
    let (text, closed) = readable(&both, &all);
    assert_eq!(closed, 0);
    for canary in [
        "canary-mount",
        "canary-path",
        "canary-value",
        "canary-child",
        "canary-note",
    ] {
        assert!(text.contains(canary), "{canary}");
    }
}

#[tokio::test]
async fn shares_are_told_once_and_kept_nowhere() {
    let node = Node::unsealed().await;
    let request = || {
        let mut request = Request::new(Write, "sys/namespaces/t");
        request.token = Some(node.root.clone().into());
        request.idempotency_key = Some("the-same".to_owned());
        request.data = json!({"seal": SEAL}).as_object().cloned().unwrap();
        request
    };
    let made = node.core.handle(request()).await.unwrap();
    let made = support::value_of(&made);
    let share = made["data"]["key_shares"][0].as_str().unwrap().to_owned();
    let all = rows(&node);
    let (text, _) = readable(&cluster_keys(&node, &all), &all);
    assert!(!text.contains(&share));
    let again = node.core.handle(request()).await;
    assert!(matches!(again, Err(Error::Invalid(text)) if text.contains("seal config")));
}

#[tokio::test]
async fn a_restarted_node_waits_for_its_shares() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let node = node.restarted().await;
    node.unseal().await;
    assert!(refused(got(&node).await));
    assert!(is_sealed(&node, "", "t").await);
    unseal(&node, "", "t", &shares).await;
    assert_eq!(got(&node).await.unwrap(), "canary-value");
}

#[tokio::test]
async fn one_within_another_is_sealed_with_it_and_opened_by_itself() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let inner = make(&node, "t", "inner").await;
    unseal(&node, "t", "inner", &inner).await;
    done(&node, "t/inner", Write, "sys/mounts/kv", json!({"type": "kv"})).await;
    done(&node, "t/inner", Write, "kv/a", json!({"k": "within"})).await;
    seal(&node, "", "t").await;
    assert!(refused(
        ask(&node, "t/inner", &node.root, (Read, "kv/a"), Value::Null).await
    ));
    unseal(&node, "", "t", &shares).await;
    assert!(is_sealed(&node, "t", "inner").await);
    assert!(refused(
        ask(&node, "t/inner", &node.root, (Read, "kv/a"), Value::Null).await
    ));
    unseal(&node, "t", "inner", &inner).await;
    let read = done(&node, "t/inner", Read, "kv/a", Value::Null).await;
    assert_eq!(read["data"]["k"], "within");
    // Sealing the inner one leaves the outer open.
    seal(&node, "t", "inner").await;
    assert_eq!(got(&node).await.unwrap(), "canary-value");
}

#[tokio::test]
async fn what_falls_due_waits_and_holds_up_nobody() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let short = json!({"policies": ["default"], "ttl": "1h"});
    let within = done(&node, "t", Write, "auth/token/create", short.clone()).await;
    let within = within["auth"]["client_token"].as_str().unwrap().to_owned();
    // One of the root with a child in the namespace.
    let parent = node.token(json!({"policies": ["root"], "ttl": "1h"})).await;
    let child = ask(
        &node,
        "t",
        &parent,
        (Write, "auth/token/create"),
        json!({"policies": ["default"], "ttl": "9h"}),
    );
    let child = child.await.unwrap()["auth"]["client_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let outside = node.token(short).await;
    seal(&node, "", "t").await;
    node.clock.advance(2 * HOUR);
    node.expire().await;
    for token in [&outside, &parent] {
        let gone = ask(&node, "", token, (Read, "auth/token/lookup-self"), Value::Null).await;
        assert!(matches!(gone, Err(Error::Denied { .. })));
    }
    let counted = async |node: &Node| {
        let counted = done(node, "", Read, "sys/internal/counters/tokens", Value::Null).await;
        counted["data"]["counters"]["service_tokens"]["total"]
            .as_u64()
            .unwrap()
    };
    let before = counted(&node).await;
    unseal(&node, "", "t", &shares).await;
    assert_eq!(counted(&node).await, before + 2, "nothing of it was touched");
    node.clock.advance(HOUR);
    node.expire().await;
    for token in [&within, &child] {
        let gone = ask(&node, "t", token, (Read, "auth/token/lookup-self"), Value::Null).await;
        assert!(matches!(gone, Err(Error::Denied { .. })));
    }
    assert_eq!(counted(&node).await, before);
}

#[tokio::test]
async fn its_data_key_rotates_by_itself() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let term = async |node: &Node, namespace: &str| {
        let status = done(node, namespace, Read, "sys/key-status", Value::Null).await;
        (
            status["data"]["term"].clone(),
            status["data"]["old_terms"].clone(),
        )
    };
    // Rotations of the cluster leave it alone.
    done(&node, "", Write, "sys/rotate", Value::Null).await;
    assert_eq!(term(&node, "t").await, (json!(1), Value::Null));
    done(&node, "t", Write, "sys/rotate/keyring", Value::Null).await;
    assert_eq!(term(&node, "t").await, (json!(2), json!([1])));
    put(&node, "after").await;
    for round in 0.. {
        assert!(round < 1000, "the rewrap never ends");
        if node.core.rewrap_once().await.unwrap() == Rewrapped::Nothing {
            break;
        }
    }
    assert_eq!(term(&node, "t").await, (json!(2), Value::Null));
    assert_eq!(term(&node, "").await, (json!(2), Value::Null));
    assert_eq!(got(&node).await.unwrap(), "after");
    let older = done(
        &node,
        "t",
        Read,
        "canary-mount/data/canary-path",
        json!({"version": "1"}),
    )
    .await;
    assert_eq!(older["data"]["data"]["p"], "canary-value");
    let node = node.restarted().await;
    node.unseal().await;
    unseal(&node, "", "t", &shares).await;
    assert_eq!(got(&node).await.unwrap(), "after");
    done(&node, "t/canary-child", Read, "sys/mounts", Value::Null).await;
    let plain = ask(
        &node,
        "t/canary-child",
        &node.root,
        (Read, "sys/key-status"),
        Value::Null,
    )
    .await;
    assert_eq!(plain.unwrap_err().to_string(), "namespace is not sealable");
}

fn rows_beside(node: &Node) -> usize {
    let of_rings = |key: &&Bytes| key.len() >= PREFIX && key[2..4] != [0, 0] && key[0] == 1;
    rows(node).keys().filter(of_rings).count()
}

#[tokio::test]
async fn one_that_nobody_can_open_is_removed_whole() {
    let node = Node::unsealed().await;
    let shares = tenant(&node).await;
    let inner = make(&node, "t", "inner").await;
    unseal(&node, "t", "inner", &inner).await;
    let wipe = "sys/namespaces/t/delete-sealed";
    let answer = ask(&node, "", &node.root, (Delete, wipe), Value::Null).await;
    assert_eq!(answer.unwrap_err().to_string(), "namespace is not sealed");
    seal(&node, "", "t").await;
    let answer = ask(&node, "", &node.root, (Delete, wipe), Value::Null).await;
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .contains("leftover child namespaces")
    );
    assert!(rows_beside(&node) > 20);
    let begun = done(&node, "", Delete, wipe, json!({"force": true})).await;
    assert_eq!(begun["data"]["status"], "in-progress");
    node.expire().await;
    assert_eq!(rows_beside(&node), 0);
    assert!(
        !rows(&node)
            .keys()
            .any(|key| key.ends_with(b"ring-0001") || key.ends_with(b"ring-0002"))
    );
    let again = done(&node, "", Delete, wipe, Value::Null).await;
    assert_eq!(again["warnings"][0], "requested namespace does not exist");
    // Its name is free, its keys are of no use.
    make(&node, "", "t").await;
    let refused = ask(
        &node,
        "",
        &node.root,
        (Write, "sys/namespaces/t/unseal"),
        json!({"key": shares[0]}),
    );
    assert!(refused.await.is_err());
    // And one that is open ends as any other, with its keys.
    let plain = make(&node, "", "p").await;
    unseal(&node, "", "p", &plain).await;
    done(&node, "", Delete, "sys/namespaces/p", Value::Null).await;
    node.expire().await;
    assert!(!rows(&node).keys().any(|key| key.ends_with(b"ring-0004")));
}

/// Has the namespace hand out accounts.
async fn database(node: &Node) {
    done(
        node,
        "t",
        Write,
        "sys/mounts/canary-db",
        json!({"type": "database"}),
    )
    .await;
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": "root",
        "connection_url": "postgresql://{{username}}:{{password}}@h/db", "password": "p",
    });
    done(node, "t", Write, "canary-db/config/db", config).await;
    let role = json!({"db_name": "db", "creation_statements": ["CREATE {{name}}"], "default_ttl": "9h"});
    done(node, "t", Write, "canary-db/roles/app", role).await;
}

#[tokio::test]
async fn leases_in_it_wait_for_its_keys_and_are_not_lost() {
    let scene = Scene::new().await;
    let (node, target) = (&scene.node, &scene.target);
    let shares = make(node, "", "t").await;
    unseal(node, "", "t", &shares).await;
    database(node).await;
    // One that ends with a token of the root, one with its own time, and one elsewhere.
    let owner = node.token(json!({"policies": ["root"], "ttl": "1h"})).await;
    for token in [&owner, &node.root] {
        let issued = ask(node, "t", token, (Read, "canary-db/creds/app"), Value::Null).await;
        assert!(issued.is_ok());
    }
    scene.issue().await;
    assert_eq!(target.accounts(), 3);
    let all = rows(node);
    let (text, _) = readable(&cluster_keys(node, &all), &all);
    assert!(!text.contains("canary-db"), "a lease's owner tells of it");

    seal(node, "", "t").await;
    let wipe = (Delete, "sys/namespaces/t/delete-sealed");
    let refused = ask(node, "", &node.root, wipe, Value::Null).await;
    assert!(refused.unwrap_err().to_string().contains("has leases"));
    node.clock.advance(2 * HOUR);
    node.expire().await;
    node.core.tend_leases_once().await.unwrap();
    assert_eq!(target.accounts(), 2, "the root's goes in its time");
    node.core.count_leases().await.unwrap();

    unseal(node, "", "t", &shares).await;
    node.clock.advance(61_000);
    node.expire().await;
    node.core.tend_leases_once().await.unwrap();
    assert_eq!(target.accounts(), 1, "the owner's end is followed up");
    seal(node, "", "t").await;
    node.clock.advance(8 * HOUR);
    node.core.tend_leases_once().await.unwrap();
    assert_eq!(target.accounts(), 1);
    unseal(node, "", "t", &shares).await;
    node.core.tend_leases_once().await.unwrap();
    assert_eq!(target.accounts(), 0);

    // Nobody can tell any more which accounts there are: they are left, and nothing waits for them.
    done(node, "t", Read, "canary-db/creds/app", Value::Null).await;
    seal(node, "", "t").await;
    done(
        node,
        "",
        Delete,
        "sys/namespaces/t/delete-sealed",
        json!({"force": true}),
    )
    .await;
    node.expire().await;
    assert_eq!((rows_beside(node), target.accounts()), (0, 1));
    let replica = LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap();
    let mut dangling = 0;
    let count = &mut |entry: DueEntry| {
        dangling += usize::from(entry.key[2..4] != [0, 0]);
        Ok(true)
    };
    replica.view().unwrap().rows().scan_due(count).unwrap();
    assert_eq!(dangling, 0, "the due index");
}

/// More than one batch of what hangs on a token.
const MANY: usize = 300;

#[tokio::test]
async fn much_that_waits_holds_up_neither_others_nor_the_leader() {
    let scene = Scene::new().await;
    let (node, target) = (&scene.node, &scene.target);
    let shares = make(node, "", "t").await;
    unseal(node, "", "t", &shares).await;
    let open = make(node, "", "u").await;
    unseal(node, "", "u", &open).await;
    let parent = node.token(json!({"policies": ["root"], "ttl": "1h"})).await;
    let child = async |namespace: &str| {
        let wanted = json!({"policies": ["default"], "ttl": "9h"});
        let made = ask(node, namespace, &parent, (Write, "auth/token/create"), wanted).await;
        made.unwrap()["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let outside = child("u").await;
    let mut within = String::new();
    for _ in 0..MANY {
        within = child("t").await;
    }
    database(node).await;
    for _ in 0..MANY {
        let issued = ask(node, "t", &parent, (Read, "canary-db/creds/app"), Value::Null).await;
        assert!(issued.is_ok());
    }
    let own = ask(node, "", &parent, (Read, support::played::PATH), Value::Null).await;
    assert!(own.is_ok());
    let is_dead = async |namespace: &str, token: &str| {
        let known = ask(
            node,
            namespace,
            token,
            (Read, "auth/token/lookup-self"),
            Value::Null,
        )
        .await;
        matches!(known, Err(Error::Denied { .. }))
    };

    seal(node, "", "t").await;
    node.clock.advance(2 * HOUR);
    node.expire().await;
    assert!(is_dead("u", &outside).await);
    node.core.tend_leases_once().await.unwrap();
    assert_eq!(target.accounts(), MANY, "but for the root's");

    unseal(node, "", "t", &shares).await;
    assert!(!is_dead("t", &within).await, "it waits for the next look");
    node.clock.advance(61_000);
    node.expire().await;
    assert!(is_dead("t", &within).await);
    node.core.tend_leases_once().await.unwrap();
    assert_eq!(target.accounts(), 0);
}
