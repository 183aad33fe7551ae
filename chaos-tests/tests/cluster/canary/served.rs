//! Nodes that served and were then sealed: nothing of what went through them is left in their memory, nor any key.

use serde_json::json;

use conclave_client::Conclave;

use super::memory::{self, Hit};
use super::scanner::{Scanner, unbase64};
use super::{AUDIT_FILE, an_operators_snapshot_is_clean, keys, plant};
use crate::harness::{AUDIT, Cluster, SOON, eventually};

/// Secrets put through the SDK, whose requests are gRPC.
const BY_SDK: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_canary_served() {
    let mut cluster = Cluster::formed().await;
    let audit = cluster.files().join(AUDIT);
    std::fs::create_dir(&audit).expect("a folder for audit files");
    let device = json!({"type": "file", "options": {"file_path": audit.join(AUDIT_FILE)}});
    cluster.api(0).must("POST", "sys/audit/file", device).await;
    let marks = plant(&mut cluster).await;
    let mut all = marks.all();
    all.extend(put_by_sdk(&mut cluster).await);
    an_operators_snapshot_is_clean(&cluster, &Scanner::new(&all)).await;
    let state = std::fs::read(cluster.files().join("unpacked/state.bin")).expect("an unpacked snapshot");
    let shares: Vec<Vec<u8>> = cluster.shares.iter().map(|share| unbase64(share)).collect();
    all.extend(keys::of_cluster(&shares, &state));
    let scanner = Scanner::new(&all);

    let leader = cluster.leader().await;
    let followers = cluster.others(leader);
    holds_marks(&cluster, followers[0], &scanner);
    cluster.api(followers[0]).must("PUT", "sys/seal", json!({})).await;
    is_clean(&cluster, followers[0], &scanner).await;
    cluster
        .api(leader)
        .must("PUT", "sys/seal", json!({"cluster": true}))
        .await;
    cluster.all_sealed(&[0, 1, 2]).await;
    for at in [leader, followers[1], followers[0]] {
        is_clean(&cluster, at, &scanner).await;
    }
    // Opened again by shares in their other form; the leader of that time is sealed by itself.
    let base64 = std::mem::replace(&mut cluster.shares, shares.iter().map(hex::encode).collect());
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.shares = base64;
    cluster.all_unsealed(&[0, 1, 2]).await;
    let leader = cluster.leader().await;
    all.extend(plant(&mut cluster).await.all());
    cluster.api(leader).must("PUT", "sys/seal", json!({})).await;
    is_clean(&cluster, leader, &Scanner::new(&all)).await;
    cluster.assert_alive();
}

/// A node that serves has keys and names in memory: otherwise nothing was looked for.
fn holds_marks(cluster: &Cluster, at: usize, scanner: &Scanner) {
    let (_, found) = memory::scan(cluster.nodes[at].pid(), scanner);
    assert!(
        !found.is_empty(),
        "a node that serves holds no key: nothing was looked for"
    );
}

/// Nothing is left, as soon as what was under way has ended.
async fn is_clean(cluster: &Cluster, at: usize, scanner: &Scanner) {
    let node = &cluster.nodes[at];
    eventually(
        &format!("no mark in the memory of {}", node.name),
        SOON,
        async || {
            let (bytes, found) = memory::scan(node.pid(), scanner);
            assert!(bytes > 1 << 20, "only {bytes} bytes of memory were looked at");
            if found.is_empty() {
                Ok(())
            } else {
                Err(Found(found))
            }
        },
    )
    .await;
    assert!(node.is_sealed().await);
}

/// One line for each hit.
struct Found(Vec<Hit>);

impl std::fmt::Debug for Found {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} hits", self.0.len())?;
        self.0.iter().try_for_each(|hit| write!(out, "\n{hit:?}"))
    }
}

/// Marked values and names, by gRPC, through every node.
async fn put_by_sdk(cluster: &mut Cluster) -> Vec<Vec<u8>> {
    let ca = std::fs::read(cluster.ca()).expect("the authority");
    let mut marks = Vec::new();
    for at in 0..cluster.nodes.len() {
        let kv = Conclave::connect([cluster.nodes[at].url.clone()])
            .ca_cert(ca.clone())
            .token(cluster.root.clone())
            .build()
            .expect("a client")
            .kv("secret");
        for _ in 0..BY_SDK {
            let (path, value) = (cluster.seed.text(24), cluster.seed.text(24));
            kv.put(&path, &json!({"value": value})).await.expect("a put");
            kv.get(&path).await.expect("a get");
            marks.extend([path.into_bytes(), value.into_bytes()]);
        }
    }
    marks
}
