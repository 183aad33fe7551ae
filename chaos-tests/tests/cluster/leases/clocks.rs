//! Leases while one node's clock is wrong by an hour or ten years, and leases whose time came while everything was down or
//! sealed: none ends early, none stays, and none of a live lease is touched.

use std::time::{Duration, Instant};

use serde_json::json;

use super::postgres::Postgres;
use super::{ALL, QUIET, configure, issued};
use crate::harness::{Api, Cluster, eventually};

/// Life of what is to end soon.
const SHORT: Duration = Duration::from_secs(12);
/// By how much one node is wrong.
const FEW: [&str; 1] = ["+3650d"];
const MORE: [&str; 3] = ["-1h", "+1h", "-3650d"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_clocks() {
    let server = Postgres::start().await;
    let mut cluster = Cluster::formed().await;
    configure(&cluster.api(0), &server.url(), "1h").await;
    let brief = json!({
        "db_name": "pg", "default_ttl": SHORT.as_secs(), "max_ttl": "2h",
        "creation_statements": "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'",
    });
    let api = cluster.api(0);
    api.must("POST", "database/config/pg", json!({"allowed_roles": "*"}))
        .await;
    api.must("POST", "database/roles/brief", brief).await;
    let kept = issued(&api).await;

    let mut shifts = FEW.to_vec();
    if std::env::var_os(ALL).is_some() {
        shifts.extend(MORE);
    }
    for shift in shifts {
        wrong_clock(&mut cluster, &server, shift, &kept.0).await;
    }
    for down in [true, false] {
        nobody_there(&mut cluster, &server, down, &kept.0).await;
    }
    server
        .query_as(&kept.0, &kept.1, "SELECT 1")
        .expect("a live lease's account works");
    cluster.assert_alive();
}

/// One node is wrong by `shift`, and is given every chance to lead.
async fn wrong_clock(cluster: &mut Cluster, server: &Postgres, shift: &str, kept: &str) {
    eprintln!("clock {shift}");
    let wrong = (cluster.leader().await + 1) % 3;
    cluster.nodes[wrong].kill();
    cluster.nodes[wrong].shift_clock(shift);
    cluster.nodes[wrong].start().await;
    cluster.give_shares(&[wrong; 3]).await;
    cluster.all_unsealed(&[wrong]).await;
    // It is given every chance to lead; if it hands leadership on, that is well too.
    for _ in 0..3 {
        let led = cluster.leader().await;
        if led == wrong {
            break;
        }
        let _ = cluster
            .api(led)
            .call("PUT", "sys/step-down", Some(json!({})))
            .await;
    }
    cluster.leader().await;
    let begun = Instant::now();
    let ending = brief_one(&cluster.api(wrong)).await;
    let there = server.accounts().contains(&ending);
    assert!(
        there || begun.elapsed() >= SHORT,
        "not before its time, whoever leads"
    );
    gone(server, &[ending], kept).await;
    cluster.nodes[wrong].kill();
    cluster.nodes[wrong].correct_clock();
    cluster.nodes[wrong].start().await;
    cluster.give_shares(&[wrong; 3]).await;
    cluster.all_unsealed(&cluster.running()).await;
}

/// Leases fall due while all nodes are down, or sealed.
async fn nobody_there(cluster: &mut Cluster, server: &Postgres, down: bool, kept: &str) {
    let (ending, begun) = loop {
        let api = cluster.api(cluster.leader().await);
        let begun = Instant::now();
        let ending = [brief_one(&api).await, brief_one(&api).await];
        match down {
            true => (0..3).for_each(|at| cluster.nodes[at].kill()),
            false => {
                let wish = json!({"cluster": true});
                let _ = api.call("PUT", "sys/seal", Some(wish)).await;
                cluster.all_sealed(&[0, 1, 2]).await;
            }
        }
        if begun.elapsed() < SHORT {
            break (ending, begun);
        }
        // Their time may have come before: somebody was there.
        come_back(cluster, down).await;
    };
    // why: their time is to come while nobody can do anything about it
    tokio::time::sleep_until((begun + SHORT * 2).into()).await;
    let accounts = server.accounts();
    assert!(
        ending.iter().all(|name| accounts.contains(name)),
        "nobody was there to drop them: {accounts:?}"
    );
    come_back(cluster, down).await;
    gone(server, &ending, kept).await;
}

/// All are there again, with keys.
async fn come_back(cluster: &mut Cluster, down: bool) {
    if down {
        for at in 0..3 {
            cluster.nodes[at].start().await;
        }
    }
    cluster.give_shares(&[0, 1, 2]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
}

async fn brief_one(api: &Api) -> String {
    let reply = api.get("database/creds/brief").await;
    let username = reply.body["data"]["username"].as_str();
    username
        .unwrap_or_else(|| panic!("no credential: {}", reply.text()))
        .to_owned()
}

/// Waits until these accounts are gone; one whose lease lives must be there all the while.
async fn gone(server: &Postgres, ending: &[String], kept: &str) {
    eventually("what is due is dropped", QUIET, async || {
        let accounts = server.accounts();
        assert!(accounts.iter().any(|name| name == kept), "{accounts:?}");
        match accounts.iter().any(|name| ending.contains(name)) {
            true => Err(accounts),
            false => Ok(()),
        }
    })
    .await;
}
