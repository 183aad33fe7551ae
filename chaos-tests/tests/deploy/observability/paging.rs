//! Three nodes scraped by a real Prometheus: every number that rules and panels ask for is there, and a real Alertmanager
//! pages the right people while things go wrong one after the other.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::peers::{Pages, Peers};
use super::{ALERTS, DASHBOARD, RECORDING, metrics_in};
use crate::harness::{Cluster, SOON, eventually};
use crate::shell::read;

const PASSWORD: &str = "open sesame";
/// Series that a node may have, whatever was asked of it.
const MAX_SERIES: usize = 5_000;
/// Told from the first time on that an engine has one: which engines there are that can is not known before.
const LATER: [&str; 2] = ["conclave_leases_stuck", "conclave_lease_orphans_total"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_that_is_scraped_pages() {
    let mut cluster = Cluster::prepared(3);
    cluster.nodes[2].configure("telemetry {\n  vault_names = true\n}");
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.form().await;
    let folder = cluster.files().join("peers");
    std::fs::create_dir_all(&folder).expect("a folder");
    let pages = Pages::default();
    let targets: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| node.operations.replace("http://", ""))
        .collect();
    let peers = Peers::start(&folder, &[("conclave", targets)], pages.listen().await);
    prepare(&cluster).await;
    work(&cluster).await;
    eventually("all nodes are scraped", SOON, async || {
        let up = peers.ask("sum(up)").await?;
        if up == [3.0] {
            Ok(())
        } else {
            Err(format!("{up:?}"))
        }
    })
    .await;

    // Once more: rates are of what grows between two scrapes.
    work(&cluster).await;
    every_number_that_is_asked_for_is_told(&cluster).await;
    let vaults = "\nvault_core_unsealed 1\n";
    assert!(cluster.nodes[2].metrics().await.contains(vaults));
    assert!(
        !cluster.nodes[0].metrics().await.contains(vaults),
        "only where it is wished for"
    );
    every_panel_shows_something(&peers).await;
    pages.paged("tickets", "ConclaveAuditMissing").await;
    attack(&cluster).await;
    for alert in [
        "ConclavePasswordSpray",
        "ConclaveDeniedSpike",
        "ConclaveTokenGuessing",
        "ConclaveAnomalyAuthFailureBurst",
        "ConclaveAnomalyBulkRead",
        "ConclaveAnomalyCanaryRead",
    ] {
        pages.paged("security", alert).await;
    }
    pages.paged("pager", "ConclavePasswordSpray").await;

    // One node after the other goes: it is sealed, then down, then there is no quorum.
    for alert in [
        "ConclaveNodeSealed",
        "ConclaveNodeDown",
        "ConclaveQuorumAtRisk",
        "ConclaveNoLeader",
    ] {
        assert!(!pages.knows(alert), "{alert} before its time");
    }
    let leader = cluster.leader().await;
    let others = cluster.others(leader);
    cluster.api(others[0]).must("PUT", "sys/seal", Value::Null).await;
    pages.paged("tickets", "ConclaveNodeSealed").await;
    cluster.nodes[others[0]].kill();
    pages.paged("tickets", "ConclaveNodeDown").await;
    pages.paged("pager", "ConclaveQuorumAtRisk").await;
    pages.paged("pager", "ConclaveZoneLost").await;
    assert!(!pages.knows("ConclaveNoLeader"), "two of three agree");
    cluster.nodes[leader].kill();
    pages.paged("pager", "ConclaveNoLeader").await;
    cluster.assert_alive();
}

/// Lets somebody log in.
async fn prepare(cluster: &Cluster) {
    let root = cluster.api(0);
    root.must("POST", "sys/auth/userpass", json!({"type": "userpass"}))
        .await;
    root.must("POST", "auth/userpass/users/xadax", json!({"password": PASSWORD}))
        .await;
}

/// Some of each kind of work, so that there is something to count.
async fn work(cluster: &Cluster) {
    for api in cluster.apis() {
        for number in 0..5 {
            let value = json!({"data": {"n": number}});
            api.must("POST", "secret/data/xcellarx", value).await;
            api.get("secret/data/xcellarx").await;
        }
        let password = json!({"password": PASSWORD});
        api.with_token("")
            .must("POST", "auth/userpass/login/xadax", password)
            .await;
    }
    cluster
        .api(0)
        .must("POST", "auth/token/create", json!({"ttl": "1s"}))
        .await;
}

/// Passwords are tried at all nodes, a stolen token reads at each of them, one of it what nobody should; a token asks for what
/// it may not have, and tokens are guessed.
async fn attack(cluster: &Cluster) {
    let root = cluster.api(0);
    // Who is new may do five times that.
    root.must("POST", "sys/anomaly/rules/bulk_read", json!({"min": 4}))
        .await;
    root.must("POST", "sys/anomaly/canaries/secret/stolen0", json!({}))
        .await;
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"});
    root.must("POST", "sys/policies/acl/reader", policy).await;
    let made = root.call("POST", "auth/token/create", Some(json!({"policies": ["reader"]})));
    let made = made.await.expect("an answer");
    let stolen = made.body["auth"]["client_token"].as_str().expect("a token");
    for number in 0..24 {
        let path = format!("secret/data/stolen{number}");
        root.must("POST", &path, json!({"data": {"n": number}})).await;
        let api = &cluster.nodes[number % cluster.nodes.len()].api;
        assert!(api.with_token(stolen).get(&path).await.is_good());
    }
    let made = cluster
        .api(0)
        .call(
            "POST",
            "auth/token/create",
            Some(json!({"policies": ["default"]})),
        )
        .await
        .expect("an answer");
    let weak = made.body["auth"]["client_token"].as_str().expect("a token");
    for number in 0..30 {
        let api = cluster.nodes[number % cluster.nodes.len()].api.clone();
        let path = format!("auth/userpass/login/user{number}");
        let guess = json!({"password": "123456"});
        let login = api.call("POST", &path, Some(guess)).await.expect("an answer");
        assert!(!login.is_good(), "{}", login.text());
        for _ in 0..2 {
            assert_eq!(api.with_token(weak).get("secret/data/xcellarx").await.status, 403);
        }
        for _ in 0..4 {
            assert_eq!(
                api.with_token("hvs.guess")
                    .get("secret/data/xcellarx")
                    .await
                    .status,
                403
            );
        }
    }
}

/// What rules and panels ask for is told by a node, and so is what the document lists; and there are not too many.
async fn every_number_that_is_asked_for_is_told(cluster: &Cluster) {
    let page = cluster.nodes[0].metrics().await;
    let told: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for file in [ALERTS, RECORDING, DASHBOARD, "docs/observability.md"] {
        for name in metrics_in(&read(file)) {
            // Histograms are told once, and asked for their sums and counts.
            let whole = name.strip_suffix("_sum").or(name.strip_suffix("_count"));
            let known = told.contains(name.as_str()) || whole.is_some_and(|whole| told.contains(whole));
            let known = known || LATER.contains(&name.as_str());
            assert!(known, "{file} asks for {name}, which no node tells");
        }
    }
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    eprintln!("{series} series, {} bytes", page.len());
    assert!(series < MAX_SERIES, "{series} series");
    for hidden in ["xcellarx", "xadax", "127.0.0.1", "node1"] {
        assert!(!page.contains(hidden), "{hidden} is a label");
    }
}

/// Each query of the dashboard has an answer, and each of its values is a number.
async fn every_panel_shows_something(peers: &Peers) {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut queries = 0;
    for target in targets {
        let query = target["expr"].as_str().expect("a query");
        let query = query.replace("$job", "conclave");
        eventually(&format!("{query} has an answer"), SOON * 2, async || {
            peers.ask(&query).await
        })
        .await;
        queries += 1;
    }
    assert!(queries > 30, "{queries} queries");
}
