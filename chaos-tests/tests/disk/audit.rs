//! An audit file on a file system that fills up: who must take records refuses requests, who should is done without, and
//! both go on by themselves, whole, once there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{AUDIT, Api, Cluster, SOON, conclave, eventually};
use crate::tmpfs::{MIB, Tmpfs};

/// Requests of which the first may still find room in a page that is begun.
const TRIES: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_audit_disk_is_full() {
    let mut cluster = Cluster::prepared(1);
    let kept = cluster.files().join(AUDIT);
    let small = kept.join("small");
    fs::create_dir_all(&small).expect("a folder");
    let disk = match Tmpfs::mount(&small, 2 * MIB) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("not run: a small file system is needed, and mounting one needs root: {why}");
            return;
        }
    };
    let own = kept.join("own.log");
    let soft = small.join("soft.log");
    cluster.nodes[0].configure(&declared("own", &own));
    cluster.nodes[0].configure(&declared("soft", &soft));
    cluster.nodes[0].start().await;
    cluster.form().await;
    let api = cluster.api(0);

    // A device that should take records and cannot is done without.
    disk.leave(0);
    for at in 0..TRIES {
        let path = format!("secret/data/soft-{at}");
        api.must("POST", &path, json!({"data": {"k": "v"}})).await;
        assert_eq!(types(&own, &path), ["request", "response"]);
    }
    assert!(types(&soft, &format!("secret/data/soft-{}", TRIES - 1)).is_empty());
    health_is(&cluster, "degraded").await;
    disk.leave_all();
    api.must("POST", "secret/data/room", json!({"data": {"k": "v"}}))
        .await;
    assert_eq!(types(&soft, "secret/data/room"), ["request", "response"]);
    health_is(&cluster, "enabled").await;

    // One that must fails closed.
    let hard = small.join("hard.log");
    let options = json!({"file_path": hard, "policy": "must"});
    api.must(
        "PUT",
        "sys/audit/hard",
        json!({"type": "file", "options": options}),
    )
    .await;
    disk.leave(0);
    let refused = write_until_refused(&api, &hard).await;
    let read = api.get("secret/data/room").await;
    assert_eq!(read.status, 500, "{}", read.text());
    disk.leave_all();
    assert_eq!(api.get("secret/data/room").await.status, 200);
    for path in &refused {
        assert_eq!(api.get(path).await.status, 404, "{path}: nothing was done");
    }
    for file in [&own, &soft, &hard] {
        verify(file);
    }
    assert!(
        fs::read_to_string(&hard)
            .expect("the file")
            .contains("\"type\":\"refused\""),
        "what was refused is told of"
    );
    cluster.assert_alive();
}

/// Writes secrets until the device refuses for good; those that were refused. What was answered is on record.
async fn write_until_refused(api: &Api, file: &Path) -> Vec<String> {
    let mut refused = Vec::new();
    for at in 0..TRIES {
        let path = format!("secret/data/hard-{at}");
        let answer = api.call("POST", &path, Some(json!({"data": {"k": "v"}}))).await;
        let answer = answer.expect("an answer");
        if answer.is_good() {
            assert_eq!(types(file, &path), ["request", "response"]);
        } else if answer.text().contains("nothing was done") {
            assert_eq!(answer.status, 500, "{}", answer.text());
            refused.push(path);
        } else {
            // Between the two records of one request the last room went.
            assert!(answer.text().contains("was committed"), "{}", answer.text());
        }
    }
    assert!(refused.len() > TRIES / 2, "{} were refused", refused.len());
    refused
}

fn declared(name: &str, file: &Path) -> String {
    format!(
        "audit \"file\" \"{name}\" {{\n options {{ file_path = \"{}\" }}\n}}",
        file.display()
    )
}

async fn health_is(cluster: &Cluster, wanted: &str) {
    eventually(&format!("audit devices are {wanted}"), SOON, async || {
        let health = cluster.nodes[0].api.get("sys/health").await;
        match health.body["audit_devices"] == wanted {
            true => Ok(()),
            false => Err(health.text()),
        }
    })
    .await;
}

/// Types of the whole records of a file that are about one path.
fn types(file: &Path, path: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let records = text.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).ok()?;
        let about = record["request"]["path"] == path;
        about.then(|| record["type"].as_str().unwrap_or_default().to_owned())
    });
    records.collect()
}

/// No record of the file is missing, changed or moved.
fn verify(file: &PathBuf) {
    let ran = Command::new(conclave())
        .args(["audit", "verify"])
        .arg(file)
        .output();
    let ran = ran.expect("conclave runs");
    assert!(
        ran.status.success(),
        "{}: {}{}",
        file.display(),
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
