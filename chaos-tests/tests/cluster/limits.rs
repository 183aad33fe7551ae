//! What takes minutes of real time: a rate limit holds for the cluster whichever nodes the load goes to, and a member that
//! stays dead is removed. `make chaos-limits` runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::harness::{Api, Cluster, SOON, eventually};

/// Requests that the limit lets pass in a second.
const RATE: u64 = 100;
/// How long the load lasts.
const LASTS: Duration = Duration::from_secs(20);
/// How many of it must pass: a second's worth at once, then as many each second; not many fewer, hardly more.
const PASS: std::ops::RangeInclusive<u64> = 1_900..=2_300;
/// Clients of each node: 90, 5 and 5 of a hundred requests.
const CLIENTS: [u32; 3] = [36, 2, 2];
/// Between two requests of one client: 400 a second of all.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_limits_hold_wherever_the_load_goes() {
    let mut cluster = Cluster::formed().await;
    let leader = cluster.leader().await;
    let api = cluster.api(leader);
    api.must("POST", "secret/data/limited", json!({"data": {"k": "v"}}))
        .await;
    let rule = json!({"rate": RATE, "path": "secret/data/limited"});
    api.must("POST", "sys/quotas/rate-limit/app", rule).await;
    // The node with most of the load leads in one run and follows in the other, in which leadership moves meanwhile.
    let others = cluster.others(leader);
    for (order, moves) in [
        ([leader, others[0], others[1]], false),
        ([others[0], leader, others[1]], true),
    ] {
        let passed = Arc::new(AtomicU64::new(0));
        let ends = Instant::now() + LASTS;
        let mut clients = JoinSet::new();
        for (node, count) in order.into_iter().zip(CLIENTS) {
            for number in 0..count {
                let first = Instant::now() + PAUSE * number / count;
                clients.spawn(load(cluster.api(node), (first, ends), Arc::clone(&passed)));
            }
        }
        if moves {
            // why: leadership moves in the middle of the load.
            sleep_until(ends - LASTS / 2).await;
            cluster
                .api(order[2])
                .must("PUT", "sys/step-down", json!({}))
                .await;
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client that does not fail");
        }
        let passed = passed.load(Ordering::SeqCst);
        eprintln!("{passed} of {RATE} a second for {LASTS:?} passed; leadership moved: {moves}");
        assert!(
            PASS.contains(&passed),
            "{passed} passed; leadership moved: {moves}"
        );
    }
    cluster.assert_alive();
}

/// Asks again and again until the end, and counts what passes.
async fn load(api: Api, (first, ends): (Instant, Instant), passed: Arc<AtomicU64>) {
    let mut turns = interval_at(first, PAUSE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while turns.tick().await < ends {
        match api.call("GET", "secret/data/limited", None).await {
            Ok(reply) if reply.is_good() => {
                passed.fetch_add(1, Ordering::SeqCst);
            }
            // Held back; or without a leader.
            Ok(reply) => assert!(matches!(reply.status, 429 | 503), "{}", reply.text()),
            Err(_) => {}
        }
    }
}

/// The shortest silence that counts as death.
const DEAD_AFTER: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_limits_how_long_the_dead_are_members() {
    let mut cluster = Cluster::formed().await;
    let fourth = cluster.add("node4", "c");
    cluster.nodes[fourth].start().await;
    cluster.join(fourth, 0).await;
    cluster.give_shares(&[fourth; 3]).await;
    cluster.all_unsealed(&[fourth]).await;
    cluster.voters(4).await;
    let settings = json!({
        "cleanup_dead_servers": true, "min_quorum": 3, "dead_server_last_contact_threshold": "1m",
    });
    cluster
        .api(0)
        .must("POST", "sys/storage/raft/autopilot/configuration", settings)
        .await;
    // Two die, one after the other; removed is only the one without which a quorum of three is left.
    for (victim, left) in [(fourth, 3), (2, 3)] {
        if cluster.leader().await == victim {
            let through = cluster.api(victim);
            through.must("PUT", "sys/step-down", json!({})).await;
        }
        let died = Instant::now();
        cluster.nodes[victim].kill();
        let leader = cluster.leader().await;
        if victim == fourth {
            eventually("the dead member is removed", DEAD_AFTER + SOON, async || {
                let servers = cluster.servers(leader).await?;
                if servers.len() == left {
                    Ok(())
                } else {
                    Err(format!("{servers:?}"))
                }
            })
            .await;
            let took = died.elapsed();
            eprintln!("removed after {took:?}");
            assert!(
                took >= DEAD_AFTER,
                "removed after {took:?}, while it might come back"
            );
        } else {
            // why: that nothing happens until then is what is shown.
            sleep_until(died + DEAD_AFTER + SOON / 2).await;
            let servers = cluster.servers(leader).await.expect("members");
            assert_eq!(servers.len(), left, "fewer than min_quorum: {servers:?}");
        }
        let value = json!({"data": {"value": victim}});
        cluster.api(leader).must("POST", "secret/data/after", value).await;
    }
    // Who was only away serves again.
    cluster.nodes[2].start().await;
    cluster.give_shares(&[2; 3]).await;
    cluster.all_unsealed(&[2]).await;
    cluster.voters(3).await;
    cluster.digests_agree().await;
}
