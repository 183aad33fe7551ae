//! Devices with filters: each record goes where it is to go, one that nobody takes is refused, and chains stay whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::path::Path;

use serde_json::{Value, json};

use conclave_core::audit::Declared;
use conclave_core::audit::verify::{Place, Verifier};
use conclave_core::{Error, Settings, Verb};
use support::Node;

/// A node with one device `main/` that its configuration declares, with this option besides its file.
fn declared(directory: &Path, option: (&str, &str)) -> Settings {
    let file = directory.join("main.log").display().to_string();
    let options = [("file_path", file.as_str()), option];
    Settings {
        audit_directories: vec![directory.to_owned()],
        audit_devices: vec![Declared {
            path: "main/".to_owned(),
            kind: "file".to_owned(),
            description: String::new(),
            options: options
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
        }],
        ..Settings::default()
    }
}

async fn enable(node: &Node, name: &str, folder: &Path, option: (&str, &str)) -> Result<Value, Error> {
    let file = folder.join(format!("{name}.log"));
    let mut options = json!({"file_path": file, "policy": "must"});
    options[option.0] = json!(option.1);
    let device = json!({"type": "file", "options": options});
    node.call(Verb::Write, &format!("sys/audit/{name}"), device).await
}

/// Records of requests and answers: type, id and path.
fn records(file: &Path) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(file).unwrap();
    let records = text.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        let of = |value: &Value| value.as_str().unwrap().to_owned();
        let request = record["request"].as_object()?;
        Some((of(&record["type"]), of(&request["id"]), of(&request["path"])))
    });
    records.collect()
}

fn assert_whole(file: &Path) {
    let mut verifier = Verifier::new([], false);
    for (line, at) in std::fs::read_to_string(file).unwrap().lines().zip(1..) {
        let file = file.display().to_string();
        verifier.line(Place { file, line: at }, line.as_bytes());
    }
    let report = verifier.finish();
    assert_eq!((report.faults.as_slice(), report.chains.len()), (&[][..], 1));
}

#[tokio::test]
async fn records_go_where_filters_send_them_and_chains_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let kept = tempfile::tempdir_in(dir.path()).unwrap();
    let node = Node::unsealed_with(declared(dir.path(), ("fallback", "true"))).await;
    let must = async |verb, path: &str, data: Value| node.call(verb, path, data).await.unwrap();
    enable(&node, "kv", kept.path(), ("filter", "mount_type == kv"))
        .await
        .unwrap();
    enable(
        &node,
        "writes",
        kept.path(),
        (
            "filter",
            "path matches \"^secret/data/\" and operation != read and not path contains other",
        ),
    )
    .await
    .unwrap();
    let secret = json!({"data": {"k": "v"}});
    must(Verb::Write, "secret/data/a", secret.clone()).await;
    must(Verb::Write, "secret/data/other", secret.clone()).await;
    must(Verb::Read, "secret/data/a", Value::Null).await;
    must(Verb::Read, "sys/mounts", Value::Null).await;
    node.call_as("bad", Verb::Read, "secret/data/a", Value::Null)
        .await
        .unwrap_err();

    let (main, kv, writes) = (
        dir.path().join("main.log"),
        kept.path().join("kv.log"),
        kept.path().join("writes.log"),
    );
    let paths = |file: &Path| -> Vec<_> {
        let records = records(file);
        for pair in records.chunks(2) {
            let [request, response] = pair else {
                panic!("half of {pair:?}")
            };
            assert_eq!((request.0.as_str(), response.0.as_str()), ("request", "response"));
            assert_eq!(request.1, response.1);
        }
        let requests = records.into_iter().step_by(2);
        requests.map(|(_, _, path)| path).collect()
    };
    assert_eq!(
        paths(&kv),
        [
            "secret/data/a",
            "secret/data/other",
            "secret/data/a",
            "secret/data/a"
        ]
    );
    assert_eq!(paths(&writes), ["secret/data/a"]);
    // Shares and the devices themselves come before; of the rest the fallback has what no other took.
    let rest = paths(&main);
    assert!(!rest.iter().any(|path| path.starts_with("secret/")), "{rest:?}");
    for path in ["sys/unseal", "sys/audit/writes", "sys/mounts"] {
        assert!(rest.iter().any(|had| had == path), "{path}: {rest:?}");
    }
    for file in [&main, &kv, &writes] {
        assert_whole(file);
    }

    // A device that must take records fails those alone that it would take.
    std::fs::remove_dir_all(kept.path()).unwrap();
    let refused = node.call(Verb::Write, "secret/data/a", secret).await;
    assert!(matches!(refused, Err(Error::AuditRefused)), "{refused:?}");
    must(Verb::Read, "sys/mounts", Value::Null).await;
}

#[tokio::test]
async fn what_every_device_passes_over_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(declared(dir.path(), ("filter", "path matches \"^sys/\""))).await;
    let revision = || node.store.snapshot().unwrap().applied().unwrap().0.revision;
    let before = revision();
    let secret = json!({"data": {"k": "v"}});
    for verb in [Verb::Write, Verb::Read] {
        let refused = node.call(verb, "secret/data/a", secret.clone()).await;
        assert!(matches!(refused, Err(Error::AuditRefused)), "{refused:?}");
    }
    assert_eq!(revision(), before, "nothing was done");
    // Nobody is led there over the API.
    let kv = ("filter", "mount_type == kv");
    let refused = enable(&node, "kv", dir.path(), kv).await.unwrap_err();
    assert!(refused.to_string().contains("fallback=true"), "{refused}");
    let wrong = enable(&node, "kv", dir.path(), ("filter", "mount_type = kv")).await;
    assert!(
        wrong.unwrap_err().to_string().contains("character 12"),
        "the place is named"
    );
    enable(&node, "rest", dir.path(), ("fallback", "true"))
        .await
        .unwrap();
    let second = enable(&node, "more", dir.path(), ("fallback", "true")).await;
    assert!(
        second
            .unwrap_err()
            .to_string()
            .contains("\"rest/\" is the fallback")
    );
    enable(&node, "kv", dir.path(), kv).await.unwrap();
    node.call(Verb::Write, "secret/data/a", secret).await.unwrap();
    assert_eq!(records(&dir.path().join("kv.log")).len(), 2);
    let left = node.call(Verb::Delete, "sys/audit/rest", Value::Null).await;
    assert!(left.unwrap_err().to_string().contains("disable those first"));
    for path in ["sys/audit/kv", "sys/mounts"] {
        let verb = if path.ends_with("kv") {
            Verb::Delete
        } else {
            Verb::Read
        };
        node.call(verb, path, Value::Null).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_node_does_by_itself_goes_where_filters_send_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(declared(dir.path(), ("fallback", "true"))).await;
    let expiries = ("filter", "path == auth/token/expire");
    enable(&node, "acts", dir.path(), expiries).await.unwrap();
    let made = json!({"ttl": "1m"});
    node.call(Verb::Write, "auth/token/create", made).await.unwrap();
    node.clock.advance(61_000);
    while node.core.expire_once().await.unwrap() == conclave_core::Round::Full {}
    let acts = records(&dir.path().join("acts.log"));
    assert!(
        !acts.is_empty() && acts.iter().all(|(kind, ..)| kind == "act"),
        "{acts:?}"
    );
    let rest = records(&dir.path().join("main.log"));
    assert!(!rest.iter().any(|(_, _, path)| path == "auth/token/expire"));
}
