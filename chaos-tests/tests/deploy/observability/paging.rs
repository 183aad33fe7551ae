//! Three nodes scraped by a real Prometheus: every number that rules and panels ask for is there, and a real Alertmanager
//! pages the right people while things go wrong one after the other.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::peers::{Pages, Peers};
use super::{ALERTS, DASHBOARD, RECORDING, metrics_in, recorded};
use crate::harness::{Cluster, SOON, conclave, eventually};
use crate::shell::{command, must, read};

const PASSWORD: &str = "open sesame";
/// Series that a node may have, whatever was asked of it.
const MAX_SERIES: usize = 5_000;
/// Told from the first lease of an engine on: which engines there are that can is not known before.
const LATER: [&str; 3] = [
    "conclave_leases_stuck",
    "conclave_lease_orphans_total",
    "conclave_lease_revocations_total",
];
/// What a panel shows 0 for as long as there is none: nothing is revoked or rotated at a target here. Of all other panels
/// that do so, what they ask for must have an answer of its own: else a misspelt name would show 0 for ever.
const NONE_HERE: [&str; 2] = ["conclave_leases_stuck", "conclave_rotation_lag_seconds_sum"];
/// What such a panel's query ends with.
const OR_ZERO: &str = " or on () vector(0)";

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
    one_node_after_the_other_goes(&mut cluster, &pages).await;
    cluster.assert_alive();
}

/// It is sealed, then down, then there is no quorum, then nobody.
async fn one_node_after_the_other_goes(cluster: &mut Cluster, pages: &Pages) {
    for alert in [
        "ConclaveNodeSealed",
        "ConclaveNodeDown",
        "ConclaveQuorumAtRisk",
        "ConclaveNoLeader",
        "ConclaveClusterDown",
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
    assert!(!pages.knows("ConclaveClusterDown"), "one of three answers");
    cluster.nodes[others[1]].kill();
    pages.paged("pager", "ConclaveClusterDown").await;
}

/// Lets somebody log in, and saves a snapshot.
async fn prepare(cluster: &Cluster) {
    must(
        command(conclave(), cluster.files())
            .args(["operator", "raft", "snapshot", "save"])
            .arg(cluster.files().join("saved.snap"))
            .env("VAULT_ADDR", &cluster.nodes[0].url)
            .env("VAULT_CACERT", cluster.ca())
            .env("VAULT_TOKEN", &cluster.root),
    );
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
        // An answer that counts as an error.
        let health = api.get("sys/health?activecode=503&standbycode=503").await;
        assert_eq!(health.status, 503);
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
    // No rule of this name has found anything that bad before: it pages all the same.
    root.must(
        "POST",
        "sys/anomaly/rules/bulk_read",
        json!({"min": 4, "severity": "critical"}),
    )
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
    let recorded = recorded();
    for file in [ALERTS, RECORDING, DASHBOARD, "docs/observability.md"] {
        for name in metrics_in(&read(file)) {
            if recorded.contains(&name) {
                continue;
            }
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
    let (mut queries, mut zeros) = (0, 0);
    for target in targets {
        let query = target["expr"].as_str().expect("a query");
        let query = query.replace("$job", "conclave");
        let alone = query.strip_suffix(OR_ZERO);
        let none = alone.filter(|alone| NONE_HERE.iter().any(|name| alone.contains(name)));
        zeros += usize::from(none.is_some());
        let query = alone.filter(|_| none.is_none()).unwrap_or(&query).to_owned();
        eventually(&format!("{query} has an answer"), SOON * 2, async || {
            peers.ask(&query).await
        })
        .await;
        queries += 1;
    }
    assert!(queries > 30, "{queries} queries");
    assert_eq!(zeros, NONE_HERE.len());
}
