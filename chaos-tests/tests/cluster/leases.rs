//! Accounts in a real PostgreSQL while leaders are killed, paused and sealed at each step of making and of dropping one. In the
//! end the accounts there are those that have a lease, neither more nor fewer.

mod certificates;
mod clocks;
mod door;
mod kinds;
mod kubernetes;
#[path = "../../../targets/tests/servers/kubernetes_server.rs"]
#[allow(dead_code, reason = "drivers are tried with the rest")]
mod kubernetes_server;
#[path = "../../../targets/tests/servers/launch.rs"]
mod launch;
mod many;
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
mod roles;
mod rotations;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Api, Cluster, Lost, Node, Reply, SOON, eventually};
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

/// Steps of making an account; the others are of dropping one.
const MAKING: [&str; 4] = ["after-intent", "after-create", "before-active", "after-active"];

/// What accounts are made in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Postgresql,
    MariaDb,
    Redis,
    RabbitMq,
    Kubernetes,
}

/// A target that can be stopped.
trait Target {
    fn stop(&mut self);
    async fn run(&mut self);
}

impl Target for Postgres {
    fn stop(&mut self) {
        self.stop();
    }

    async fn run(&mut self) {
        self.run().await;
    }
}

/// Where a leader is struck and how, and whether the target is down meanwhile.
#[derive(Debug, Clone, Copy)]
struct Strike {
    point: &'static str,
    fault: Fault,
    down: bool,
}

/// Every step with every fault once, on one kind of target, so that each step, each fault and each kind is met with the target
/// up and down, and each kind with each fault.
const FEW: [(Kind, &str, Fault, bool); 21] = [
    (Kind::Postgresql, "after-intent", Fault::Kill, true),
    (Kind::MariaDb, "after-intent", Fault::Pause, false),
    (Kind::Redis, "after-intent", Fault::Seal, true),
    (Kind::Redis, "after-create", Fault::Kill, false),
    (Kind::Postgresql, "after-create", Fault::Pause, true),
    (Kind::RabbitMq, "after-create", Fault::Seal, false),
    (Kind::MariaDb, "before-active", Fault::Kill, true),
    (Kind::Kubernetes, "before-active", Fault::Pause, false),
    (Kind::Postgresql, "before-active", Fault::Seal, false),
    (Kind::RabbitMq, "after-active", Fault::Kill, false),
    (Kind::Redis, "after-active", Fault::Pause, true),
    (Kind::MariaDb, "after-active", Fault::Seal, false),
    (Kind::Postgresql, "after-revoking", Fault::Kill, false),
    (Kind::MariaDb, "after-revoking", Fault::Pause, true),
    (Kind::Kubernetes, "after-revoking", Fault::Seal, false),
    (Kind::Kubernetes, "after-drop", Fault::Kill, true),
    (Kind::Redis, "after-drop", Fault::Pause, false),
    (Kind::RabbitMq, "after-drop", Fault::Seal, true),
    (Kind::Redis, "after-ended", Fault::Kill, true),
    (Kind::RabbitMq, "after-ended", Fault::Pause, false),
    (Kind::Postgresql, "after-ended", Fault::Seal, false),
];

/// Those on one kind of target.
fn strikes(on: Kind) -> Vec<Strike> {
    let mut strikes = Vec::new();
    for (kind, point, fault, down) in FEW {
        let strike = Strike { point, fault, down };
        if std::env::var_os(ALL).is_some() {
            strikes.extend([false, true].map(|down| Strike { down, ..strike }));
        } else if kind == on {
            strikes.push(strike);
        }
    }
    strikes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_faults() {
    let mut server = Postgres::start().await;
    let mut cluster = Cluster::formed().await;
    configure(&cluster.api(0), &server.url(), "1h").await;
    let mut kept = Vec::new();
    for at in 0..3 {
        kept.push(issued(&cluster.api(at)).await);
    }
    for case in strikes(Kind::Postgresql) {
        strike(&mut cluster, &mut server, CREDS, case).await;
    }
    let api = cluster.api(0);
    accounts_have_leases(&server, &api).await;
    for (username, password) in &kept {
        server
            .query_as(username, password, "SELECT 1")
            .expect("a live lease's account works");
    }
    lives_as_long_as_its_lease(&server, &api).await;
    // The credential ends with its lease, and not by itself: nothing of these has a VALID UNTIL.
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

/// The database itself is told of the end, and of each renewal. After it, or when it is taken back, nobody is let in.
async fn lives_as_long_as_its_lease(server: &Postgres, api: &Api) {
    api.must("POST", "database/config/pg", json!({"allowed_roles": "*"}))
        .await;
    for (name, ttl) in [("dated", "1h"), ("brief", "3s")] {
        let role = json!({
            "db_name": "pg", "default_ttl": ttl, "max_ttl": "3h",
            "creation_statements": "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
        });
        api.must("POST", &format!("database/roles/{name}"), role).await;
    }
    let dated = api.get("database/creds/dated").await.body;
    let hours_left = || {
        let name = dated["data"]["username"].as_str().expect("an account");
        let query = format!(
            "SELECT round(extract(epoch FROM rolvaliduntil - now()) / 3600) FROM pg_roles WHERE rolname = '{name}'"
        );
        server
            .query_as(ROOT, PASSWORD, &query)
            .expect("PostgreSQL answers")
    };
    assert_eq!(hours_left(), "1");
    let wish = json!({"lease_id": dated["lease_id"], "increment": "2h"});
    api.must("PUT", "sys/leases/renew", wish).await;
    assert_eq!(hours_left(), "2");
    let wish = json!({"lease_id": dated["lease_id"], "sync": true});
    api.must("PUT", "sys/leases/revoke", wish).await;
    assert_eq!(hours_left(), "", "it is gone when that is answered");

    let (user, password) = issued_by(api, "database/creds/brief").await;
    eventually("its time comes", SOON, async || {
        match server.query_as(&user, &password, "SELECT 1") {
            Err(text) if text.contains("authentication failed") => Ok(()),
            other => Err(other),
        }
    })
    .await;
    eventually("it is dropped", SOON, async || match server.accounts() {
        accounts if accounts.contains(&user) => Err(accounts),
        _ => Ok(()),
    })
    .await;
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

/// Asks for a credential; Kubernetes' are made by a write.
async fn ask(api: &Api, creds: &str) -> Result<Reply, Lost> {
    match creds.starts_with("kubernetes/") {
        true => api.call("POST", creds, Some(json!({}))).await,
        false => api.call("GET", creds, None).await,
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
async fn strike(cluster: &mut Cluster, target: &mut impl Target, creds: &str, strike: Strike) {
    eprintln!("{creds} {strike:?}");
    let Strike { point, fault, down } = strike;
    let (leader, asked) = loop {
        let leader = cluster.leader().await;
        let api = cluster.api(leader);
        let (creds, wish) = if MAKING.contains(&point) {
            (creds.to_owned(), None)
        } else {
            let made = ask(&api, creds).await.expect("an answer");
            let lease = made.body["lease_id"].clone();
            (String::new(), Some(json!({"lease_id": lease})))
        };
        cluster.nodes[leader].arm(point);
        let asked = tokio::spawn(async move {
            match wish {
                None => ask(&api, &creds).await,
                revoke => api.call("PUT", "sys/leases/revoke", revoke).await,
            }
        });
        if stands(cluster, leader, point).await {
            break (leader, asked);
        }
        let _ = asked.await;
    };
    if down {
        target.stop();
    }
    hit(cluster, leader, point, fault).await;
    // It was answered, or cut off: both are told to whoever asked.
    let _ = asked.await;
    cluster.all_unsealed(&cluster.running()).await;
    cluster.leader().await;
    if down {
        target.run().await;
    }
}

/// Waits until a node that leads stands at a step; false if it leads no more before that, and the step is another's.
pub async fn stands(cluster: &Cluster, at: usize, point: &str) -> bool {
    let node = &cluster.nodes[at];
    eventually("the step is reached", SOON, async || {
        if node.stands_at(point) {
            return Ok(true);
        }
        let told = node.api.get("sys/leader").await.body;
        match told["leader_address"].as_str() {
            Some(led) if !led.is_empty() && led != node.url => Ok(!node.disarm(point)),
            _ => Err(point),
        }
    })
    .await
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
            let dropped = drops(&cluster.nodes[leader]).await;
            cluster.nodes[leader].freeze();
            another_leads(cluster, leader).await;
            cluster.nodes[leader].pass(point);
            cluster.nodes[leader].thaw();
            if point == "after-revoking" {
                follows(cluster, leader).await;
                let since = drops(&cluster.nodes[leader]).await;
                assert_eq!(since, dropped, "a woken leader begins nothing");
            }
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

/// How often a node had an account dropped.
async fn drops(node: &Node) -> u64 {
    let metrics = node.metrics().await;
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("conclave_target_calls_total{") && line.contains("action=\"drop\""));
    let count = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|count| count.parse::<u64>().ok())
    };
    counted.filter_map(count).sum()
}

/// Waits until a node knows that another leads.
async fn follows(cluster: &Cluster, at: usize) {
    let node = &cluster.nodes[at];
    eventually("it knows who leads", SOON, async || {
        let told = node.api.get("sys/leader").await.body;
        match told["leader_address"].as_str() {
            Some(address) if !address.is_empty() && address != node.url => Ok(()),
            _ => Err(told),
        }
    })
    .await;
}

/// Waits until the accounts are those with a lease.
async fn accounts_have_leases(server: &Postgres, api: &Api) {
    match_up(api, CREDS, None, || server.accounts()).await;
}

/// Waits until a target's accounts are as many as there are leases and, if that is known, this many, and each has one by its name.
async fn match_up(api: &Api, creds: &str, count: Option<usize>, accounts: impl Fn() -> Vec<String>) {
    let (mount, _) = creds.split_once('/').expect("a path beneath a mount");
    let asked = json!({"mount": mount, "dry_run": true});
    eventually("the accounts are those with a lease", QUIET, async || {
        let (accounts, leases) = (accounts(), leases_of(api, creds).await);
        if accounts.len() != leases.len() || count.is_some_and(|count| leases.len() != count) {
            return Err((accounts, leases, Value::Null));
        }
        let told = api.call("POST", "sys/leases/reconcile", Some(asked.clone()));
        let told = told.await.expect("an answer").body["data"]["targets"].take();
        let clean = |target: &Value| target["orphans"] == json!([]) && target["error"] == "";
        match told.as_array() {
            Some(targets) if targets.len() == 1 && targets.iter().all(clean) => Ok(()),
            _ => Err((accounts, leases, told)),
        }
    })
    .await;
}
