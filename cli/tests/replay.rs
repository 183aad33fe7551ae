//! `anomaly replay`, which asks no server: what it says of logs, and of rules that there are not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fmt::Write;
use std::process::{Command, Output};

use serde_json::Value;

fn replay(folder: &tempfile::TempDir, log: &str, words: &[&str]) -> Output {
    let file = folder.path().join("audit.log");
    std::fs::write(&file, log).unwrap();
    Command::new(env!("CARGO_BIN_EXE_conclave"))
        .env_clear()
        .env("HOME", folder.path())
        .args(["anomaly", "replay", "-format=json"])
        .arg(file)
        .args(words)
        .output()
        .unwrap()
}

/// Failed logins under different names, as files of these nodes have them in turn; of one without a name no chain says so.
fn guesses(nodes: &[&str]) -> String {
    let mut log = String::new();
    for (n, node) in nodes.iter().cycle().take(12).enumerate() {
        write!(
            log,
            r#"{{"time":"2026-01-05T10:00:{n:02}Z","type":"response","request":{{"operation":"update","path":"auth/userpass/login/user{n}","mount_point":"auth/userpass/","mount_class":"auth","remote_address":"10.0.{n}.1"}},"error":"invalid username or password""#
        )
        .unwrap();
        if !node.is_empty() {
            write!(log, r#","chain":{{"id":"{node}:file/","seq":{n},"hash":"x"}}"#).unwrap();
        }
        log.push_str("}\n");
    }
    log
}

#[test]
fn the_nodes_that_wrote_a_log_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (nodes, over) in [
        (&["n1", "n2", "n3"][..], "over 3 nodes"),
        (&["n1"], "over 1 node"),
        (&[""], "over 1 node"),
    ] {
        let told = replay(&folder, &guesses(nodes), &["auth_failure_burst.per_mount=12"]);
        assert!(told.status.success(), "{told:?}");
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let text = told["events"][0]["explanation"].as_str().unwrap_or_default();
        assert!(
            text.starts_with("12 logins failed") && text.ends_with(over),
            "{told}"
        );
    }
}

#[test]
fn a_rule_that_there_is_not_is_named_beside_those_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, parts) in [
        (
            "bulk_reed.min=2",
            &["\"bulk_reed\"", "bulk_read", "wide_list"][..],
        ),
        ("bulk_read.mim=2", &["mim", "day_factor"]),
        ("bulk_read=2", &["RULE.PARAM=NUMBER"]),
        ("bulk_read.min=two", &["RULE.PARAM=NUMBER"]),
    ] {
        let refused = replay(&folder, "", &[wrong]);
        assert_eq!(refused.status.code(), Some(1), "{wrong}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(parts.iter().all(|part| said.contains(part)), "{wrong}: {said}");
    }
}
