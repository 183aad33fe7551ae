//! Marked secrets and names go in; then nothing that the nodes ever wrote, told each other or tell about themselves may
//! hold a mark, nor the memory of a node that is sealed.

mod keys;
mod memory;
mod scanner;
mod served;
mod tap;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{AUDIT, Cluster, Tool};
use scanner::{Finding, Scanner};
use tap::Tap;

/// What an operator keeps to know who did what: audit records tell paths and names of policies, and hide values.
const AUDIT_FILE: &str = "audit.log";

/// Bytes that nodes must have told each other, for the search to mean anything.
const ENOUGH_FRAMES: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_canary() {
    let mut cluster = Cluster::prepared(3);
    let tap = Tap::before(&cluster).await;
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.form().await;
    let audit = cluster.files().join(AUDIT);
    std::fs::create_dir(&audit).expect("a folder for audit files");
    let device = json!({"type": "file", "options": {"file_path": audit.join(AUDIT_FILE)}});
    cluster.api(0).must("POST", "sys/audit/file", device).await;
    let marks = plant(&mut cluster).await;
    let scanner = Scanner::new(&marks.all());
    while_running(&cluster, &scanner).await;
    an_operators_snapshot_is_clean(&cluster, &scanner).await;
    // A restart, so that logs of start and recovery and a flushed store are looked at too.
    for at in 0..3 {
        cluster.nodes[at].stop().await;
        cluster.nodes[at].start().await;
    }
    memory_of_sealed_nodes_is_clean(&cluster, &scanner).await;
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    while_running(&cluster, &scanner).await;
    cluster.nodes[0].crash();
    for at in [1, 2] {
        cluster.nodes[at].stop().await;
    }
    on_disk(&cluster, &scanner);
    frames_are_clean(&tap, &scanner);
    audit_tells_paths_alone(&audit.join(AUDIT_FILE), &marks);
}

/// What nodes told each other, without TLS around it.
fn frames_are_clean(tap: &Tap, scanner: &Scanner) {
    let bytes = folder_is_clean(tap.folder(), scanner);
    eprintln!("{bytes} bytes on {} connections between nodes", tap.connections());
    assert!(
        bytes > ENOUGH_FRAMES && tap.connections() >= 6,
        "nodes told each other {bytes} bytes on {} connections: nothing was looked at",
        tap.connections()
    );
}

/// A snapshot that an operator saves, unpacked.
async fn an_operators_snapshot_is_clean(cluster: &Cluster, scanner: &Scanner) {
    let (file, folder) = (
        cluster.files().join("saved.snap"),
        cluster.files().join("unpacked"),
    );
    std::fs::create_dir(&folder).expect("a folder");
    let tool = Tool::conclave(cluster, &[0, 1, 2]);
    tool.must(&[
        "operator",
        "raft",
        "snapshot",
        "save",
        &file.display().to_string(),
    ])
    .await;
    let unpacked = std::process::Command::new("tar")
        .arg("-xzf")
        .arg(&file)
        .arg("-C")
        .arg(&folder)
        .status();
    assert!(
        unpacked.is_ok_and(|status| status.success()),
        "a snapshot is a compressed archive"
    );
    let bytes = folder_is_clean(&folder, scanner);
    assert!(bytes > 10_000, "only {bytes} bytes were looked at");
}

/// Nodes that were started and given no shares: they replicate and know nothing.
async fn memory_of_sealed_nodes_is_clean(cluster: &Cluster, scanner: &Scanner) {
    for node in &cluster.nodes {
        assert!(node.is_sealed().await);
        let (bytes, found) = memory::scan(node.pid(), scanner);
        assert!(bytes > 1 << 20, "only {bytes} bytes of memory were looked at");
        assert_eq!(found, [], "memory of {}, which is sealed", node.name);
    }
}

/// What must not be found.
struct Marks {
    /// Values, tokens, accessors, shares: nowhere.
    secrets: Vec<Vec<u8>>,
    /// Segments of paths and other names: in audit records only.
    names: Vec<String>,
}

impl Marks {
    fn all(&self) -> Vec<Vec<u8>> {
        let names = self.names.iter().map(|name| name.clone().into_bytes());
        self.secrets.iter().cloned().chain(names).collect()
    }
}

/// The one file with names in it shows that the scanner would find them, and holds no secret.
fn audit_tells_paths_alone(file: &Path, marks: &Marks) {
    let records = std::fs::read(file).expect("audit records");
    let names = Scanner::new(&marks.names).scan(&records);
    assert!(
        !names.is_empty(),
        "audit records name no path: nothing was looked at"
    );
    let secrets = Scanner::new(&marks.secrets).scan(&records);
    assert_eq!(secrets, [], "audit records hold a secret");
}

/// Puts marks wherever a client can choose a name or a value; what must not be found.
async fn plant(cluster: &mut Cluster) -> Marks {
    let mut mark = || format!("canary{}", cluster.seed.text(18));
    let [
        value,
        metadata,
        field,
        folder,
        leaf,
        policy,
        mount,
        name,
        missing,
        denied,
        stray,
        role,
        entity,
        alias,
        group,
        about,
    ] = [(); 16].map(|()| mark());
    let mut secrets = vec![
        value.clone(),
        metadata.clone(),
        stray.clone(),
        about.clone(),
        cluster.root.clone(),
    ];
    know_people(cluster, [&alias, &entity, &group, &about]).await;
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
        let auth = |key: &str| created.body["auth"][key].as_str().expect("a string").to_owned();
        secrets.extend([auth("client_token"), auth("accessor")]);
        // Failures are told in logs most readily.
        let reader = cluster.nodes[at].api.with_token(&auth("client_token"));
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
        let stranger = api.with_token(&format!("s.{stray}"));
        assert_eq!(stranger.get("auth/token/lookup-self").await.status, 403);
        api.call("LIST", &format!("{mount}{at}/metadata/{folder}/"), None)
            .await
            .expect("a list");
    }
    let mut secrets: Vec<Vec<u8>> = secrets.into_iter().map(String::into_bytes).collect();
    // As operators give them, and as nodes would tell them each other.
    for share in &cluster.shares {
        let bytes = scanner::unbase64(share);
        secrets.extend([
            share.clone().into_bytes(),
            hex::encode(&bytes).into_bytes(),
            bytes,
        ]);
    }
    Marks {
        secrets,
        names: vec![
            field, folder, leaf, policy, mount, name, missing, denied, role, entity, alias, group,
        ],
    }
}

/// Somebody who logs in, with a name, a group and metadata beside it.
async fn know_people(cluster: &Cluster, [alias, entity, group, about]: [&str; 4]) {
    let api = cluster.api(0);
    // Marks are planted more than once, and where a method is mounted is a name as well.
    let people = group;
    api.must("POST", &format!("sys/auth/{people}"), json!({"type": "userpass"}))
        .await;
    let user = json!({"password": about});
    api.must("POST", &format!("auth/{people}/users/{alias}"), user.clone())
        .await;
    let login = format!("auth/{people}/login/{alias}");
    let let_in = api.call("POST", &login, Some(user)).await.expect("an answer");
    assert!(let_in.is_good(), "{}", let_in.text());
    let id = let_in.body["auth"]["entity_id"].as_str().expect("an entity");
    let named = json!({"name": entity, "metadata": {"about": about}});
    api.must("POST", &format!("identity/entity/id/{id}"), named).await;
    let crew = json!({"name": group, "metadata": {"about": about}, "member_entity_ids": [id]});
    api.must("POST", "identity/group", crew).await;
}

async fn while_running(cluster: &Cluster, scanner: &Scanner) {
    on_disk(cluster, scanner);
    for node in &cluster.nodes {
        let found = scanner.scan(node.metrics().await.as_bytes());
        assert_eq!(found, [], "metrics of {}", node.name);
    }
}

fn on_disk(cluster: &Cluster, scanner: &Scanner) {
    let bytes: usize = cluster
        .nodes
        .iter()
        .map(|node| folder_is_clean(node.folder(), scanner))
        .sum();
    assert!(bytes > 100_000, "only {bytes} bytes were looked at");
}

/// How many bytes were looked at.
fn folder_is_clean(folder: &Path, scanner: &Scanner) -> usize {
    let mut bytes = 0;
    let mut found: Vec<(PathBuf, Vec<Finding>)> = Vec::new();
    for file in files(folder) {
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
    assert!(found.is_empty(), "marks were found: {found:#?}");
    bytes
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push(path);
            }
        }
    }
    all
}
