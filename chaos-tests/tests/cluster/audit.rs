//! Audit files of a real process: declared in its configuration, there while it is sealed, opened again when told, and
//! without one that takes the record nothing is done.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{AUDIT, Cluster, SOON, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_audit() {
    let mut cluster = Cluster::formed().await;
    let directory = cluster.files().join(AUDIT);
    fs::create_dir_all(&directory).expect("a directory");
    for number in [1, 2] {
        let node = &mut cluster.nodes[number];
        let file = directory.join(format!("{}.log", node.name));
        node.configure(&format!(
            "audit \"file\" \"own\" {{\n options {{ file_path = \"{}\" sync = \"{}\" }}\n}}",
            file.display(),
            number == 1
        ));
        node.kill();
        node.start().await;
    }
    let file = directory.join(format!("{}.log", cluster.nodes[1].name));
    cluster.give_shares(&[1, 1, 1]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    let steps = of_path(&file, "sys/unseal");
    assert!(steps.len() >= 6, "each share's request and response: {steps:?}");
    for step in &steps {
        assert!(step["request"].get("data").is_none(), "{step}");
    }
    let shares = fs::read_to_string(&file).expect("the file");
    assert!(cluster.shares.iter().all(|share| !shares.contains(share)));

    let api = cluster.api(1);
    let secret = json!({"data": {"value": "not-for-the-log"}});
    api.must("POST", "secret/data/a", secret.clone()).await;
    let hashed = api
        .must("POST", "sys/audit-hash/own", json!({"input": "not-for-the-log"}))
        .await;
    let text = fs::read_to_string(&file).expect("the file");
    assert!(!text.contains("not-for-the-log"));
    assert!(text.contains(hashed["hash"].as_str().expect("a hash")));

    // Log rotation: moved away, then told.
    let moved = directory.join("moved.log");
    fs::rename(&file, &moved).expect("moved");
    cluster.nodes[1].hang_up();
    eventually("the file is made anew", SOON, async || {
        if file.exists() { Ok(()) } else { Err("not yet") }
    })
    .await;
    api.must("POST", "secret/data/b", secret.clone()).await;
    assert_eq!(of_path(&file, "secret/data/b").len(), 2);
    assert!(of_path(&moved, "secret/data/b").is_empty());

    // No directory, no record, no request; node 0 has no device and goes on.
    fs::remove_dir_all(&directory).expect("removed");
    let refused = api.call("POST", "secret/data/c", Some(secret.clone())).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("nothing was done"), "{}", refused.text());
    let other = cluster.api(0);
    assert_eq!(other.get("secret/data/c").await.status, 404);
    other.must("POST", "secret/data/c", secret.clone()).await;
    let numbers = cluster.nodes[1].metrics().await;
    assert!(numbers.contains("conclave_audit_devices 1"), "{numbers}");
    assert!(!numbers.contains("conclave_audit_write_failures_total 0"));
    let health = cluster.nodes[0].api.get("sys/health").await.body;
    assert_eq!(health["audit_devices"], "none");
    fs::create_dir(&directory).expect("a directory");
    api.must("POST", "secret/data/d", secret).await;
    cluster.assert_alive();
}

/// The records of a file that are about one path.
fn of_path(file: &Path, path: &str) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the file");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a record"))
        .filter(|record| record["request"]["path"] == path)
        .collect()
}
