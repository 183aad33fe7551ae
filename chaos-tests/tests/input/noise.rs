//! What clients say makes no line of a log and no series of a metric, and what lies on the disk is nobody else's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::node::Node;

/// Different names that are asked for.
const NAMES: usize = 400;
/// What a request may add to a process for good, in KiB: requests of anybody are kept nowhere.
const GROWTH: u64 = 48 << 10;

#[test]
fn names_make_no_series_and_no_lines() {
    let node = Node::unsealed();
    let ask = |round: usize| {
        for number in 0..NAMES {
            let name = format!("planted-{round}-{number}");
            for path in [
                format!("/v1/secret/data/{name}"),
                format!("/v1/{name}/x"),
                format!("/v1/auth/{name}/login"),
                format!("/v1/secret/data/a%0A{name}"),
                format!("/v1/secret/data/%1B%5B31m{name}"),
            ] {
                node.send("GET", path.as_bytes(), "", b"");
            }
            let method = format!("X{number}");
            node.send(&method, b"/v1/sys/health", &name, b"");
        }
    };
    ask(1);
    let before = series(&node);
    ask(2);
    let new: Vec<_> = series(&node).difference(&before).cloned().collect();
    assert!(before.len() > 20, "{before:?}");
    assert_eq!(new, [""; 0], "series that names made");
    let log = String::from_utf8_lossy(&node.log()).into_owned();
    assert!(
        !log.contains('\u{1b}'),
        "a client's escape sequence is in the log"
    );
    assert!(!log.contains("planted-"), "a client's name is in the log");
}

#[test]
fn asking_to_join_takes_no_memory() {
    let node = Node::unsealed();
    let rounds = |times: usize| {
        for number in 0..times {
            let body = json!({"server_id": format!("planted-{number}"), "text": "x".repeat(4096)});
            let told = node.put_as("", "sys/storage/raft/bootstrap/challenge", &body);
            assert!([200, 400, 429, 503].contains(&told.status), "{}", told.body);
            let told = node.put_as("", "sys/storage/raft/bootstrap/admit", &body);
            assert!([400, 403, 429, 503].contains(&told.status), "{}", told.body);
        }
    };
    // Pools and caches fill first.
    rounds(500);
    let before = node.memory();
    rounds(2_000);
    let grown = node.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB more");
    let waiting = node.send("LIST", b"/v1/sys/storage/raft/pending", &node.root, b"");
    assert!(!waiting.body.to_string().contains("planted-"), "{}", waiting.body);
}

#[test]
fn nothing_on_the_disk_is_open_to_others() {
    let node = Node::unsealed();
    let secret = json!({"data": {"k": "v"}});
    assert_eq!(node.put("secret/data/a", &secret).status, 200);
    let mut seen = 0;
    closed(&node.data(), &mut seen);
    assert!(seen > 10, "{seen} files");
}

fn closed(path: &Path, seen: &mut usize) {
    // RocksDB removes files while this looks.
    let Ok(found) = fs::symlink_metadata(path) else {
        return;
    };
    let mode = found.permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    *seen += 1;
    if found.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            closed(&entry.unwrap().path(), seen);
        }
    }
}

/// Names and labels of all series.
fn series(node: &Node) -> BTreeSet<String> {
    let page = node.page("sys/metrics?format=prometheus");
    let (_, page) = page.split_once("\r\n\r\n").unwrap();
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect()
}
