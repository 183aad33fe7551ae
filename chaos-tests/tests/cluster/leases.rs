//! Accounts in a real PostgreSQL while leaders are killed, paused and sealed at each step of making and of dropping one. In the
//! end the accounts there are those that have a lease, neither more nor fewer.

mod certificates;
mod clocks;
mod door;
mod kinds;
#[path = "../../../targets/tests/servers/launch.rs"]
mod launch;
#[path = "../../../targets/tests/servers/mariadb.rs"]
#[allow(dead_code, reason = "drivers are tried with the rest")]
mod mariadb;
#[path = "../../../targets/tests/servers/pki.rs"]
#[allow(dead_code, reason = "drivers are tried with the rest")]
mod pki;
#[path = "../../../targets/tests/servers/postgres_server.rs"]
pub mod postgres;
mod rabbitmq;
#[path = "../../../targets/tests/servers/rabbitmq_server.rs"]
#[allow(dead_code, reason = "drivers are tried with the rest")]
mod rabbitmq_server;
#[path = "../../../targets/tests/servers/redis_server.rs"]
#[allow(dead_code, reason = "drivers are tried with the rest")]
mod redis;
mod rotations;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Api, Cluster, SOON, eventually};
use postgres::{PASSWORD, Postgres, ROOT};

/// Set to try every step with every fault.
const ALL: &str = "CONCLAVE_CHAOS_LEASES";
/// For an intent that nobody finished: the time it has, the sweep, and a loaded machine.
const QUIET: Duration = Duration::from_secs(60);
const CREDS: &str = "database/creds/app";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Kill,
    Pause,
    Seal,
}

/// Steps of making an account, and of dropping one.
const MAKING: [&str; 4] = ["after-intent", "after-create", "before-active", "after-active"];
const DROPPING: [&str; 3] = ["after-revoking", "after-drop", "after-ended"];

/// Each step once and each fault more than once.
const FEW: [(&str, Fault); 5] = [
    ("after-create", Fault::Kill),
    ("after-revoking", Fault::Pause),
    ("after-intent", Fault::Pause),
    ("after-drop", Fault::Kill),
    ("after-active", Fault::Seal),
];

fn cases() -> Vec<(&'static str, Fault)> {
    if std::env::var_os(ALL).is_none() {
        return FEW.to_vec();
    }
    let faults = [Fault::Kill, Fault::Pause, Fault::Seal];
    let points = MAKING.iter().chain(&DROPPING);
    points
        .flat_map(|point| faults.map(|fault| (*point, fault)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_faults() {
    let server = Postgres::start().await;
    let mut cluster = Cluster::formed().await;
    configure(&cluster.api(0), &server.url(), "1h").await;
    let mut kept = Vec::new();
    for at in 0..3 {
        kept.push(issued(&cluster.api(at)).await);
    }
    for (point, fault) in cases() {
        eprintln!("{fault:?} {point}");
        strike(&mut cluster, CREDS, point, fault).await;
    }
    let api = cluster.api(0);
    accounts_have_leases(&server, &api).await;
    for (username, password) in &kept {
        server
            .query_as(username, password, "SELECT 1")
            .expect("a live lease's account works");
    }
    // The credential ends with its lease, and not by itself: nothing here has a VALID UNTIL.
    api.must("PUT", "sys/leases/revoke-prefix/database", json!({}))
        .await;
    eventually("no account is left", QUIET, async || match server.accounts() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    })
    .await;
    for (username, password) in &kept {
        assert!(server.query_as(username, password, "SELECT 1").is_err());
    }
    assert!(leases(&api).await.is_empty());
    cluster.assert_alive();
    cluster.digests_agree().await;
}

/// The target is down while leases fall due; when it is back they are gone, and the root password that changed meanwhile by a
/// rotation is no hindrance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_target_down() {
    let mut server = Postgres::start().await;
    let cluster = Cluster::formed().await;
    let api = cluster.api(1);
    configure(&api, &server.url(), "5s").await;
    certificates::let_in(&mut server, &api).await;
    for _ in 0..4 {
        issued(&api).await;
    }
    server.stop();
    eventually("revocations fail and are told of", QUIET, async || {
        let told = api.get("sys/leases?type=irrevocable").await.body;
        match told["data"]["lease_count"].as_u64() {
            Some(count) if count > 0 => Ok(()),
            _ => Err(told),
        }
    })
    .await;
    let refused = api.get(CREDS).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    server.run().await;
    eventually("all are gone", QUIET, async || {
        match (server.accounts(), leases(&api).await) {
            (accounts, leases) if accounts.is_empty() && leases.is_empty() => Ok(()),
            left => Err(left),
        }
    })
    .await;

    // The root password is changed behind our back: no lease is made, and the error says why.
    let change = format!("ALTER ROLE {ROOT} PASSWORD 'another'");
    server
        .query_as(ROOT, PASSWORD, &change)
        .expect("PostgreSQL answers");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL";
    server.query_as(ROOT, "another", end).expect("PostgreSQL answers");
    let refused = api.get(CREDS).await;
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().contains("password authentication failed"),
        "{}",
        refused.text()
    );
    assert!(leases(&api).await.is_empty());
    let told = json!({"password": "another"});
    api.must("PUT", "database/config/pg", told).await;
    issued(&api).await;
    api.must("PUT", "database/rotate-root/pg", json!({})).await;
    assert!(
        server.query_as(ROOT, "another", "SELECT 1").is_err(),
        "nobody knows it now"
    );
    issued(&api).await;
}

async fn configure(api: &Api, url: &str, ttl: &str) {
    api.must("POST", "sys/mounts/database", json!({"type": "database"}))
        .await;
    let connection = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "app", "connection_url": url,
        "username": ROOT, "password": PASSWORD,
    });
    api.must("POST", "database/config/pg", connection).await;
    let role = json!({
        "db_name": "pg", "default_ttl": ttl, "max_ttl": "2h",
        "creation_statements": "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO \"{{name}}\"",
    });
    api.must("POST", "database/roles/app", role).await;
}

async fn issued(api: &Api) -> (String, String) {
    issued_by(api, CREDS).await
}

async fn issued_by(api: &Api, creds: &str) -> (String, String) {
    let reply = api.get(creds).await;
    let text = |name: &str| reply.body["data"][name].as_str().map(str::to_owned);
    match (text("username"), text("password")) {
        (Some(username), Some(password)) => (username, password),
        _ => panic!("no credential: {}", reply.text()),
    }
}

async fn leases(api: &Api) -> Vec<Value> {
    leases_of(api, CREDS).await
}

async fn leases_of(api: &Api, creds: &str) -> Vec<Value> {
    let path = format!("sys/leases/lookup/{creds}");
    let listed = api.call("LIST", &path, None).await.expect("an answer");
    assert!(matches!(listed.status, 200 | 404), "{}", listed.text());
    listed.body["data"]["keys"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// Stops the leader at a step, strikes it, and waits until all is as before.
async fn strike(cluster: &mut Cluster, creds: &str, point: &str, fault: Fault) {
    let leader = cluster.leader().await;
    let api = cluster.api(leader);
    let asked = if MAKING.contains(&point) {
        cluster.nodes[leader].arm(point);
        let creds = creds.to_owned();
        tokio::spawn(async move { api.call("GET", &creds, None).await.map(|_| ()) })
    } else {
        let lease = api.get(creds).await.body["lease_id"].clone();
        cluster.nodes[leader].arm(point);
        let wish = json!({"lease_id": lease});
        tokio::spawn(async move { api.call("PUT", "sys/leases/revoke", Some(wish)).await.map(|_| ()) })
    };
    stands(cluster, leader, point).await;
    hit(cluster, leader, point, fault).await;
    // It was answered, or cut off: both are told to whoever asked.
    let _ = asked.await;
    cluster.all_unsealed(&cluster.running()).await;
    cluster.leader().await;
}

/// Waits until a node stands at a step.
async fn stands(cluster: &Cluster, at: usize, point: &str) {
    let node = &cluster.nodes[at];
    eventually("the step is reached", SOON, async || {
        match node.stands_at(point) {
            true => Ok(()),
            false => Err(point),
        }
    })
    .await;
}

/// Strikes a leader that stands at a step, and lets what is left of it go on.
async fn hit(cluster: &mut Cluster, leader: usize, point: &str, fault: Fault) {
    match fault {
        Fault::Kill => {
            cluster.nodes[leader].kill();
            cluster.nodes[leader].pass(point);
            cluster.leader().await;
            cluster.nodes[leader].start().await;
            cluster.give_shares(&[leader; 3]).await;
        }
        Fault::Seal => {
            cluster.api(leader).must("PUT", "sys/seal", json!({})).await;
            cluster.nodes[leader].pass(point);
            cluster.give_shares(&[leader; 3]).await;
        }
        Fault::Pause => {
            cluster.nodes[leader].freeze();
            another_leads(cluster, leader).await;
            cluster.nodes[leader].pass(point);
            cluster.nodes[leader].thaw();
        }
    }
}

/// Waits until another node than this one leads.
async fn another_leads(cluster: &Cluster, than: usize) {
    let other = (than + 1) % cluster.nodes.len();
    eventually("another leads", SOON, async || {
        let told = cluster.nodes[other].api.get("sys/leader").await.body;
        match told["leader_address"].as_str() {
            Some(address) if !address.is_empty() && address != cluster.nodes[than].url => Ok(()),
            _ => Err(told),
        }
    })
    .await;
}

/// Waits until the accounts are those with a lease.
async fn accounts_have_leases(server: &Postgres, api: &Api) {
    eventually("the accounts are those with a lease", QUIET, async || {
        let (accounts, leases) = (server.accounts(), leases(api).await);
        match accounts.len() == leases.len() {
            true => Ok(()),
            false => Err((accounts, leases)),
        }
    })
    .await;
}
