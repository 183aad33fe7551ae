//! Marked secrets and names go in; then nothing that the nodes ever wrote or tell about themselves may hold a mark.

mod scanner;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::Cluster;
use scanner::{Finding, Scanner};

/// Files an operator allowed to hold names: audit records tell paths, with values hashed.
const AUDIT: &str = "audit.log";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_canary() {
    let mut cluster = Cluster::formed().await;
    let marks = plant(&mut cluster).await;
    let scanner = Scanner::new(&marks);
    while_running(&cluster, &scanner).await;
    // A restart, so that logs of start and recovery and a flushed store are looked at too.
    for at in 0..3 {
        cluster.nodes[at].stop().await;
        cluster.nodes[at].start().await;
    }
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    while_running(&cluster, &scanner).await;
    for at in 0..3 {
        cluster.nodes[at].stop().await;
    }
    on_disk(&cluster, &scanner);
}

/// Puts marks wherever a client can choose a name or a value; what must not be found.
async fn plant(cluster: &mut Cluster) -> Vec<String> {
    let mut marks = Vec::new();
    let mut mark = || {
        let mark = format!("canary{}", cluster.seed.text(18));
        marks.push(mark.clone());
        mark
    };
    let [value, field, folder, leaf, policy, mount, name] = [(); 7].map(|()| mark());
    let (missing, denied, metadata, role) = (mark(), mark(), mark(), mark());
    for (at, api) in cluster.apis().iter().enumerate() {
        let body = json!({"type": "kv", "options": {"version": "2"}, "description": name});
        api.must("POST", &format!("sys/mounts/{mount}{at}"), body).await;
        // A quote and a character beyond ASCII: escaped forms differ from the text.
        let secret = json!({"data": {&field: format!("{value} \"é\" {value}")}});
        api.must("POST", &format!("{mount}{at}/data/{folder}/{leaf}"), secret)
            .await;
        let custom = json!({"custom_metadata": {"owner": metadata}});
        api.must("POST", &format!("{mount}{at}/metadata/{folder}/{leaf}"), custom)
            .await;
        let rules = format!("path \"{mount}{at}/data/{folder}/*\" {{ capabilities = [\"read\"] }}");
        api.must(
            "POST",
            &format!("sys/policies/acl/{policy}{at}"),
            json!({"policy": rules}),
        )
        .await;
        let wish =
            json!({"policies": [format!("{policy}{at}")], "meta": {"role": role}, "display_name": name});
        let created = api
            .call("POST", "auth/token/create", Some(wish))
            .await
            .expect("an answer");
        assert!(created.is_good(), "{}", created.text());
        for key in ["client_token", "accessor"] {
            marks.push(
                created.body["auth"][key]
                    .as_str()
                    .expect("a token and its accessor")
                    .to_owned(),
            );
        }
        // Failures are told in logs most readily.
        let reader = cluster.nodes[at].api.with_token(&marks[marks.len() - 2]);
        assert_eq!(
            reader
                .get(&format!("{mount}{at}/data/{folder}/{leaf}"))
                .await
                .status,
            200
        );
        assert_eq!(
            reader.get(&format!("{mount}{at}/data/{denied}")).await.status,
            403
        );
        assert_eq!(api.get(&format!("{mount}{at}/data/{missing}")).await.status, 404);
        let stray = api.with_token(&format!("s.{denied}"));
        assert_eq!(stray.get("auth/token/lookup-self").await.status, 403);
        api.call("LIST", &format!("{mount}{at}/metadata/{folder}/"), None)
            .await
            .expect("a list");
    }
    // One device, with what it may hold at a name that is left out of the scan.
    marks.push(cluster.root.clone());
    marks.extend(cluster.shares.iter().cloned());
    let raw = cluster
        .shares
        .iter()
        .map(|share| hex::encode(scanner::unbase64(share)));
    marks.extend(raw.collect::<Vec<_>>());
    marks
}

async fn while_running(cluster: &Cluster, scanner: &Scanner) {
    on_disk(cluster, scanner);
    for node in &cluster.nodes {
        let found = scanner.scan(node.metrics().await.as_bytes());
        assert_eq!(found, [], "metrics of {}", node.name);
    }
}

fn on_disk(cluster: &Cluster, scanner: &Scanner) {
    let mut bytes = 0;
    let mut found: Vec<(PathBuf, Vec<Finding>)> = Vec::new();
    for node in &cluster.nodes {
        for file in files(node.folder()) {
            // A running database replaces files meanwhile.
            let Ok(content) = std::fs::read(&file) else {
                continue;
            };
            bytes += content.len();
            let hits = scanner.scan(&content);
            if !hits.is_empty() {
                found.push((file, hits));
            }
        }
    }
    assert!(bytes > 100_000, "only {bytes} bytes were looked at");
    assert!(found.is_empty(), "marks were found: {found:#?}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_none_or(|name| name != AUDIT) {
                all.push(path);
            }
        }
    }
    all
}
