//! Leaders struck between the two phases of a rotation, with the database up and down, and while what makes an account is on its
//! way: in the end the passwords that are kept are those that work, and no account is without a lease.

use std::time::Duration;

use serde_json::{Value, json};

use super::door::Door;
use super::postgres::{PASSWORD, Postgres, ROOT};
use super::{ALL, CREDS, Fault, QUIET, accounts_have_leases, another_leads, configure, hit, issued, stands};
use crate::harness::{Api, Cluster, SOON, eventually};

/// What was not settled is looked at every half minute, and the target is left alone for as long when it was silent.
const SETTLED: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// The account that makes accounts.
    Root,
    /// An account that stays.
    Static,
}

/// A rotation, where its leader is struck and how, and whether the database is down meanwhile.
type Case = (What, &'static str, Fault, bool);

/// Each pair of a rotation, a step, a fault and a state of the database at least once.
const FEW: [Case; 5] = [
    (What::Root, "after-intent", Fault::Kill, false),
    (What::Root, "before-settle", Fault::Pause, true),
    (What::Static, "after-intent", Fault::Seal, true),
    (What::Static, "before-settle", Fault::Kill, false),
    (What::Root, "before-settle", Fault::Seal, false),
];

fn cases() -> Vec<Case> {
    if std::env::var_os(ALL).is_none() {
        return FEW.to_vec();
    }
    let mut all = Vec::new();
    for what in [What::Root, What::Static] {
        for point in ["after-intent", "before-settle"] {
            for fault in [Fault::Kill, Fault::Pause, Fault::Seal] {
                all.extend([false, true].map(|down| (what, point, fault, down)));
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_rotations() {
    let mut server = Postgres::start().await;
    let mut cluster = Cluster::formed().await;
    let api = cluster.api(0);
    api.must("POST", "sys/mounts/database", json!({"type": "database"}))
        .await;
    let cases = cases();
    for (number, (what, ..)) in cases.iter().enumerate() {
        prepare(&api, &server, number, *what, &server.url()).await;
    }
    let late = Late::begin(&cluster, &server, cases.len()).await;
    for (number, (what, point, fault, down)) in cases.iter().enumerate() {
        eprintln!("{fault:?} {what:?} {point}, down: {down}");
        let (leader, asked) = loop {
            let leader = cluster.leader().await;
            cluster.nodes[leader].arm(point);
            let asked = tokio::spawn(rotate(cluster.api(leader), *what, number));
            if stands(&cluster, leader, point).await {
                break (leader, asked);
            }
            let _ = asked.await;
        };
        if *down {
            server.stop();
        }
        hit(&mut cluster, leader, point, *fault).await;
        // It was answered, or cut off: both are told to whoever asked.
        let _ = asked.await;
        cluster.all_unsealed(&cluster.running()).await;
        cluster.leader().await;
        if *down {
            server.run().await;
        }
    }
    for (number, (what, ..)) in cases.iter().enumerate() {
        let api = cluster.api(number % 3);
        eventually("what is kept is what works", SETTLED, async || {
            works(&api, &server, number, *what).await
        })
        .await;
        // Settled means that the next one is taken.
        eventually("the rotation is settled", SETTLED, async || {
            match rotate(api.clone(), *what, number).await {
                Some(204) => Ok(()),
                status => Err(status),
            }
        })
        .await;
        works(&api, &server, number, *what)
            .await
            .expect("the next one too");
    }
    late.arrive(&cluster, &server).await;
    cluster.assert_alive();
    cluster.digests_agree().await;
}

/// Rotations whose statements are on their way when nobody waits for them any more.
struct Late {
    doors: Vec<(What, usize, Door)>,
}

impl Late {
    /// Begins one of each kind.
    async fn begin(cluster: &Cluster, server: &Postgres, first: usize) -> Self {
        let mut doors = Vec::new();
        for (number, what) in (first..).zip([What::Root, What::Static]) {
            let door = Door::before(server.port, b"ALTER").await;
            let url = server
                .url()
                .replace(&format!(":{}/", server.port), &format!(":{}/", door.port));
            prepare(&cluster.api(0), server, number, what, &url).await;
            door.arm();
            tokio::spawn(rotate(cluster.api(0), what, number));
            eventually("it is on its way", SOON, async || match door.holds() {
                true => Ok(()),
                false => Err(()),
            })
            .await;
            doors.push((what, number, door));
        }
        Self { doors }
    }

    /// They are settled before the statements arrive, and those change nothing any more.
    async fn arrive(self, cluster: &Cluster, server: &Postgres) {
        for (what, number, door) in &self.doors {
            let api = cluster.api(number % 3);
            eventually("it is settled", SETTLED, async || {
                match rotate(api.clone(), *what, *number).await {
                    Some(204) => Ok(()),
                    status => Err(status),
                }
            })
            .await;
            door.open();
            eventually("nobody is told by it any more", SOON, async || {
                match door.passed() {
                    true => Ok(()),
                    false => Err(()),
                }
            })
            .await;
            works(&api, server, *number, *what)
                .await
                .expect("what is kept is what works");
        }
    }
}

/// A connection as an account of its own, and a role; for a static one also the account whose password changes.
async fn prepare(api: &Api, server: &Postgres, number: usize, what: What, url: &str) {
    let as_root = |statement: &str| {
        server
            .query_as(ROOT, PASSWORD, statement)
            .expect("PostgreSQL answers")
    };
    as_root(&format!(
        "CREATE ROLE maker{number} SUPERUSER LOGIN PASSWORD 'first'"
    ));
    let connection = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url,
        "username": format!("maker{number}"), "password": "first",
    });
    api.must("POST", &format!("database/config/pg{number}"), connection)
        .await;
    let role = json!({
        "db_name": format!("pg{number}"), "default_ttl": "1h", "max_ttl": "2h",
        "creation_statements": "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'",
    });
    api.must("POST", &format!("database/roles/app{number}"), role)
        .await;
    if what == What::Static {
        as_root(&format!("CREATE ROLE svc{number} LOGIN PASSWORD 'old'"));
        let role = json!({
            "db_name": format!("pg{number}"), "username": format!("svc{number}"), "rotation_period": "24h",
        });
        api.must("POST", &format!("database/static-roles/svc{number}"), role)
            .await;
    }
}

/// Has a password rotated; the status, if there was an answer.
async fn rotate(api: Api, what: What, number: usize) -> Option<u16> {
    let path = match what {
        What::Root => format!("database/rotate-root/pg{number}"),
        What::Static => format!("database/rotate-role/svc{number}"),
    };
    let answer = api.call("PUT", &path, Some(json!({}))).await;
    answer.ok().map(|reply| reply.status)
}

/// Whether the connection makes accounts, and the password of the static role lets one in.
async fn works(api: &Api, server: &Postgres, number: usize, what: What) -> Result<(), String> {
    let made = api.get(&format!("database/creds/app{number}")).await;
    let (user, password) = credential(&made.body).ok_or_else(|| made.text())?;
    server.query_as(&user, &password, "SELECT 1")?;
    if what == What::Static {
        let told = api.get(&format!("database/static-creds/svc{number}")).await;
        let (user, password) = credential(&told.body).ok_or_else(|| told.text())?;
        server.query_as(&user, &password, "SELECT 1")?;
    }
    Ok(())
}

fn credential(body: &Value) -> Option<(String, String)> {
    let text = |name: &str| body["data"][name].as_str().map(str::to_owned);
    Some((text("username")?, text("password")?))
}

/// The leader is stopped while the statement that makes an account is on its way. The next leader ends the session before it
/// sweeps, so what arrives then is answered by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_statement_on_its_way() {
    let server = Postgres::start().await;
    let door = Door::before(server.port, b"CREATE ROLE").await;
    let cluster = Cluster::formed().await;
    let url = server
        .url()
        .replace(&format!(":{}/", server.port), &format!(":{}/", door.port));
    configure(&cluster.api(0), &url, "1h").await;
    issued(&cluster.api(0)).await;
    let leader = cluster.leader().await;
    let api = cluster.api(leader);
    issued(&api).await;
    door.arm();
    let asked = tokio::spawn(async move { api.call("GET", CREDS, None).await.map(|reply| reply.status) });
    eventually("it is on its way", SOON, async || match door.holds() {
        true => Ok(()),
        false => Err(()),
    })
    .await;
    let before = sessions(&server);
    cluster.nodes[leader].freeze();
    another_leads(&cluster, leader).await;
    eventually("the next leader ends the session", QUIET, async || {
        let now = sessions(&server);
        match before.iter().any(|session| !now.contains(session)) {
            true => Ok(()),
            false => Err(now),
        }
    })
    .await;
    door.open();
    cluster.nodes[leader].thaw();
    assert_ne!(
        asked.await.expect("a task").ok(),
        Some(200),
        "nobody was told of it"
    );
    cluster.all_unsealed(&cluster.running()).await;
    let api = cluster.api(cluster.leader().await);
    accounts_have_leases(&server, &api).await;
    assert_eq!(server.accounts().len(), 2, "those from before");
    // Marks tell whose they are: there is nothing to find.
    let told = api
        .must("PUT", "sys/leases/reconcile", json!({"mount": "database"}))
        .await;
    let told = &told["targets"][0];
    assert_eq!(
        (&told["listed"], &told["orphans"]),
        (&json!(2), &json!([])),
        "{told}"
    );
    // One of ours that lost its lease is found and dropped.
    let mark = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname LIKE 'v-%' LIMIT 1";
    let mark = server.query_as(ROOT, PASSWORD, mark).expect("a mark");
    let lost = format!(
        "CREATE ROLE \"v-lost\" LOGIN; COMMENT ON ROLE \"v-lost\" IS '{mark}'; CREATE ROLE \"v-else\" LOGIN"
    );
    server
        .query_as(ROOT, PASSWORD, &lost)
        .expect("PostgreSQL answers");
    let told = api
        .must("PUT", "sys/leases/reconcile", json!({"mount": "database"}))
        .await;
    assert_eq!(told["targets"][0]["orphans"], json!(["v-lost"]), "{told}");
    eventually("it is dropped, and nothing else", SOON, async || {
        let left = server.accounts();
        match left.len() == 3 && left.contains(&"v-else".to_owned()) {
            true => Ok(()),
            false => Err(left),
        }
    })
    .await;
}

/// The sessions of nodes, by their names.
fn sessions(server: &Postgres) -> Vec<String> {
    let query = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'conclave/%'";
    let told = server
        .query_as(ROOT, PASSWORD, query)
        .expect("PostgreSQL answers");
    told.lines().map(str::to_owned).collect()
}
