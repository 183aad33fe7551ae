//! The audit trail: every exit is on record, nothing that is kept secret is in it, and without a device that takes the
//! record nothing is done, or it is said what was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use conclave_core::audit::Declared;
use conclave_core::audit::verify::{Committed, Fault, Place, Verifier, read_heads};
use conclave_core::{Error, Settings, Verb};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use support::Node;
use support::hooked::Hooked;
use support::shared::node_on;

/// A node with a device `main/` that its configuration declares, in a directory of its own.
fn declared(directory: &Path, sync: bool) -> Settings {
    let file = directory.join("declared.log");
    let options = [
        ("file_path", file.to_string_lossy().into_owned()),
        ("sync", sync.to_string()),
    ];
    Settings {
        audit_directories: vec![directory.to_owned()],
        audit_devices: vec![Declared {
            path: "main/".to_owned(),
            kind: "file".to_owned(),
            description: "ours".to_owned(),
            options: options.map(|(name, text)| (name.to_owned(), text)).into(),
        }],
        ..Settings::default()
    }
}

fn records(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The last thing that was done without a request.
fn last_act(file: &Path) -> Value {
    let acts = records(file).into_iter().rfind(|record| record["type"] == "act");
    acts.expect("an act")
}

async fn enable(node: &Node, file: &Path) {
    let data = json!({"type": "file", "options": {"file_path": file}});
    node.call(Verb::Write, "sys/audit/api", data).await.unwrap();
}

/// Revision of the state.
fn revision(node: &Node) -> u64 {
    node.store.snapshot().unwrap().applied().unwrap().0.revision
}

#[tokio::test]
async fn every_exit_has_one_request_and_one_response() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(declared(dir.path(), false)).await;
    let weak = node.token(json!({"policies": ["default"]})).await;
    let once = node.token(json!({"policies": ["root"], "num_uses": 1})).await;
    let secret = json!({"data": {"k": "v"}});
    node.call(Verb::Write, "secret/data/a", secret.clone())
        .await
        .unwrap();
    let wrong = json!({"data": {"k": "v"}, "options": {"cas": 7}});
    let asked = [
        (node.root.as_str(), Verb::Read, "secret/data/a", Value::Null, true),
        (&node.root, Verb::Read, "secret/data/none", Value::Null, false),
        (&node.root, Verb::Write, "secret/data/a", wrong, false),
        (&node.root, Verb::Read, "nowhere/a", Value::Null, false),
        (&node.root, Verb::Read, "sys/nothing", Value::Null, false),
        (&node.root, Verb::Write, "sys/rotate", Value::Null, true),
        (&weak, Verb::Read, "secret/data/a", Value::Null, false),
        (&weak, Verb::Read, "nowhere/a", Value::Null, false),
        ("bad", Verb::Read, "secret/data/a", Value::Null, false),
        ("", Verb::Write, "secret/data/a", secret, false),
        (&once, Verb::Read, "auth/token/lookup-self", Value::Null, true),
        (&once, Verb::Read, "auth/token/lookup-self", Value::Null, false),
    ];
    let file = dir.path().join("declared.log");
    for (token, verb, path, data, good) in asked {
        let before = records(&file).len();
        let answer = node.call_as(token, verb, path, data).await;
        assert_eq!(answer.is_ok(), good, "{path}");
        // A token that this used up ends, which is an act.
        let log = records(&file).split_off(before).into_iter();
        let log: Vec<Value> = log.filter(|record| record["type"] != "act").collect();
        let [request, response] = &log[..] else {
            panic!("{path}: {log:?}")
        };
        assert_eq!(
            (&request["type"], &response["type"]),
            (&json!("request"), &json!("response"))
        );
        for record in [request, response] {
            assert_eq!(record["request"]["path"], path);
            assert_eq!(record["request"]["id"], request["request"]["id"]);
            assert_eq!(record["auth"].get("client_token").is_some(), !token.is_empty());
        }
        let error = answer
            .err()
            .filter(|error| !matches!(error, Error::NotFound { .. }))
            .map(|error| error.to_string());
        assert_eq!(response.get("error").and_then(Value::as_str), error.as_deref());
    }
}

#[tokio::test]
async fn a_sealed_node_records_its_steps_without_values() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("declared.log");
    let node = Node::unsealed_with(declared(dir.path(), false)).await;
    let steps: Vec<_> = records(&file)
        .into_iter()
        .filter(|record| record["auth"]["token_type"] == "default")
        .map(|record| {
            let told = &record["response"]["data"];
            assert!(record["request"].get("data").is_none(), "{record}");
            (
                record["request"]["path"].as_str().unwrap().to_owned(),
                record["type"].as_str().unwrap().to_owned(),
                (told["sealed"].clone(), told["progress"].clone()),
            )
        })
        .collect();
    let request = |path: &str| (path.to_owned(), "request".to_owned(), (Value::Null, Value::Null));
    let response = |path: &str, sealed: bool, given: u64| {
        (
            path.to_owned(),
            "response".to_owned(),
            (json!(sealed), json!(given)),
        )
    };
    assert_eq!(
        steps,
        [
            request("sys/init"),
            response("sys/init", true, 0),
            request("sys/unseal"),
            response("sys/unseal", true, 1),
            request("sys/unseal"),
            response("sys/unseal", false, 0),
        ]
    );
    node.call(Verb::Write, "sys/seal", Value::Null).await.unwrap();
    let log = records(&file);
    let [.., request, response] = log.as_slice() else {
        panic!("no records")
    };
    for record in [request, response] {
        assert_eq!(record["request"]["path"], "sys/seal");
        assert!(
            record["auth"]["accessor"].is_string(),
            "hashed by the keys it had"
        );
    }
    let wrong = node
        .plain(Verb::Write, "sys/unseal", json!({"key": "00ff"}))
        .await
        .unwrap_err();
    let log = records(&file);
    assert_eq!(log.last().unwrap()["error"], wrong.to_string());
    // Nothing is answered by a sealed node, and so nothing is recorded.
    let before = log.len();
    assert!(node.call(Verb::Read, "secret/data/a", Value::Null).await.is_err());
    assert_eq!(records(&file).len(), before);
    for share in &node.shares {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(share));
    }
    std::fs::remove_dir_all(dir.path()).unwrap();
    let refused = node
        .plain(Verb::Write, "sys/unseal", json!({"key": node.shares[0]}))
        .await;
    assert!(matches!(refused, Err(Error::AuditRefused)));
    let status = node
        .plain(Verb::Read, "sys/seal-status", Value::Null)
        .await
        .unwrap();
    assert_eq!(status["progress"], 0, "nothing was done");
}

#[tokio::test]
async fn declared_devices_are_listed_hash_alike_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("declared.log");
    let node = Node::unsealed_with(declared(dir.path(), true)).await;
    let listed = node.call(Verb::Read, "sys/audit", Value::Null).await.unwrap();
    let main = &listed["data"]["main/"];
    assert_eq!(
        (&main["type"], &main["local"], &main["description"]),
        (&json!("file"), &json!(true), &json!("ours"))
    );
    let gone = node
        .call(Verb::Delete, "sys/audit/main", Value::Null)
        .await
        .unwrap_err();
    assert!(gone.to_string().contains("configuration-managed"), "{gone}");
    let data = json!({"type": "file", "options": {"file_path": dir.path().join("x.log")}});
    let taken = node.call(Verb::Write, "sys/audit/main", data).await.unwrap_err();
    assert!(taken.to_string().contains("path already in use"), "{taken}");

    let hash = async |node: &Node, path: &str| {
        let hashed = node
            .call(Verb::Write, path, json!({"input": "findme-5544"}))
            .await;
        hashed.map(|hashed| hashed["data"]["hash"].as_str().unwrap().to_owned())
    };
    let first = hash(&node, "sys/audit-hash/main").await.unwrap();
    assert!(hash(&node, "sys/audit-hash/none").await.is_err());
    let secret = json!({"data": {"k": "findme-5544"}});
    node.call(Verb::Write, "secret/data/a", secret).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(&first) && !text.contains("findme-5544"));
    node.call(Verb::Write, "sys/rotate", Value::Null).await.unwrap();
    let node = node.restarted().await;
    node.unseal().await;
    assert_eq!(hash(&node, "sys/audit-hash/main").await.unwrap(), first);
    // A second device, of the cluster's: one that fails does no harm while the other takes the record.
    enable(&node, &dir.path().join("api.log")).await;
    assert_ne!(hash(&node, "sys/audit-hash/api").await.unwrap(), first);
    node.call(Verb::Delete, "sys/audit/api", Value::Null)
        .await
        .unwrap();
}

#[tokio::test]
async fn without_a_device_that_takes_the_record_nothing_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(Settings {
        audit_directories: vec![dir.path().to_owned()],
        ..Settings::default()
    })
    .await;
    let health =
        async || node.plain(Verb::Read, "sys/health", Value::Null).await.unwrap()["audit_devices"].clone();
    assert_eq!(
        health().await,
        "none",
        "requests pass unrecorded, and health says so"
    );
    enable(&node, &dir.path().join("a.log")).await;
    let secret = json!({"data": {"k": "v"}});
    node.call(Verb::Write, "secret/data/a", secret.clone())
        .await
        .unwrap();
    assert_eq!(health().await, "enabled");
    let once = node.token(json!({"policies": ["default"], "num_uses": 1})).await;
    let twice = node.token(json!({"policies": ["default"], "num_uses": 2})).await;
    std::fs::remove_dir_all(dir.path()).unwrap();
    let before = revision(&node);
    for (verb, path) in [
        (Verb::Write, "secret/data/a"),
        (Verb::Read, "secret/data/a"),
        (Verb::Write, "sys/rotate"),
        (Verb::Delete, "secret/metadata/a"),
    ] {
        let refused = node.call(verb, path, secret.clone()).await;
        assert!(matches!(refused, Err(Error::AuditRefused)), "{path}");
    }
    assert!(matches!(
        node.call_as("bad", Verb::Read, "secret/data/a", Value::Null)
            .await,
        Err(Error::AuditRefused)
    ));
    // Not even a use of a token that has few is spent, whether its request would have been allowed or not.
    for (token, path) in [(&once, "auth/token/lookup-self"), (&twice, "secret/data/a")] {
        let refused = node.call_as(token, Verb::Read, path, Value::Null).await;
        assert!(matches!(refused, Err(Error::AuditRefused)), "{path}: {refused:?}");
    }
    assert_eq!(revision(&node), before);
    std::fs::create_dir(dir.path()).unwrap();
    let looked = async |token: &str| {
        node.call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await
    };
    looked(&once).await.expect("its only use is left");
    assert!(looked(&once).await.is_err(), "and was its only one");
    let denied = node
        .call_as(&twice, Verb::Read, "secret/data/a", Value::Null)
        .await;
    assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
    looked(&twice)
        .await
        .expect("one use was spent on what was denied");
    assert!(looked(&twice).await.is_err(), "as in Vault");
    node.call(Verb::Read, "secret/data/a", Value::Null)
        .await
        .expect("it works again by itself");
}

#[tokio::test]
async fn a_committed_write_whose_response_cannot_be_recorded_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(Settings {
        audit_directories: vec![dir.path().to_owned()],
        ..Settings::default()
    })
    .await;
    enable(&node, &dir.path().join("a.log")).await;
    let inner = Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    let path: PathBuf = dir.path().to_owned();
    let hooked: Arc<dyn Replica> = Arc::new(Hooked {
        inner,
        before: Box::new(move |_| {
            let _ = std::fs::remove_dir_all(&path);
            Box::pin(async { Ok(()) })
        }),
        after: Box::new(|_| {}),
    });
    let broken = node_on(&node, &hooked);
    broken.core.resume().await.unwrap();
    broken.unseal().await;
    let before = revision(&node);
    let data = json!({"data": {"k": "v"}});
    let said = broken.call(Verb::Write, "secret/data/a", data).await;
    assert!(matches!(said, Err(Error::CommittedUnaudited)), "{:?}", said.err());
    assert!(revision(&node) > before);
    std::fs::create_dir_all(dir.path()).unwrap();
    let read = broken
        .call(Verb::Read, "secret/data/a", Value::Null)
        .await
        .unwrap();
    assert_eq!(read["data"]["data"]["k"], "v", "it was done");
}

#[tokio::test]
async fn a_mount_may_show_members_and_what_a_node_does_by_itself_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("declared.log");
    let node = Node::unsealed_with(declared(dir.path(), false)).await;
    let must = async |verb, path: &str, data: Value| node.call(verb, path, data).await.unwrap();
    must(Verb::Write, "sys/mounts/plain", json!({"type": "kv"})).await;
    let shown = json!({"audit_non_hmac_request_keys": ["team"], "audit_non_hmac_response_keys": ["team"]});
    must(Verb::Write, "sys/mounts/plain/tune", shown).await;
    must(
        Verb::Write,
        "plain/a",
        json!({"team": "shown-55", "pass": "hidden-55"}),
    )
    .await;
    must(Verb::Read, "plain/a", Value::Null).await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text.matches("\"team\":\"shown-55\"").count(),
        3,
        "asked twice, answered once: {text}"
    );
    assert!(!text.contains("hidden-55"));

    let made = must(Verb::Write, "auth/token/create", json!({"ttl": "1m"})).await;
    let accessor = made["auth"]["accessor"].as_str().unwrap();
    let hash = must(Verb::Write, "sys/audit-hash/main", json!({"input": accessor})).await;
    node.clock.advance(61_000);
    while node.core.expire_once().await.unwrap() == conclave_core::Round::Full {}
    let act = last_act(&file);
    assert_eq!(act["request"]["path"], "auth/token/expire");
    assert_eq!(act["request"]["data"]["accessor"], hash["data"]["hash"]);

    // What a token's end takes along is told of, too.
    let parent = node.token(json!({"ttl": "1m"})).await;
    let child = node.call_as(&parent, Verb::Write, "auth/token/create", json!({"ttl": "1h"}));
    let child = child.await.unwrap()["auth"]["accessor"].take();
    let hash = must(Verb::Write, "sys/audit-hash/main", json!({"input": child})).await;
    node.clock.advance(61_000);
    while node.core.expire_once().await.unwrap() == conclave_core::Round::Full {}
    let act = last_act(&file);
    assert_eq!(act["request"]["path"], "auth/token/revoke");
    assert_eq!(act["request"]["data"]["accessor"], hash["data"]["hash"]);

    // Keys go when nothing needs them any more.
    must(Verb::Write, "sys/rotate", Value::Null).await;
    while node.core.rewrap_once().await.unwrap() != conclave_core::Rewrapped::Nothing {}
    let act = last_act(&file);
    assert_eq!(act["request"]["path"], "sys/rotate/old-keys");
    assert_eq!(act["request"]["data"]["term"], 2);
}

#[tokio::test]
async fn what_is_done_about_a_finding_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("declared.log");
    let node = Node::unsealed_with(declared(dir.path(), false)).await;
    let must = async |verb, path: &str, data: Value| node.call(verb, path, data).await.unwrap();
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"});
    must(Verb::Write, "sys/policies/acl/reader", policy).await;
    for name in ["trap", "brake"] {
        must(
            Verb::Write,
            &format!("secret/data/{name}"),
            json!({"data": {"x": 1}}),
        )
        .await;
        let canary = json!({"revoke": name == "trap"});
        must(
            Verb::Write,
            &format!("sys/anomaly/canaries/secret/{name}"),
            canary,
        )
        .await;
    }
    let rule = json!({"response": "rate_limit", "limit_rate": 1, "limit_ttl": "1m"});
    must(Verb::Write, "sys/anomaly/rules/canary_read", rule).await;
    // What nobody asked for, with the hash of what it was done to.
    let acts = || {
        let acts = records(&file)
            .into_iter()
            .filter(|record| record["type"] == "act");
        acts.map(|mut act| {
            (
                act["request"]["path"].as_str().unwrap().to_owned(),
                act["request"]["data"].take(),
            )
        })
        .collect::<Vec<_>>()
    };
    let read = async |name: &str| {
        let token = node.token(json!({"policies": ["reader"]})).await;
        let own = node.call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null);
        let accessor = own.await.unwrap()["data"]["accessor"].take();
        let path = format!("secret/data/{name}");
        node.call_as(&token, Verb::Read, &path, Value::Null)
            .await
            .unwrap();
        node.core.watch_once(true).await.unwrap();
        let listed = node
            .call(Verb::List, "sys/anomaly/events", Value::Null)
            .await
            .unwrap();
        let event = listed["data"]["keys"][0].as_str().unwrap().to_owned();
        (accessor, event)
    };
    let hash = async |input: Value| {
        let hash = must(Verb::Write, "sys/audit-hash/main", json!({"input": input})).await;
        hash["data"]["hash"].clone()
    };
    let (accessor, event) = read("trap").await;
    let done = acts();
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!(done[0].0, format!("sys/anomaly/events/{event}/revoke_token"));
    assert_eq!(done[0].1["accessor"], hash(accessor).await);

    node.clock.advance(1000);
    let (_, event) = read("brake").await;
    let limits = must(Verb::List, "sys/anomaly/limits", Value::Null).await;
    let limit = hash(limits["data"]["keys"][0].clone()).await;
    assert_eq!(
        acts().last().unwrap().0,
        format!("sys/anomaly/events/{event}/rate_limit")
    );
    node.clock.advance(61_000);
    node.core.watch_once(true).await.unwrap();
    let done = acts();
    let ended = done
        .iter()
        .find(|(path, _)| path == "sys/anomaly/limits/expire")
        .expect("its end");
    assert_eq!(ended.1["limit"], limit, "{done:?}");
}

/// What is wrong with the chains of these files, oldest first.
fn faults(heads: Vec<Committed>, files: &[PathBuf]) -> Vec<Fault> {
    let mut verifier = Verifier::new(heads, false);
    for file in files {
        for (at, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
            let file = file.display().to_string();
            verifier.line(
                Place {
                    file,
                    line: at as u64 + 1,
                },
                line.as_bytes(),
            );
        }
    }
    let report = verifier.finish();
    assert!(!report.chains.is_empty());
    report.faults
}

/// How many devices there are, as the metrics say.
fn devices_of(node: &Node) -> f64 {
    node.core.observe();
    let families = node.registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "conclave_audit_devices");
    family.unwrap().get_metric()[0].get_gauge().get_value()
}

async fn heads(node: &Node) -> Vec<Committed> {
    node.core.commit_audit_heads().await.unwrap();
    let told = node.call(Verb::Read, "sys/audit-heads", Value::Null).await;
    read_heads(told.unwrap().to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_chain_of_an_enabled_device_goes_on_over_reloads_and_seals() {
    let dir = tempfile::tempdir().unwrap();
    let settings = declared(dir.path(), false);
    let devices = settings.audit_devices.clone();
    let node = Node::unsealed_with(settings).await;
    let (file, moved) = (dir.path().join("api.log"), dir.path().join("api.log.1"));
    enable(&node, &file).await;
    let read = async || node.call(Verb::Read, "sys/mounts", Value::Null).await.unwrap();
    read().await;
    std::fs::rename(&file, &moved).unwrap();
    // What a reload does: the configuration is read again, then files are opened again.
    node.core.declare_audit_devices(&devices).unwrap();
    assert_eq!(devices_of(&node), 2.0, "the device is there without a break");
    node.core.reopen_audit_files();
    assert_eq!(
        std::fs::metadata(&file).unwrap().len(),
        0,
        "the moved file is let go"
    );
    read().await;
    node.call(Verb::Write, "sys/seal", Value::Null).await.unwrap();
    assert_eq!(devices_of(&node), 1.0, "only keys tell of the other");
    node.unseal().await;
    read().await;
    // Another configuration, and back.
    node.core.declare_audit_devices(&[]).unwrap();
    read().await;
    node.core.declare_audit_devices(&devices).unwrap();
    read().await;
    let files = [moved, file];
    assert_eq!(faults(heads(&node).await, &files), []);
    let text = std::fs::read_to_string(&files[1]).unwrap();
    assert_eq!(
        text.matches("\"type\":\"chain\"").count(),
        1,
        "one file, opened once: {text}"
    );
}

#[tokio::test]
async fn a_device_that_is_enabled_again_has_a_chain_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(declared(dir.path(), false)).await;
    let files = [dir.path().join("a.log"), dir.path().join("b.log")];
    for file in &files {
        enable(&node, file).await;
        node.call(Verb::Read, "sys/mounts", Value::Null).await.unwrap();
        heads(&node).await;
        node.call(Verb::Delete, "sys/audit/api", Value::Null)
            .await
            .unwrap();
    }
    let heads = heads(&node).await;
    let chains: BTreeSet<&str> = heads.iter().map(|head| head.id.as_str()).collect();
    assert_eq!(chains.len(), 3, "{chains:?}");
    for files in [&files[..1], &files[1..], &files[..]] {
        assert_eq!(faults(heads.clone(), files), [], "{files:?}");
    }
}

#[tokio::test]
async fn ends_of_chains_are_the_clusters_and_files_agree_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("declared.log");
    let node = Node::unsealed_with(declared(dir.path(), false)).await;
    node.core.commit_audit_heads().await.unwrap();
    // Nothing moved since: nothing is committed.
    let before = revision(&node);
    node.core.commit_audit_heads().await.unwrap();
    assert_eq!(revision(&node), before);
    // Sealing commits the last.
    node.call(Verb::Read, "sys/mounts", Value::Null).await.unwrap();
    node.call(Verb::Write, "sys/seal", Value::Null).await.unwrap();
    node.unseal().await;
    let told = node
        .call(Verb::Read, "sys/audit-heads", Value::Null)
        .await
        .unwrap();
    let heads = read_heads(told.to_string().as_bytes()).unwrap();
    assert_eq!(heads.len(), 2, "{told}");
    assert!(heads.iter().all(|head| head.id == "one:main/"), "{heads:?}");
    let mut verifier = Verifier::new(heads, false);
    for (at, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
        let place = Place {
            file: "declared.log".to_owned(),
            line: at as u64 + 1,
        };
        verifier.line(place, line.as_bytes());
    }
    let report = verifier.finish();
    assert_eq!(
        (report.faults.as_slice(), report.chains["one:main/"].heads),
        (&[][..], 2)
    );
    let status = node
        .call(Verb::Read, "sys/audit-status", Value::Null)
        .await
        .unwrap();
    assert_eq!(status["data"]["devices"]["main/"]["healthy"], true, "{status}");
    let weak = node.token(json!({"policies": ["default"]})).await;
    for path in ["sys/audit-heads", "sys/audit-status"] {
        assert!(node.call_as(&weak, Verb::Read, path, Value::Null).await.is_err());
    }
}
