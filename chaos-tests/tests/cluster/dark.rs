//! A cluster that was off for longer than anybody planned.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::harness::{Cluster, SOON, Writers, eventually};

/// More than a year: every certificate that is renewed yearly has ended.
const DAYS: u32 = 400;
/// Sealed nodes wait three election time-outs before one of them stands.
const CARETAKER: Duration = SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_dark_for_400_days() {
    let mut cluster = Cluster::formed().await;
    let writers = Writers::start(4, &cluster.apis(), &mut cluster.seed);
    writers.go_on(32).await;
    let journal = writers.finish().await;
    let wish = json!({"ttl": "1h", "policies": ["default"]});
    let short = cluster.api(0).must("POST", "auth/token/create", wish).await;
    drop(short);
    for at in 0..3 {
        cluster.nodes[at].stop().await;
    }
    for at in 0..3 {
        cluster.nodes[at].shift_clock(&format!("+{DAYS}d"));
        cluster.nodes[at].start().await;
    }

    // They know each other by their keys, sealed as they are, whatever the dates say.
    cluster.leader_within(CARETAKER).await;
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    let api = cluster.api(cluster.running()[1]);
    journal.is_found_by(&api).await;
    #[allow(
        clippy::disallowed_methods,
        reason = "the test's own clock, which nobody shifted"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let shifted = now.as_secs() + u64::from(DAYS - 1) * 86_400;
    eventually("the cluster's clock follows", SOON, async || {
        let health = api.get("sys/health").await;
        match health.body["server_time_utc"].as_u64() {
            Some(time) if time > shifted => Ok(()),
            time => Err(time),
        }
    })
    .await;
    the_ended_certificates_only_alarm(&cluster, shifted).await;
    let writers = Writers::start(4, &cluster.apis(), &mut cluster.seed);
    writers.go_on(32).await;
    writers.finish().await.is_found_by(&api).await;
    eventually("what ended meanwhile is removed", SOON, async || {
        let accessors = api.call("LIST", "auth/token/accessors", None).await;
        let left = accessors.expect("an answer").body["data"]["keys"].clone();
        if left.as_array().map(Vec::len) == Some(1) {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// Those of the listeners were made for a year; members' own have no end. Log and metric tell of it, and all goes on.
async fn the_ended_certificates_only_alarm(cluster: &Cluster, now: u64) {
    const METRIC: &str = "conclave_tls_cert_expiry_timestamp_seconds ";
    for node in &cluster.nodes {
        eventually("the log tells of the certificate", SOON, async || {
            let said = node.said();
            if said.contains("the listener's certificate has ended") {
                Ok(())
            } else {
                Err(said)
            }
        })
        .await;
        let metrics = node.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(METRIC));
        let end: u64 = line.expect("the metric").parse().expect("seconds");
        assert!(end > 0 && end < now, "{} ends at {end}", node.name);
    }
}
