//! What a role and a connection may say, at servers that take it seriously: statements of their own to renew an account and to undo
//! one that was half made, schedules by which a password changes, policies by which it is made, URLs; and what is counted of all that.

use std::time::Duration;

use serde_json::{Value, json};

use super::mariadb::{self, MariaDb};
use super::postgres::{PASSWORD, Postgres, ROOT};
use super::{QUIET, issued_by};
use crate::harness::{Api, Cluster, eventually};

/// For a password that changes each minute.
const MINUTES: Duration = Duration::from_secs(150);
/// Far less than what idle connections are kept for.
const AT_ONCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_roles() {
    let (mut postgres, mariadb) = tokio::join!(Postgres::start(), MariaDb::start());
    let mut cluster = Cluster::formed().await;
    let api = cluster.api(1);
    prepare(&postgres, &mariadb, &api).await;
    let first = each_minute(&postgres, &api).await;
    a_schedule_names_a_time(&postgres, &api).await;
    renewed_by_its_own_statements(&postgres, &api).await;
    counted(&mut postgres, &cluster).await;
    undone_by_its_own_statements(&mariadb, &api).await;
    passwords_by_policy(&postgres, &mariadb, &api).await;
    reached_anew(&mut postgres, &cluster).await;
    let second = changed(&postgres, &api, &first).await;
    changed(&postgres, &api, &second).await;
    cluster.assert_alive();
}

async fn prepare(postgres: &Postgres, mariadb: &MariaDb, api: &Api) {
    api.must("POST", "sys/mounts/database", json!({"type": "database"}))
        .await;
    let connection = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": postgres.url(),
        "username": ROOT, "password": PASSWORD,
    });
    api.must("POST", "database/config/pg", connection).await;
    // The same server as a URL: what is put into it is escaped.
    let connection = json!({
        "plugin_name": "mysql-database-plugin", "allowed_roles": "*",
        "connection_url": format!("mysql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/", mariadb.port),
        "username": mariadb::ROOT, "password": mariadb::PASSWORD,
    });
    api.must("POST", "database/config/my", connection).await;
    let role = json!({
        "db_name": "pg", "default_ttl": "1h", "max_ttl": "3h",
        "creation_statements": "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
        "renew_statements": "ALTER ROLE \"{{name}}\" CONNECTION LIMIT 7 VALID UNTIL '{{expiration}}'",
    });
    api.must("POST", "database/roles/pg", role).await;
    let role = json!({
        "db_name": "my", "default_ttl": "1h",
        "creation_statements": "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'",
    });
    api.must("POST", "database/roles/my", role).await;
}

fn as_root(postgres: &Postgres, statement: &str) -> String {
    postgres
        .query_as(ROOT, PASSWORD, statement)
        .expect("PostgreSQL answers")
}

/// The password that is told for a static role.
async fn told(api: &Api, role: &str) -> String {
    let told = api.get(&format!("database/static-creds/{role}")).await;
    let password = told.body["data"]["password"].as_str().map(str::to_owned);
    password.unwrap_or_else(|| panic!("no password: {}", told.text()))
}

/// Begins to have a password changed each minute; the first.
async fn each_minute(postgres: &Postgres, api: &Api) -> String {
    as_root(postgres, "CREATE ROLE minutely LOGIN PASSWORD 'by hand'");
    let role = json!({"db_name": "pg", "username": "minutely", "rotation_schedule": "* * * * SUN-SAT"});
    api.must("POST", "database/static-roles/minutely", role).await;
    told(api, "minutely").await
}

/// Waits until it is another, which works.
async fn changed(postgres: &Postgres, api: &Api, before: &str) -> String {
    let password = eventually("its minute comes", MINUTES, async || {
        let now = told(api, "minutely").await;
        match now == before {
            true => Err("the same"),
            false => Ok(now),
        }
    })
    .await;
    // A minute may have begun in between.
    if postgres.query_as("minutely", &password, "SELECT 1").is_err() {
        let next = told(api, "minutely").await;
        assert_ne!(next, password);
        postgres
            .query_as("minutely", &next, "SELECT 1")
            .expect("the password that is told works");
    }
    assert!(
        postgres.query_as("minutely", before, "SELECT 1").is_err(),
        "the one before does not"
    );
    password
}

async fn a_schedule_names_a_time(postgres: &Postgres, api: &Api) {
    as_root(postgres, "CREATE ROLE weekly LOGIN PASSWORD 'by hand'");
    let wish = |schedule: &str| json!({"db_name": "pg", "username": "weekly", "rotation_schedule": schedule});
    // Nobody would be told the password that it was given for this.
    let path = "database/static-roles/weekly";
    let never = api.call("POST", path, Some(wish("0 0 30 2 *"))).await;
    let never = never.expect("an answer");
    assert_eq!(
        (never.status, &never.body["errors"][0]),
        (400, &json!("rotation_schedule names no time")),
    );
    assert_eq!(api.get(path).await.status, 404);
    assert_eq!(
        postgres
            .query_as("weekly", "by hand", "SELECT 1")
            .expect("it was let be"),
        "1"
    );
    let mut wished = wish("0 0 * * SAT");
    wished["rotation_window"] = json!("2h");
    api.must("POST", path, wished).await;
    assert!(postgres.query_as("weekly", "by hand", "SELECT 1").is_err());
    postgres
        .query_as("weekly", &told(api, "weekly").await, "SELECT 1")
        .expect("the password that is told works");
    let creds = api.get("database/static-creds/weekly").await.body;
    let data = &creds["data"];
    assert_eq!(
        (&data["rotation_schedule"], &data["rotation_window"]),
        (&json!("0 0 * * SAT"), &json!(7200)),
        "{data}"
    );
    let ttl = data["ttl"].as_u64().expect("a time");
    assert!((1..=7 * 24 * 3600).contains(&ttl), "{ttl}");
}

async fn renewed_by_its_own_statements(postgres: &Postgres, api: &Api) {
    let made = api.get("database/creds/pg").await.body;
    let user = made["data"]["username"].as_str().expect("an account");
    let stands = || {
        let query = format!(
            "SELECT rolconnlimit, round(extract(epoch FROM rolvaliduntil - now()) / 3600) FROM pg_roles WHERE rolname = '{user}'"
        );
        as_root(postgres, &query)
    };
    assert_eq!(stands(), "-1|1");
    let wish = json!({"lease_id": made["lease_id"], "increment": "2h"});
    api.must("PUT", "sys/leases/renew", wish).await;
    assert_eq!(stands(), "7|2");
    let lease = json!({"lease_id": made["lease_id"], "sync": true});
    api.must("PUT", "sys/leases/revoke", lease).await;
}

/// MariaDB keeps what the first statement made when a later one fails.
async fn undone_by_its_own_statements(mariadb: &MariaDb, api: &Api) {
    let role = json!({
        "db_name": "my", "default_ttl": "1h",
        "creation_statements":
            "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON nowhere.nothing TO '{{name}}'@'%'",
        "rollback_statements": "DROP USER '{{name}}'@'%'; CREATE USER 'undone'@'%'",
        "revocation_statements": "DROP USER '{{name}}'@'%'; CREATE USER 'revoked'@'%'",
    });
    api.must("POST", "database/roles/half", role).await;
    let refused = api.get("database/creds/half").await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    let users = || {
        mariadb.asked(
            "SELECT User FROM mysql.user WHERE User LIKE 'v-%' OR User IN ('undone', 'revoked') ORDER BY 1",
        )
    };
    eventually("it is undone", QUIET, async || match users() {
        users if users == ["undone"] => Ok(()),
        users => Err(users),
    })
    .await;
    // One that was made goes by the other statements.
    let role = json!({"db_name": "my", "creation_statements": "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'"});
    api.must("POST", "database/roles/half", role).await;
    let made = api.get("database/creds/half").await.body;
    assert_eq!(users().len(), 2, "{made}");
    let lease = json!({"lease_id": made["lease_id"], "sync": true});
    api.must("PUT", "sys/leases/revoke", lease).await;
    assert_eq!(users(), ["revoked", "undone"]);
}

async fn passwords_by_policy(postgres: &Postgres, mariadb: &MariaDb, api: &Api) {
    let policy = "length = 24\nrule \"charset\" { charset = \"abcdef\" }\nrule \"charset\" { charset = \"0123\" min-chars = 4 }";
    api.must("PUT", "sys/policies/password/pins", json!({"policy": policy}))
        .await;
    for connection in ["pg", "my"] {
        let path = format!("database/config/{connection}");
        api.must("PUT", &path, json!({"password_policy": "pins"})).await;
    }
    for (role, is_postgres) in [("pg", true), ("my", false)] {
        let (user, password) = issued_by(api, &format!("database/creds/{role}")).await;
        assert_eq!(password.len(), 24, "{role}");
        assert!(password.chars().all(|letter| "abcdef0123".contains(letter)));
        let said = match is_postgres {
            true => postgres.query_as(&user, &password, "SELECT 1"),
            false => mariadb.query_as(&user, &password, "SELECT 1"),
        };
        assert_eq!(said.expect("it lets one in").trim(), "1");
    }
}

/// Each node leaves the sessions that it has at the database, whichever is asked.
async fn reached_anew(postgres: &mut Postgres, cluster: &Cluster) {
    let sessions = |postgres: &Postgres| -> Vec<String> {
        let query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'conclave/%'";
        as_root(postgres, query).lines().map(str::to_owned).collect()
    };
    let all_make_one = async || {
        for at in 0..3 {
            issued_by(&cluster.api(at), "database/creds/pg").await;
        }
    };
    all_make_one().await;
    let before = sessions(postgres);
    assert!(before.len() >= 3, "{before:?}");
    all_make_one().await;
    let kept = sessions(postgres);
    assert!(before.iter().any(|session| kept.contains(session)), "used again");
    let api = cluster.api(0);
    api.must("POST", "database/reset/pg", json!({})).await;
    all_make_one().await;
    eventually("those from before have ended", AT_ONCE, async || {
        let now = sessions(postgres);
        match before.iter().chain(&kept).find(|session| now.contains(session)) {
            None => Ok(()),
            Some(session) => Err(session.clone()),
        }
    })
    .await;
    postgres.stop();
    let refused = api.call("POST", "database/reset/pg", Some(json!({}))).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(
        refused.text().contains("error verifying connection"),
        "{}",
        refused.text()
    );
    postgres.run().await;
    api.must("POST", "database/reset/pg", json!({})).await;
}

/// The sum of a series over all nodes.
async fn sum(cluster: &Cluster, series: &str) -> u64 {
    let mut sum = 0;
    for node in &cluster.nodes {
        let metrics = node.metrics().await;
        let found = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        sum += found.map_or(0, |count| count.trim().parse::<u64>().expect("a number"));
    }
    sum
}

/// Counters say what was done, and gauges of the leader what is left to do.
async fn counted(postgres: &mut Postgres, cluster: &Cluster) {
    let calls = |action: &str, result: &str| {
        format!(
            "conclave_target_calls_total{{action=\"{action}\",driver=\"postgresql\",result=\"{result}\"}}"
        )
    };
    let revoked =
        |result: &str| format!("conclave_lease_revocations_total{{engine=\"database\",result=\"{result}\"}}");
    let (api, leader) = (cluster.api(0), cluster.leader().await);
    let (made, dropped) = (calls("make", "done"), calls("drop", "done"));
    let counts = async || {
        [
            sum(cluster, &made).await,
            sum(cluster, &dropped).await,
            sum(cluster, &revoked("done")).await,
        ]
    };
    api.must("PUT", "sys/leases/revoke-prefix/database", json!({"sync": true}))
        .await;
    let before = counts().await;
    let mut leases: Vec<Value> = Vec::new();
    for _ in 0..3 {
        leases.push(api.get("database/creds/pg").await.body["lease_id"].clone());
    }
    for lease in leases.drain(1..) {
        api.must(
            "PUT",
            "sys/leases/revoke",
            json!({"lease_id": lease, "sync": true}),
        )
        .await;
    }
    let after = counts().await;
    let more: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(more, [3, 2, 2], "made, dropped, revoked");

    let failed = sum(cluster, &revoked("failed")).await;
    postgres.stop();
    api.must("PUT", "sys/leases/revoke", json!({"lease_id": leases[0]}))
        .await;
    let gauges = async |expected: [&str; 2]| {
        eventually("the leader's gauges say so", MINUTES, async || {
            let metrics = cluster.nodes[leader].metrics().await;
            match expected
                .iter()
                .find(|line| !metrics.lines().any(|told| told == **line))
            {
                None => Ok(()),
                Some(line) => Err((*line).to_owned()),
            }
        })
        .await;
    };
    gauges([
        "conclave_targets_left_alone 1",
        "conclave_leases_stuck{engine=\"database\"} 1",
    ])
    .await;
    assert!(sum(cluster, &revoked("failed")).await > failed);
    postgres.run().await;
    gauges([
        "conclave_targets_left_alone 0",
        "conclave_leases_stuck{engine=\"database\"} 0",
    ])
    .await;
    assert!(postgres.accounts().is_empty());
}
