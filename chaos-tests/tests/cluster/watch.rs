//! Watches through followers: each write is told once and in order, whoever leads and whichever node is lost meanwhile.

use conclave_client::{Conclave, EventKind, Watch};
use serde_json::json;

use crate::harness::{Cluster, SOON};
use crate::sdk::{comes_back, connect};

/// Writes between two losses of a node.
const WRITES: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_watch() {
    let mut cluster = Cluster::formed().await;
    let leader = cluster.leader().await;
    let [near, other] = [(leader + 1) % 3, (leader + 2) % 3];
    let writer = connect(&mut cluster);
    // The first is asked first: a follower.
    let reader = client(&cluster, &[near, other, leader]);
    let mut watch = reader.kv("secret").watch("watched/", 0).await.expect("a watch");
    let start = watch.revision();
    let mut written = 0;
    write(&writer, &mut written).await;
    hears(&mut watch, 0..written).await;

    cluster.nodes[leader].kill();
    write(&writer, &mut written).await;
    hears(&mut watch, WRITES..written).await;

    comes_back(&mut cluster, leader).await;
    cluster.nodes[near].kill();
    write(&writer, &mut written).await;
    hears(&mut watch, 2 * WRITES..written).await;

    comes_back(&mut cluster, near).await;
    write(&writer, &mut written).await;
    hears(&mut watch, 3 * WRITES..written).await;
    // Each node has it all for whoever was away since the beginning, those too that were killed.
    for at in [0, 1, 2] {
        let kv = client(&cluster, &[at]).kv("secret");
        let mut watch = kv.watch("watched/", start).await.expect("a watch that resumes");
        hears(&mut watch, 0..written).await;
    }
    cluster.assert_alive();
}

/// A client that asks these nodes, the first of them first.
fn client(cluster: &Cluster, nodes: &[usize]) -> Conclave {
    let ca = std::fs::read(cluster.tls().join("ca.pem")).expect("the authority");
    Conclave::connect(nodes.iter().map(|at| cluster.nodes[*at].url.clone()))
        .ca_cert(ca)
        .token(cluster.root.clone())
        .build()
        .expect("a client")
}

/// Writes keys that nobody wrote before, one after the other, and others that nobody watches.
async fn write(client: &Conclave, written: &mut usize) {
    let kv = client.kv("secret");
    for _ in 0..WRITES {
        for path in [format!("watched/{written}"), format!("other/{written}")] {
            kv.put(&path, &json!({"n": *written})).await.expect("a write");
        }
        *written += 1;
    }
}

/// Hears of exactly these keys, in the order in which they were written.
async fn hears(watch: &mut Watch, keys: std::ops::Range<usize>) {
    let mut wanted = keys.clone();
    let mut revision = 0;
    while !wanted.is_empty() {
        let heard = tokio::time::timeout(SOON, watch.next()).await;
        let heard = heard.unwrap_or_else(|_| panic!("of {keys:?}, {wanted:?} were not told in time"));
        for event in heard.expect("what is told").events {
            let key = wanted.next().expect("no more than was written");
            assert_eq!(
                (event.mount.as_str(), event.path),
                ("secret/", format!("watched/{key}"))
            );
            assert_eq!((event.kind, event.versions), (EventKind::Written, vec![1]));
            assert!(event.revision > revision, "in order");
            revision = event.revision;
        }
    }
}
