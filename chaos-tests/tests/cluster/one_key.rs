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

/// So often it is begun anew where a leader was chosen meanwhile: without one nobody is served, whoever stands in whose way.
const ANEW: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_one_key() {
    let mut cluster = Cluster::formed().await;
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| text.parse().expect("seconds"));
    for round in 0.. {
        let path = format!("contended-{round}");
        let term = term(&cluster).await;
        match contend(&cluster, &path, Duration::from_secs(seconds)).await {
            Ok(acknowledged) => {
                let metadata = cluster.api(0).get(&format!("secret/metadata/{path}")).await;
                assert_eq!(metadata.body["data"]["current_version"], acknowledged);
                break;
            }
            Err(why) => {
                let elected = self::term(&cluster).await > term;
                assert!(elected && round < ANEW, "{why}");
                eprintln!("begun anew, for a leader was chosen meanwhile: {why}");
            }
        }
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// The newest term that a node knows of.
async fn term(cluster: &Cluster) -> u64 {
    let mut newest = 0;
    for node in &cluster.nodes {
        let metrics = node.metrics().await;
        let told = metrics
            .lines()
            .find_map(|line| line.strip_prefix("conclave_raft_term "));
        newest = newest.max(told.expect("a term").parse().expect("a number"));
    }
    newest
}

/// All write one key until the time is over; how many writes were taken, or the first that was not.
async fn contend(cluster: &Cluster, path: &str, lasts: Duration) -> Result<u64, String> {
    let until = Instant::now() + lasts;
    let apis = cluster.apis();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (api, path) = (apis[writer % apis.len()].clone(), format!("secret/data/{path}"));
        writers.spawn(async move {
            let (mut versions, mut slowest) = (Vec::new(), Duration::ZERO);
            while Instant::now() < until {
                let started = Instant::now();
                let body = json!({"data": {"writer": writer}});
                match api.write(&path, body).await {
                    Outcome::Acknowledged(data) => {
                        versions.push(data["version"].as_u64().expect("a version"))
                    }
                    other => {
                        return Err(format!(
                            "writer {writer}, after {:?}: {other:?}",
                            started.elapsed()
                        ));
                    }
                }
                slowest = slowest.max(started.elapsed());
            }
            Ok((versions, slowest))
        });
    }
    let (mut versions, mut slowest) = (Vec::new(), Duration::ZERO);
    for told in writers.join_all().await {
        let (some, took) = told?;
        versions.extend(some);
        slowest = slowest.max(took);
    }
    versions.sort_unstable();
    let acknowledged = versions.len() as u64;
    eprintln!("{acknowledged} writes in {lasts:?}, the slowest took {slowest:?}");
    assert!(acknowledged >= ENOUGH, "only {acknowledged} writes");
    let expected: Vec<u64> = (1..=acknowledged).collect();
    assert_eq!(
        versions, expected,
        "each acknowledged write has a version of its own"
    );
    Ok(acknowledged)
}
