//! Unusual access as operators and attackers meet it: through the one pipeline, with a clock that moves when told to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use conclave_core::audit::{Courier, Couriers, Protocol, Target};
use conclave_core::leases::NoTargets;
use conclave_core::{Error, Request, Settings, Verb};
use support::Node;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// A node with two users of a policy that reads everything in `secret/`.
async fn node() -> Node {
    prepared(Node::unsealed().await).await
}

async fn prepared(node: Node) -> Node {
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\", \"list\", \"create\", \"update\"] }"});
    node.call(Verb::Write, "sys/policies/acl/reader", policy)
        .await
        .unwrap();
    node.call(Verb::Write, "sys/auth/userpass", json!({"type": "userpass"}))
        .await
        .unwrap();
    for user in ["ada", "bob"] {
        let data = json!({"password": "pass-word", "token_policies": "reader", "token_ttl": "9000h"});
        node.call(Verb::Write, &format!("auth/userpass/users/{user}"), data)
            .await
            .unwrap();
    }
    node
}

async fn login(node: &Node, user: &str, password: &str, from: &str) -> Result<String, Error> {
    let mut request = Request::new(Verb::Write, format!("auth/userpass/login/{user}"));
    request.data = json!({"password": password}).as_object().unwrap().clone();
    request.remote = Some(from.parse().unwrap());
    let response = node.core.handle(request).await?;
    let answer = support::value_of(&response);
    Ok(answer["auth"]["client_token"].as_str().unwrap().to_owned())
}

async fn read(node: &Node, token: &str, path: &str, from: &str) -> Result<(), Error> {
    let mut request = Request::new(Verb::Read, path);
    request.token = Some(token.to_owned().into());
    request.remote = Some(from.parse().unwrap());
    node.core.handle(request).await.map(drop)
}

async fn put(node: &Node, name: &str) {
    let data = json!({"data": {"x": 1}});
    node.call(Verb::Write, &format!("secret/data/{name}"), data)
        .await
        .unwrap();
}

async fn look(node: &Node) {
    node.core.watch_once(true).await.unwrap();
}

/// Events as they are listed, by rule; newest first.
async fn events(node: &Node) -> Vec<Value> {
    match node.call(Verb::List, "sys/anomaly/events", Value::Null).await {
        Ok(listed) => {
            let mut events = Vec::new();
            for id in listed["data"]["keys"].as_array().unwrap() {
                let path = format!("sys/anomaly/events/{}", id.as_str().unwrap());
                events.push(node.call(Verb::Read, &path, Value::Null).await.unwrap()["data"].take());
            }
            events
        }
        Err(Error::NotFound { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

fn rules(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["rule"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn failed_logins_become_one_event_that_can_be_acknowledged() {
    let node = node().await;
    // Enough for a network, not for the mount.
    for n in 0..25 {
        let refused = login(&node, &format!("user-{n}"), "guess", "203.0.113.9").await;
        assert!(refused.is_err());
    }
    look(&node).await;
    let found = events(&node).await;
    assert_eq!(rules(&found), ["auth_failure_burst"], "{found:?}");
    let event = &found[0];
    assert_eq!(event["subject"], "203.0.113.0/24");
    assert_eq!(event["severity"], "high");
    assert_eq!(event["state"], "open");
    assert_eq!(event["mount"], "auth/userpass/");
    assert_eq!(
        event["evidence"]["failures_from_network"], 20,
        "told as soon as it is too much"
    );
    let id = event["id"].as_str().unwrap();
    node.call(
        Verb::Write,
        &format!("sys/anomaly/ack/{id}"),
        json!({"note": "a test"}),
    )
    .await
    .unwrap();
    let found = events(&node).await;
    assert_eq!(
        (&found[0]["state"], &found[0]["note"]),
        (&json!("acknowledged"), &json!("a test"))
    );
    let open = node
        .call(Verb::List, "sys/anomaly/events", json!({"state": "open"}))
        .await;
    assert!(matches!(open, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn what_goes_on_is_one_event_brought_up_to_date() {
    let node = node().await;
    for _ in 0..3 {
        for n in 0..30 {
            let _ = login(&node, &format!("user-{n}"), "guess", "203.0.113.9").await;
        }
        look(&node).await;
        node.clock.advance(70_000);
    }
    let found = events(&node).await;
    let of_network: Vec<_> = found
        .iter()
        .filter(|event| event["subject_type"] == "network")
        .collect();
    assert_eq!(of_network.len(), 1, "{found:?}");
    assert!(of_network[0]["updates"].as_u64().unwrap() >= 1);
    assert!(
        of_network[0]["evidence"]["failures_from_network"]
            .as_u64()
            .unwrap()
            > 30
    );
}

#[tokio::test]
async fn a_canary_costs_its_reader_the_token() {
    let node = node().await;
    for name in ["honey", "plain"] {
        put(&node, name).await;
    }
    node.call(
        Verb::Write,
        "sys/anomaly/canaries/secret/honey",
        json!({"revoke": true, "note": "trap"}),
    )
    .await
    .unwrap();
    let told = node
        .call(Verb::Read, "sys/anomaly/canaries/secret/honey", Value::Null)
        .await
        .unwrap();
    assert_eq!(told["data"]["requests_for"], "secret/data/honey");
    let token = login(&node, "ada", "pass-word", "10.0.0.1").await.unwrap();
    read(&node, &token, "secret/data/plain", "10.0.0.1")
        .await
        .unwrap();
    look(&node).await;
    assert_eq!(events(&node).await, Vec::<Value>::new());
    read(&node, &token, "secret/data/honey", "10.0.0.1")
        .await
        .unwrap();
    look(&node).await;
    let found = events(&node).await;
    assert_eq!(rules(&found), ["canary_read"]);
    assert_eq!(found[0]["severity"], "critical");
    assert_eq!(found[0]["evidence"]["path"], "secret/data/honey");
    assert!(
        found[0]["subject"]
            .as_str()
            .unwrap()
            .starts_with("userpass-ada (entity ")
    );
    assert_eq!(found[0]["responses"], json!(["revoked the token"]));
    let refused = read(&node, &token, "secret/data/plain", "10.0.0.1").await;
    assert!(matches!(refused, Err(Error::Denied { .. })));
    // Whoever is refused by policies tried all the same.
    let nobody = node.token(json!({"policies": ["default"]})).await;
    assert!(
        read(&node, &nobody, "secret/data/honey", "10.0.0.1")
            .await
            .is_err()
    );
    look(&node).await;
    assert_eq!(rules(&events(&node).await), ["canary_read"; 2]);
    node.call(Verb::Delete, "sys/anomaly/canaries/secret/honey", Value::Null)
        .await
        .unwrap();
    read(&node, &node.root, "secret/data/honey", "10.0.0.1")
        .await
        .unwrap();
    look(&node).await;
    assert_eq!(events(&node).await.len(), 2);
}

/// Two weeks of working days in which somebody reads a few secrets at ten o'clock.
async fn weeks(node: &Node, token: &str) {
    node.clock.advance(10 * HOUR);
    for _ in 0..14 {
        for n in 0..5 {
            read(node, token, &format!("secret/data/own-{n}"), "10.0.0.1")
                .await
                .unwrap();
        }
        look(node).await;
        node.clock.advance(DAY);
    }
}

#[tokio::test]
async fn habits_are_learned_outlive_the_process_and_what_is_unusual_is_told() {
    let node = node().await;
    for n in 0..60 {
        put(&node, &format!("all-{n}")).await;
    }
    for n in 0..5 {
        put(&node, &format!("own-{n}")).await;
    }
    let token = login(&node, "ada", "pass-word", "10.0.0.1").await.unwrap();
    weeks(&node, &token).await;
    assert_eq!(
        rules(&events(&node).await),
        Vec::<&str>::new(),
        "habits are nothing unusual"
    );
    let node = node.restarted().await;
    node.unseal().await;
    look(&node).await;
    for n in 0..60 {
        read(&node, &token, &format!("secret/data/all-{n}"), "198.51.100.1")
            .await
            .unwrap();
    }
    look(&node).await;
    let found = events(&node).await;
    let mut found = rules(&found);
    found.sort_unstable();
    assert_eq!(found, ["bulk_read", "first_use_of_path", "new_source_network"]);
    let status = node
        .call(Verb::Read, "sys/anomaly/baseline", Value::Null)
        .await
        .unwrap();
    assert_eq!(status["data"]["identities_learned"], 1, "{status}");
    let lookup = node
        .call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await
        .unwrap();
    let entity = lookup["data"]["entity_id"].as_str().unwrap();
    let path = format!("sys/anomaly/baseline/{entity}");
    let known = node.call(Verb::Read, &path, Value::Null).await.unwrap();
    assert_eq!(
        known["data"]["hours_of_working_days"],
        json!([0, 10]),
        "the login was at midnight"
    );
    assert_eq!(known["data"]["days_seen"], 15, "{known}");
    node.clock.advance(40 * DAY);
    let silent = node
        .call(Verb::Read, "sys/anomaly/dormant", json!({"days": 30}))
        .await
        .unwrap();
    assert_eq!(
        silent["data"]["identities"].as_array().unwrap().len(),
        2,
        "{silent}"
    );
}

/// So many events of a rule, of this severity, were counted; the series must be there.
fn found(node: &Node, rule: &str, severity: &str) -> u64 {
    let families = node.registry.gather();
    let mut families = families.iter();
    let family = families.find(|family| family.name() == "conclave_anomalies_total");
    let series = family.expect("it is told").get_metric().iter();
    let mut series = series.filter(|metric| {
        let has = |value: &str| metric.get_label().iter().any(|label| label.value() == value);
        has(rule) && has(severity)
    });
    let series = series
        .next()
        .unwrap_or_else(|| panic!("no series of {rule}, {severity}"));
    series.get_counter().get_value() as u64
}

#[tokio::test]
async fn every_rule_is_counted_by_every_severity_before_it_finds_anything() {
    let node = node().await;
    let rules = node
        .call(Verb::List, "sys/anomaly/rules", Value::Null)
        .await
        .unwrap();
    let rules = rules["data"]["keys"].as_array().unwrap();
    assert_eq!(rules.len(), 10);
    for rule in rules {
        for severity in ["low", "medium", "high", "critical"] {
            assert_eq!(found(&node, rule.as_str().unwrap(), severity), 0);
        }
    }
}

#[tokio::test]
async fn an_identity_can_be_locked_and_what_is_muted_is_stored_only() {
    let node = node().await;
    put(&node, "honey").await;
    node.call(Verb::Write, "sys/anomaly/canaries/secret/hon*", json!({}))
        .await
        .unwrap();
    node.call(
        Verb::Write,
        "sys/anomaly/rules/canary_read",
        json!({"response": "lock_identity"}),
    )
    .await
    .unwrap();
    let mute = json!({"rule": "canary_read", "subject": "userpass-bob", "ttl": "1h", "note": "a drill"});
    node.call(Verb::Write, "sys/anomaly/mute/drill", mute)
        .await
        .unwrap();
    let muted = node
        .call(Verb::List, "sys/anomaly/mute", Value::Null)
        .await
        .unwrap();
    assert_eq!(muted["data"]["key_info"]["drill"]["note"], "a drill");
    for (user, locked) in [("bob", false), ("ada", true)] {
        let token = login(&node, user, "pass-word", "10.0.0.1").await.unwrap();
        read(&node, &token, "secret/data/honey", "10.0.0.1")
            .await
            .unwrap();
        look(&node).await;
        let event = events(&node).await.remove(0);
        assert_eq!(event["muted"], !locked, "{event}");
        // Whoever is paged is paged for what is counted.
        assert_eq!(
            found(&node, "canary_read", "critical"),
            u64::from(locked),
            "{user}"
        );
        let again = read(&node, &token, "secret/data/honey", "10.0.0.1").await;
        assert_eq!(again.is_err(), locked, "{user}");
        assert_eq!(login(&node, user, "pass-word", "10.0.0.1").await.is_err(), locked);
        node.clock.advance(1000);
    }
}

/// A node whose canary rule holds readers back, to one request and then none for minutes.
async fn holding_back() -> Node {
    let node = node().await;
    for name in ["honey", "plain"] {
        put(&node, name).await;
    }
    let write = async |path: &str, data: Value| node.call(Verb::Write, path, data).await.unwrap();
    write("sys/anomaly/canaries/secret/honey", json!({})).await;
    let rule = json!({"response": "rate_limit", "limit_rate": "0.01", "limit_ttl": "10m"});
    write("sys/anomaly/rules/canary_read", rule).await;
    node
}

async fn is_held_back(node: &Node, token: &str) -> bool {
    // What the limit holds passes first.
    let _ = read(node, token, "secret/data/plain", "10.0.0.1").await;
    match read(node, token, "secret/data/plain", "10.0.0.1").await {
        Ok(()) => false,
        Err(Error::RateLimited { recorded: true, .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

async fn held_back(node: &Node) -> Vec<Value> {
    match node.call(Verb::List, "sys/anomaly/limits", Value::Null).await {
        Ok(listed) => {
            let infos = listed["data"]["key_info"].as_object().unwrap();
            infos.values().cloned().collect()
        }
        Err(Error::NotFound { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_identity_is_held_back_until_it_ends_or_is_lifted() {
    let node = holding_back().await;
    let ada = login(&node, "ada", "pass-word", "10.0.0.1").await.unwrap();
    let again = login(&node, "ada", "pass-word", "10.0.0.1").await.unwrap();
    let bob = login(&node, "bob", "pass-word", "10.0.0.1").await.unwrap();
    assert!(!is_held_back(&node, &ada).await);
    read(&node, &ada, "secret/data/honey", "10.0.0.1").await.unwrap();
    look(&node).await;
    let event = events(&node).await.remove(0);
    let done = json!(["holds back to 0.01 requests a second for 600 s"]);
    assert_eq!(event["responses"], done);
    let limits = held_back(&node).await;
    assert_eq!(limits.len(), 1, "{limits:?}");
    let limit = &limits[0];
    assert_eq!(
        (&limit["event"], &limit["rule"]),
        (&event["id"], &json!("canary_read"))
    );
    assert_eq!(limit["subject"], event["subject"]);
    assert_eq!(limit["until"], "2026-01-01T00:10:00Z");
    let name = limit["name"].as_str().unwrap().to_owned();
    assert_eq!(name, format!("entity-{}", limit["entity_id"].as_str().unwrap()));
    // The entity, whatever token it shows; nobody else.
    assert!(is_held_back(&node, &ada).await && is_held_back(&node, &again).await);
    assert!(!is_held_back(&node, &bob).await);
    node.clock.advance(9 * 60_000);
    look(&node).await;
    let path = format!("sys/anomaly/limits/{name}");
    let shown = node.call(Verb::Read, &path, Value::Null).await.unwrap();
    assert_eq!(shown["data"]["until"], "2026-01-01T00:10:00Z");
    node.clock.advance(61_000);
    assert!(!is_held_back(&node, &ada).await, "it ends by itself");
    assert_eq!(held_back(&node).await, Vec::<Value>::new());
    let gone = node.call(Verb::Read, &path, Value::Null).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
    // Another event, and an operator who knows better.
    node.clock.advance(2 * HOUR);
    let ada = login(&node, "ada", "pass-word", "10.0.0.1").await.unwrap();
    read(&node, &ada, "secret/data/honey", "10.0.0.1").await.unwrap();
    look(&node).await;
    node.call(Verb::Delete, &path, Value::Null).await.unwrap();
    assert!(!is_held_back(&node, &ada).await, "it was lifted");
    assert_eq!(held_back(&node).await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_goes_on_is_held_back_for_longer_and_a_token_without_an_entity_is_too() {
    let node = holding_back().await;
    let made = json!({"policies": ["reader"], "display_name": "thief"});
    let thief = node.token(made).await;
    let other = node.token(json!({"policies": ["reader"]})).await;
    read(&node, &thief, "secret/data/honey", "10.0.0.1")
        .await
        .unwrap();
    look(&node).await;
    let limits = held_back(&node).await;
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert!(limits[0]["name"].as_str().unwrap().starts_with("token-"));
    assert_eq!(limits[0]["entity_id"], "");
    assert!(is_held_back(&node, &thief).await);
    assert!(!is_held_back(&node, &other).await);
    // One who is let through often enough to go on with it, and so is held back for longer.
    let rule = json!({"limit_rate": 5});
    node.call(Verb::Write, "sys/anomaly/rules/canary_read", rule)
        .await
        .unwrap();
    for minutes in [0, 6] {
        node.clock.advance(minutes * 60_000);
        read(&node, &other, "secret/data/honey", "10.0.0.1")
            .await
            .unwrap();
        look(&node).await;
    }
    let mut limits = held_back(&node).await;
    limits.sort_by_key(|limit| limit["until"].to_string());
    let ends: Vec<_> = limits.iter().map(|limit| &limit["until"]).collect();
    assert_eq!(ends, ["2026-01-01T00:10:00Z", "2026-01-01T00:16:00Z"]);
    node.clock.advance(11 * 60_000);
    assert_eq!(held_back(&node).await, Vec::<Value>::new());
    // Root tokens are never held back.
    read(&node, &node.root, "secret/data/honey", "10.0.0.1")
        .await
        .unwrap();
    look(&node).await;
    let event = events(&node).await.remove(0);
    assert_eq!(
        event["responses"],
        json!(["nothing: root tokens are held back by nobody"])
    );
    for (data, why) in [
        (json!({"limit_rate": 0}), "limit_rate"),
        (json!({"limit_rate": "NaN"}), "limit_rate"),
        (json!({"limit_ttl": "1s"}), "limit_ttl"),
        (json!({"limit_ttl": "9000h"}), "limit_ttl"),
    ] {
        let refused = node
            .call(Verb::Write, "sys/anomaly/rules/canary_read", data.clone())
            .await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(why), "{data}: {text}");
    }
}

#[tokio::test]
async fn rules_are_shown_changed_reset_and_wrong_ones_refused() {
    let node = node().await;
    let listed = node
        .call(Verb::List, "sys/anomaly/rules", Value::Null)
        .await
        .unwrap();
    assert_eq!(listed["data"]["keys"].as_array().unwrap().len(), 10);
    let change = json!({"severity": "low", "per_source": "3", "mounts": ["auth/userpass"], "enabled": true});
    node.call(Verb::Write, "sys/anomaly/rules/auth_failure_burst", change)
        .await
        .unwrap();
    for n in 0..3 {
        let _ = login(&node, &format!("user-{n}"), "guess", "203.0.113.9").await;
    }
    look(&node).await;
    assert_eq!(events(&node).await[0]["severity"], "low");
    let rule = node
        .call(Verb::Read, "sys/anomaly/rules/auth_failure_burst", Value::Null)
        .await
        .unwrap();
    assert_eq!(rule["data"]["params"]["per_source"]["value"].as_f64(), Some(3.0));
    assert_eq!(rule["data"]["mounts"], json!(["auth/userpass/"]));
    node.call(Verb::Delete, "sys/anomaly/rules/auth_failure_burst", Value::Null)
        .await
        .unwrap();
    let rule = node
        .call(Verb::Read, "sys/anomaly/rules/auth_failure_burst", Value::Null)
        .await
        .unwrap();
    assert_eq!(rule["data"]["params"]["per_source"]["value"].as_f64(), Some(20.0));
    for (path, data, why) in [
        ("rules/nosuch", json!({"enabled": true}), "there are: auth_"),
        ("rules/bulk_read", json!({"nosuch": 1}), "nosuch"),
        ("rules/bulk_read", json!({"min": 0}), "between"),
        ("rules/bulk_read", json!({"min": "many"}), "no number"),
        ("rules/bulk_read", json!({"severity": "dire"}), "severity"),
        ("rules/bulk_read", json!({"mounts": "nosuch/"}), "no mount"),
        ("rules/bulk_read", json!({"namespaces": "nosuch"}), "no namespace"),
        ("rules/bulk_read", json!({"hours": "mon-fri 7-19"}), "off_hours"),
        (
            "rules/off_hours_access",
            json!({"hours": "always"}),
            "working hours",
        ),
        ("config", json!({"window_minutes": 0}), "between"),
        ("config", json!({"time_zone": "Mars"}), "time zone"),
        ("mute/a", json!({"ttl": "1h"}), "rule or subject"),
        ("mute/a", json!({"rule": "bulk_read"}), "ttl"),
        ("mute/a", json!({"rule": "nosuch", "ttl": "1h"}), "no rule"),
        ("canaries/nosuch/x", json!({}), "no mount"),
        ("canaries/sys/mounts", json!({}), "secrets engine"),
        ("ack/zz", json!({}), "not found"),
    ] {
        let refused = node
            .call(Verb::Write, &format!("sys/anomaly/{path}"), data.clone())
            .await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(why), "{path} {data}: {text}");
    }
    let plain = node.token(json!({"policies": ["reader"]})).await;
    let refused = node
        .call_as(&plain, Verb::List, "sys/anomaly/events", Value::Null)
        .await;
    assert!(matches!(refused, Err(Error::Denied { .. })));
}

#[tokio::test]
async fn what_is_not_watched_is_not_found_and_a_sealed_node_forgets() {
    let node = node().await;
    node.call(Verb::Write, "sys/anomaly/config", json!({"enabled": false}))
        .await
        .unwrap();
    for n in 0..30 {
        let _ = login(&node, &format!("user-{n}"), "guess", "203.0.113.9").await;
    }
    look(&node).await;
    assert_eq!(events(&node).await, Vec::<Value>::new());
    node.call(Verb::Write, "sys/anomaly/config", json!({"enabled": true}))
        .await
        .unwrap();
    for n in 0..30 {
        let _ = login(&node, &format!("other-{n}"), "guess", "203.0.113.9").await;
    }
    node.call(Verb::Write, "sys/seal", Value::Null).await.unwrap();
    look(&node).await;
    node.unseal().await;
    look(&node).await;
    assert_eq!(events(&node).await, Vec::<Value>::new());
}

/// Takes posts; the first is refused.
#[derive(Clone, Default)]
struct Receiver {
    posts: Arc<Mutex<Vec<Post>>>,
    refused: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Post {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A way to it, on which posts have these headers.
struct Way(Receiver, Vec<(String, String)>);

impl Couriers for Receiver {
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Courier>>> {
        let Protocol::Http { headers, .. } = &target.protocol else {
            panic!("no post")
        };
        let refuses = !self.refused.swap(true, Ordering::Relaxed);
        let way = Way(self.clone(), headers.clone());
        async move {
            match refuses {
                true => Err(io::Error::other("not now")),
                false => Ok(Box::new(way) as Box<dyn Courier>),
            }
        }
        .boxed()
    }
}

impl Courier for Way {
    fn send<'a>(&'a mut self, lines: &'a [&'a [u8]]) -> BoxFuture<'a, io::Result<()>> {
        let body = [lines.concat(), b"\n".to_vec()].concat();
        let headers = self.1.clone();
        self.0.posts.lock().unwrap().push(Post { headers, body });
        async { Ok(()) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_posted_signed_and_again_if_they_are_not_taken() {
    let receiver = Receiver::default();
    let settings = Settings {
        audit_targets: vec!["https://hooks.example:443/".to_owned()],
        ..Settings::default()
    };
    let couriers = Arc::new(receiver.clone());
    let node = Node::unsealed_reaching(settings, Arc::new(NoTargets), couriers).await;
    let node = prepared(node).await;
    let page = json!({"url": "https://hooks.example/page", "severity": "high"});
    let made = node
        .call(Verb::Write, "sys/anomaly/webhooks/page", page)
        .await
        .unwrap();
    let secret = made["data"]["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 64);
    let critical = json!({"url": "https://hooks.example/other", "severity": "critical"});
    node.call(Verb::Write, "sys/anomaly/webhooks/critical", critical)
        .await
        .unwrap();
    let shown = node
        .call(Verb::List, "sys/anomaly/webhooks", Value::Null)
        .await
        .unwrap();
    assert!(!shown.to_string().contains(&secret), "a secret is told once");
    for n in 0..25 {
        let _ = login(&node, &format!("user-{n}"), "guess", "203.0.113.9").await;
    }
    look(&node).await;
    assert!(node.core.post_once().await, "it is tried");
    assert!(receiver.posts.lock().unwrap().is_empty(), "and not taken");
    assert!(!node.core.post_once().await, "it waits for its time");
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    assert!(node.core.post_once().await);
    let posts = receiver.posts.lock().unwrap().clone();
    assert_eq!(posts.len(), 1, "it is not bad enough for the other hook");
    let body: Value = serde_json::from_slice(&posts[0].body).unwrap();
    assert_eq!(body["event"]["rule"], "auth_failure_burst");
    let headers: std::collections::BTreeMap<_, _> = posts[0].headers.iter().cloned().collect();
    let (time, mac) = headers["X-Conclave-Signature"].split_once(",v1=").unwrap();
    assert_eq!((time, mac.len()), ("t=1767225600", 64));
    for (url, why) in [
        ("https://elsewhere.example/", "audit_targets"),
        ("ftp://x/", "uri"),
        ("", "uri"),
    ] {
        let wrong = node
            .call(Verb::Write, "sys/anomaly/webhooks/bad", json!({"url": url}))
            .await;
        let text = wrong.unwrap_err().to_string();
        assert!(text.contains(why), "{url}: {text}");
    }
    node.call(Verb::Delete, "sys/anomaly/webhooks/page", Value::Null)
        .await
        .unwrap();
}
