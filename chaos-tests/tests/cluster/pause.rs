//! A leader that stands still, and goes on as if it still led.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Cluster, FAILOVER, SOON, Writers, eventually};

/// Rounds of freezing whoever leads.
const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_pause() {
    let mut cluster = Cluster::formed().await;
    let writers = Writers::start(8, &cluster.apis(), &mut cluster.seed);
    writers.go_on(16).await;
    for round in 0..ROUNDS {
        a_woken_leader_tells_no_old_news(&cluster, round).await;
        writers.go_on(16).await;
    }
    let journal = writers.finish().await;
    for api in cluster.apis() {
        journal.is_found_by(&api).await;
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

async fn a_woken_leader_tells_no_old_news(cluster: &Cluster, round: usize) {
    let leader = cluster.leader().await;
    let others = cluster.others(leader);
    let path = format!("secret/data/news-{round}");
    cluster
        .api(leader)
        .must("POST", &path, json!({"data": {"news": "old"}}))
        .await;
    cluster.nodes[leader].freeze();
    let frozen = Instant::now();
    let writer = cluster.api(others[0]);
    eventually("the others go on", FAILOVER, async || {
        let reply = writer
            .call("POST", &path, Some(json!({"data": {"news": "new"}})))
            .await;
        match reply {
            Ok(reply) if reply.is_good() => Ok(()),
            other => Err(other),
        }
    })
    .await;
    eprintln!(
        "round {round}: {} stood still; next write after {:?}",
        cluster.nodes[leader].name,
        frozen.elapsed()
    );
    // The questions wait in its sockets: the first thing it does awake is to answer them.
    let api = cluster.api(leader);
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let (api, path) = (api.clone(), path.clone());
            tokio::spawn(async move { api.call("GET", &path, None).await })
        })
        .collect();
    tokio::task::yield_now().await;
    cluster.nodes[leader].thaw();
    for answer in asked {
        let Ok(reply) = answer.await.expect("a question") else {
            continue;
        };
        match reply.status {
            200 => assert_eq!(
                reply.body["data"]["data"]["news"], "new",
                "a stale read of a woken leader"
            ),
            503 | 504 => {}
            _ => panic!("{}", reply.text()),
        }
    }
    eventually("the woken node serves again", SOON, async || {
        let reply = api.call("GET", &path, None).await;
        match reply {
            Ok(reply) if reply.status == 200 => {
                assert_eq!(reply.body["data"]["data"]["news"], "new");
                Ok(())
            }
            other => Err(other),
        }
    })
    .await;
    cluster.leader().await;
}
