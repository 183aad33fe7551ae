//! Sixty-four writers of one key, over all nodes at once: each write is taken, and each is a version.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Cluster, Outcome};

const WRITERS: usize = 64;
/// How long they write, in seconds.
const SECONDS_VARIABLE: &str = "CONCLAVE_CHAOS_SECONDS";
const SECONDS: u64 = 30;
/// Writes that must have been taken, or nobody stood in another's way.
const ENOUGH: u64 = WRITERS as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_one_key() {
    let mut cluster = Cluster::formed().await;
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| text.parse().expect("seconds"));
    let until = Instant::now() + Duration::from_secs(seconds);
    let apis = cluster.apis();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let api = apis[writer % apis.len()].clone();
        writers.spawn(async move {
            let (mut versions, mut slowest) = (Vec::new(), Duration::ZERO);
            while Instant::now() < until {
                let started = Instant::now();
                let body = json!({"data": {"writer": writer}});
                match api.write("secret/data/contended", body).await {
                    Outcome::Acknowledged(data) => {
                        versions.push(data["version"].as_u64().expect("a version"))
                    }
                    other => panic!("writer {writer}, after {:?}: {other:?}", started.elapsed()),
                }
                slowest = slowest.max(started.elapsed());
            }
            (versions, slowest)
        });
    }
    let (mut versions, mut slowest) = (Vec::new(), Duration::ZERO);
    for (some, took) in writers.join_all().await {
        versions.extend(some);
        slowest = slowest.max(took);
    }
    versions.sort_unstable();
    let acknowledged = versions.len() as u64;
    eprintln!("{acknowledged} writes in {seconds} s, the slowest took {slowest:?}");
    assert!(acknowledged >= ENOUGH, "only {acknowledged} writes");
    let expected: Vec<u64> = (1..=acknowledged).collect();
    assert_eq!(
        versions, expected,
        "each acknowledged write has a version of its own"
    );
    let metadata = cluster.api(0).get("secret/metadata/contended").await;
    assert_eq!(metadata.body["data"]["current_version"], acknowledged);
    cluster.digests_agree().await;
    cluster.assert_alive();
}
