//! Users of a real RabbitMQ under the same faults: leaders struck while they make and drop them, a broker that is down, a root
//! password changed by somebody else, users without a lease, and users of somebody else.

use serde_json::{Value, json};

use super::rabbitmq_server::amqp::Session;
use super::rabbitmq_server::{PASSWORD, ROOT, RabbitMq};
use super::{Kind, QUIET, Target, issued_by, leases_of, match_up, strike, strikes};
use crate::harness::{Api, Cluster, eventually};

const CREDS: &str = "rabbitmq/creds/app";
/// Somebody else's user.
const THEIRS: &str = "theirs";
impl Target for RabbitMq {
    fn stop(&mut self) {
        self.stop();
    }

    async fn run(&mut self) {
        self.run().await;
    }
}

async fn configure(api: &Api, broker: &RabbitMq) {
    api.must("POST", "sys/mounts/rabbitmq", json!({"type": "rabbitmq"}))
        .await;
    connect(api, broker, PASSWORD).await;
    live(api, "1h").await;
    let vhosts = json!({"/": {"configure": "^app-", "write": "^app-", "read": "^app-"}});
    let role = json!({"tags": "management", "vhosts": vhosts.to_string()});
    api.must("POST", "rabbitmq/roles/app", role).await;
}

async fn connect(api: &Api, broker: &RabbitMq, password: &str) {
    let connection = json!({"connection_uri": broker.uri(), "username": ROOT, "password": password});
    api.must("POST", "rabbitmq/config/connection", connection).await;
}

/// How long users live from here on.
async fn live(api: &Api, ttl: &str) {
    let lease = json!({"ttl": ttl, "max_ttl": "2h"});
    api.must("POST", "rabbitmq/config/lease", lease).await;
}

fn ours(broker: &RabbitMq) -> Vec<String> {
    let mut accounts = broker.accounts(PASSWORD);
    accounts.retain(|name| name != THEIRS);
    accounts
}

fn log_in(broker: &RabbitMq, (user, password): &(String, String)) -> Result<Session, String> {
    Session::log_in(broker.amqp, user, password)
}

fn refuses(broker: &RabbitMq, account: &(String, String)) -> bool {
    log_in(broker, account).is_err_and(|text| text.contains("ACCESS_REFUSED"))
}

/// Waits until the users are those with a lease and, if that is known, this many.
async fn has(broker: &RabbitMq, api: &Api, count: Option<usize>) {
    match_up(api, CREDS, count, || ours(broker)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_rabbitmq() {
    let (mut broker, mut cluster) = tokio::join!(RabbitMq::start(), Cluster::formed());
    configure(&cluster.api(0), &broker).await;
    let theirs = r#"{"password":"theirs","tags":"management"}"#;
    broker.must("PUT", &format!("users/{THEIRS}"), theirs);
    let kept = issued_by(&cluster.api(1), CREDS).await;
    let mut session = log_in(&broker, &kept).expect("a live lease's user logs in");
    session.declare("app-1").expect("it may");
    let (down, up): (Vec<_>, Vec<_>) = strikes(Kind::RabbitMq).into_iter().partition(|case| case.down);
    for case in up {
        strike(&mut cluster, &mut broker, CREDS, case).await;
    }
    session.declare("app-2").expect("a live lease's session goes on");
    // With the broker go its sessions.
    for case in down {
        strike(&mut cluster, &mut broker, CREDS, case).await;
    }
    let api = cluster.api(0);
    has(&broker, &api, None).await;
    session = log_in(&broker, &kept).expect("a live lease's user logs in again");
    orphans_go(&broker, &api, &kept.0).await;
    users_end(&broker, &api, &kept, &mut session).await;
    down_and_back(&mut broker, &api).await;
    root_changes(&broker, &api).await;
    assert!(broker.ask(THEIRS, THEIRS, "GET", "whoami", "").is_ok());
    cluster.assert_alive();
}

/// A user that bears the mount's tag and has no lease is dropped; one without the tag is not looked at.
async fn orphans_go(broker: &RabbitMq, api: &Api, user: &str) {
    let told: Value =
        serde_json::from_str(&broker.must("GET", &format!("users/{user}"), "")).expect("a user");
    let mut tags = told["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .filter_map(Value::as_str);
    let mark = tags.find(|tag| tag.starts_with("conclave-")).expect("a mark");
    let lost = json!({"password": "lost", "tags": mark});
    broker.must("PUT", "users/lost", &lost.to_string());
    let told = api
        .must("PUT", "sys/leases/reconcile", json!({"mount": "rabbitmq"}))
        .await;
    assert_eq!(told["targets"][0]["orphans"], json!(["lost"]), "{told}");
    assert_eq!(told["targets"][0]["certain"], json!(true), "{told}");
    eventually("it is gone", QUIET, async || match broker.accounts(PASSWORD) {
        users if users.iter().any(|user| user == "lost") => Err(users),
        _ => Ok(()),
    })
    .await;
}

/// By its time, and when it is taken back; nothing in a broker ends a user by itself.
async fn users_end(broker: &RabbitMq, api: &Api, kept: &(String, String), session: &mut Session) {
    live(api, "3s").await;
    let brief = issued_by(api, CREDS).await;
    let worked = log_in(broker, &brief);
    eventually("the lease ends", QUIET, async || match refuses(broker, &brief) {
        true => Ok(()),
        false => Err(ours(broker)),
    })
    .await;
    // On a machine so slow that it was over before, it was refused as it should be.
    assert!(worked.is_ok() || !ours(broker).contains(&brief.0));
    live(api, "1h").await;
    api.must("PUT", "sys/leases/revoke-prefix/rabbitmq", json!({}))
        .await;
    has(broker, api, Some(0)).await;
    assert!(refuses(broker, kept));
    let ended = session.ended();
    assert!(
        ended.contains("CONNECTION_FORCED") || ended.contains("fill whole buffer"),
        "{ended}"
    );
}

async fn down_and_back(broker: &mut RabbitMq, api: &Api) {
    let account = issued_by(api, CREDS).await;
    broker.stop();
    api.must("PUT", "sys/leases/revoke-prefix/rabbitmq", json!({}))
        .await;
    let refused = api.get(CREDS).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    broker.run().await;
    has(broker, api, Some(0)).await;
    assert!(refuses(broker, &account));
}

/// Somebody else changes the password of whoever makes users: no lease is made, and the error says why.
async fn root_changes(broker: &RabbitMq, api: &Api) {
    let change = |password: &str| json!({"password": password, "tags": "administrator"}).to_string();
    broker.must("PUT", &format!("users/{ROOT}"), &change("another"));
    let refused = api.get(CREDS).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("401"), "{}", refused.text());
    assert!(leases_of(api, CREDS).await.is_empty());
    let connection = json!({"connection_uri": broker.uri(), "username": ROOT, "password": PASSWORD});
    let written = api
        .call("POST", "rabbitmq/config/connection", Some(connection))
        .await;
    let written = written.expect("an answer");
    assert_eq!(written.status, 500, "{}", written.text());
    assert!(
        written.text().contains("failed to validate the connection"),
        "{}",
        written.text()
    );
    connect(api, broker, "another").await;
    let account = issued_by(api, CREDS).await;
    log_in(broker, &account).expect("it logs in");
}
