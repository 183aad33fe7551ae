//! Files that were damaged while a node was down: a torn end is what a crash leaves, damage anywhere else is refused with
//! what to do about it, and whoever starts all the same serves what was written.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Api, Cluster, Node, SOON, THRESHOLD, eventually};

/// Secrets whose values are known.
const SECRETS: usize = 40;
/// What an operator is told to do.
const ADVICE: &str = "wipe this node's data and rejoin it under a new id";

/// One node alone, so that nobody can mend its files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_disk_was_damaged() {
    let mut cluster = Cluster::prepared(1);
    cluster.nodes[0].start().await;
    cluster.form().await;
    let api = cluster.api(0);
    for number in 0..SECRETS {
        write(&api, number).await;
    }
    // The first sync of a start raises the log's mark over all before it.
    restart(&mut cluster).await;
    write(&api, SECRETS).await;
    cluster.nodes[0].kill();
    let good = cluster.files().join("good");
    copy(&cluster.nodes[0].data(), &good);

    torn_ends_are_dropped(&mut cluster, &good).await;
    let mut refused = 0;
    for (what, path) in classes(&good) {
        let length = fs::metadata(good.join(&path)).expect("a file").len();
        let middle = length / 2;
        put_back(&cluster.nodes[0], &good);
        flip(&cluster.nodes[0].data().join(&path), middle);
        let served = starts_right_or_not_at_all(&mut cluster, what).await;
        eprintln!(
            "{what} ({}, byte {middle} of {length}): {}",
            path.display(),
            if served { "served" } else { "refused" }
        );
        refused += usize::from(!served);
    }
    assert!(refused >= 4, "damage is not noticed");
}

/// What a crash leaves behind the last whole record of a log: nothing of it was acknowledged, and it costs nothing.
async fn torn_ends_are_dropped(cluster: &mut Cluster, good: &Path) {
    for (what, tail) in [
        ("noise", cluster.seed.text(700).into_bytes()),
        ("zeros", vec![0; 5000]),
        ("half a record", half_a_record()),
    ] {
        put_back(&cluster.nodes[0], good);
        for folder in ["log/db", &state(good)] {
            let path = newest(&cluster.nodes[0].data().join(folder), "log");
            let mut log = OpenOptions::new().append(true).open(path).expect("a log");
            log.write_all(&tail).expect("a torn end");
        }
        cluster.nodes[0].start().await;
        serves_all(cluster, what).await;
        cluster.nodes[0].kill();
    }
}

/// True if it served, and what was written; false if it refused to start, and said what to do.
async fn starts_right_or_not_at_all(cluster: &mut Cluster, what: &str) -> bool {
    let before = cluster.nodes[0].said().len();
    cluster.nodes[0].begin();
    let api = cluster.api(0);
    let node = &mut cluster.nodes[0];
    let ended = eventually("it answers or ends", SOON, async || match node.has_ended() {
        Some(status) => Ok(Some(status)),
        None => api.call("GET", "sys/seal-status", None).await.map(|_| None),
    })
    .await;
    match ended {
        Some(status) => {
            assert!(!status.success(), "{what}: refused and ends as if all were well");
            let said = node.said().split_off(before);
            assert!(
                said.contains(ADVICE),
                "{what}: refused, and the operator is told: {said}"
            );
            assert!(!said.contains("panicked"), "{what}: {said}");
            node.ended().await;
            false
        }
        None => {
            serves_all(cluster, what).await;
            cluster.nodes[0].kill();
            true
        }
    }
}

async fn serves_all(cluster: &mut Cluster, what: &str) {
    cluster.give_shares(&[0; THRESHOLD]).await;
    cluster.all_unsealed(&[0]).await;
    let api = cluster.api(0);
    for number in 0..=SECRETS {
        let path = format!("secret/data/s{number}");
        let reply = eventually("it serves", SOON, async || {
            let reply = api.get(&path).await;
            if reply.status == 503 {
                Err(reply.text())
            } else {
                Ok(reply)
            }
        })
        .await;
        assert_eq!(
            reply.body["data"]["data"]["n"],
            number,
            "{what}: {path}: {}",
            reply.text()
        );
    }
}

async fn write(api: &Api, number: usize) {
    let path = format!("secret/data/s{number}");
    api.must(
        "POST",
        &path,
        json!({"data": {"n": number, "pad": "x".repeat(600)}}),
    )
    .await;
}

async fn restart(cluster: &mut Cluster) {
    cluster.nodes[0].stop().await;
    cluster.nodes[0].start().await;
    cluster.give_shares(&[0; THRESHOLD]).await;
    cluster.all_unsealed(&[0]).await;
    let api = cluster.api(0);
    eventually("it serves", SOON, async || {
        let health = api.get("sys/health").await;
        if health.status == 200 {
            Ok(())
        } else {
            Err(health.text())
        }
    })
    .await;
}

/// One file of each kind.
fn classes(data: &Path) -> Vec<(&'static str, PathBuf)> {
    let state = state(data);
    let found = [
        ("log: write-ahead log", newest(&data.join("log/db"), "log")),
        ("log: manifest", named(&data.join("log/db"), "MANIFEST")),
        ("log: pointer to the manifest", data.join("log/db/CURRENT")),
        ("log: mark", data.join("log/mark")),
        ("log: table", newest(&data.join("log/db"), "sst")),
        ("state: write-ahead log", newest(&data.join(&state), "log")),
        ("state: manifest", named(&data.join(&state), "MANIFEST")),
        ("state: table", newest(&data.join(&state), "sst")),
        ("identity", data.join("identity")),
        ("cluster", data.join("cluster.json")),
        ("key", data.join("node.key")),
    ];
    let found = found.into_iter().filter(|(_, path)| path.is_file());
    found
        .map(|(what, path)| (what, path.strip_prefix(data).expect("below").to_owned()))
        .collect()
}

/// The folder of the state database in force.
fn state(data: &Path) -> String {
    let folders = fs::read_dir(data.join("state")).expect("a state folder");
    let folders = folders.map(|entry| entry.expect("an entry").path());
    let found = folders
        .into_iter()
        .find(|path| path.is_dir())
        .expect("a database");
    found.strip_prefix(data).expect("below").display().to_string()
}

fn newest(folder: &Path, kind: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = list(folder)
        .filter(|path| path.extension().is_some_and(|extension| extension == kind))
        .filter(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0))
        .collect();
    found.sort();
    found.pop().unwrap_or_default()
}

fn named(folder: &Path, start: &str) -> PathBuf {
    let name = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    list(folder).find(name).unwrap_or_default()
}

fn list(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path())
}

/// The beginning of a record whose end was never written: checksum, length, type (RocksDB's log format), some of it.
fn half_a_record() -> Vec<u8> {
    let mut record = vec![1, 2, 3, 4];
    record.extend(500u16.to_le_bytes());
    record.push(1);
    record.extend([7; 100]);
    record
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[usize::try_from(at).expect("a small file")] ^= 0x40;
    fs::write(path, bytes).expect("a damaged file");
}

fn put_back(node: &Node, good: &Path) {
    fs::remove_dir_all(node.data()).expect("old data");
    copy(good, &node.data());
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp runs");
    assert!(copied.success(), "{} cannot be copied", from.display());
}
