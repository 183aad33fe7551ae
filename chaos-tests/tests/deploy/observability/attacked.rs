//! Three nodes that know somebody for days, and then everything that rules of anomalies look for, spread over all of them: each
//! is found by the real detection, told as a number, scraped by a real Prometheus and paged by a real Alertmanager. Days pass by
//! the nodes' clocks, which are set forward, and by the time zone in which they count them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::alerts;
use super::peers::{Pages, Peers};
use crate::harness::{AUDIT, Api, Cluster, SOON, conclave, eventually};
use crate::shell::{command, must};

const PASSWORD: &str = "open sesame";
/// For so long it is off while somebody is silent.
const DAYS: u32 = 3;
/// An address that is not in the network from which everybody else comes.
const ELSEWHERE: &str = "127.0.5.1";
/// Secrets that are there to be read.
const SECRETS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_attacked_pages_for_each_rule() {
    let mut cluster = Cluster::formed().await;
    prepare(&cluster.api(0)).await;
    let log = cluster.files().join(AUDIT).join("audit.log");
    std::fs::create_dir_all(cluster.files().join(AUDIT)).expect("a folder");
    // Both commands of a published guide, but for the folder.
    let file = log.display();
    as_published(&cluster, &format!("vault audit enable file file_path={file}"));
    let (ada, entity) = log_in(&cluster.api(0)).await;
    learn(&cluster, &ada, &entity).await;
    for node in &mut cluster.nodes {
        node.stop().await;
        node.shift_clock(&format!("+{DAYS}d"));
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.give_shares(&[0, 0, 0]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    // A node that is told to end stores what it learned last.
    is_known(&cluster.api(0), &entity, 2).await;
    let folder = cluster.files().join("peers");
    std::fs::create_dir_all(&folder).expect("a folder");
    let pages = Pages::default();
    let targets = cluster.nodes.iter();
    let targets = targets
        .map(|node| node.operations.replace("http://", ""))
        .collect();
    let peers = Peers::start(&folder, &[("conclave", targets)], pages.listen().await);
    // Prometheus sees no increase in what it never saw.
    eventually("numbers before the attack are scraped", SOON, async || {
        peers.ask("sum(conclave_anomalies_total)").await
    })
    .await;
    let home = cluster
        .api(0)
        .with_token(&ada)
        .get("secret/data/team1/secret")
        .await;
    assert!(home.is_good(), "{}", home.text());
    is_known(&cluster.api(0), &entity, 3).await;
    attack(&cluster, &ada).await;
    let wanted: BTreeSet<String> = alerts()
        .into_iter()
        .filter(|name| name.starts_with("ConclaveAnomaly"))
        .collect();
    assert_eq!(wanted.len(), 10, "one for each rule");
    eventually("security hears of each", SOON * 2, async || {
        let heard = pages.all().into_iter().filter(|(who, _)| who == "security");
        let heard: BTreeSet<String> = heard.map(|(_, alert)| alert).collect();
        let missing: Vec<&String> = wanted.difference(&heard).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?}; {}", events(&cluster.api(0)).await))
        }
    })
    .await;
    pages.paged("pager", "ConclaveAnomalyCanaryRead").await;
    // It is of no consequence at first, and was made critical: the first time pages already.
    pages.paged("pager", "ConclaveAnomalyOffHoursAccess").await;
    let seen = as_published(
        &cluster,
        &format!("tail -n +1 -f {file} | grep -m 1 \"secret/data\""),
    );
    assert!(seen.contains("secret/data/team1/secret"), "{seen}");
    replayed(&log);
    cluster.assert_alive();
}

/// A line for the shell with our tool under the name that guides use; what it says.
fn as_published(cluster: &Cluster, line: &str) -> String {
    let home = cluster.files();
    let link = home.join("vault");
    if !link.exists() {
        std::os::unix::fs::symlink(conclave(), &link).expect("a link");
    }
    let path = std::env::var("PATH").expect("a path");
    let node = &cluster.nodes[0];
    must(
        command("timeout", home)
            .args(["30", "bash", "-c", line])
            .env("PATH", format!("{}:{path}", home.display()))
            .env("VAULT_ADDR", &node.url)
            .env("VAULT_CACERT", cluster.ca())
            .env("VAULT_TOKEN", &cluster.root),
    )
}

/// The same attack is found in the audit log, by whoever has nothing but that; lines that are no records are told of.
fn replayed(log: &Path) {
    let mut text = std::fs::read(log).expect("the log");
    text.extend_from_slice(b"\x1b[2J no record\n{\"type\":\"response\"}\n\xff\n");
    let damaged = log.with_extension("damaged");
    std::fs::write(&damaged, text).expect("a file");
    let replay = |more: &[&str]| {
        let mut replay = Command::new(conclave());
        replay
            .args([
                "anomaly",
                "replay",
                "-format=json",
                "-canary=secret/data/team0/secret",
            ])
            .arg(&damaged)
            .args(more);
        serde_json::from_str::<Value>(&must(&mut replay)).expect("JSON")
    };
    let rules = |told: &Value| -> BTreeSet<String> {
        let events = told["events"].as_array().expect("events").iter();
        events
            .map(|event| event["rule"].as_str().expect("a rule").to_owned())
            .collect()
    };
    // As from the start: nobody is known yet, and all the rest is too little.
    assert_eq!(rules(&replay(&[])), ["canary_read".to_owned()].into());
    // Five times that for who is new.
    let told = replay(&[
        "auth_failure_burst.per_source=5",
        "bulk_read.min=2",
        "denied_spike.min=2",
    ]);
    let expected = ["auth_failure_burst", "bulk_read", "canary_read", "denied_spike"];
    assert_eq!(rules(&told), expected.map(str::to_owned).into(), "{told}");
    assert!(told["records"].as_u64() > Some(100), "{told}");
    assert!(told["skipped_lines"].as_u64() >= Some(3), "{told}");
    for wrong in ["bulk_read.nosuch=1", "bulk_read.min=0", "nosuch=1"] {
        let refused = Command::new(conclave())
            .args(["anomaly", "replay"])
            .arg(log)
            .arg(wrong)
            .output()
            .expect("conclave");
        assert_eq!(refused.status.code(), Some(1), "{wrong}");
    }
}

/// Secrets, somebody who may read them, and rules that look at less than they do for people.
async fn prepare(root: &Api) {
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\", \"list\"] }"});
    root.must("POST", "sys/policies/acl/reader", policy).await;
    root.must("POST", "sys/auth/userpass", json!({"type": "userpass"}))
        .await;
    let user = json!({"password": PASSWORD, "token_policies": "reader", "token_ttl": "9000h"});
    root.must("POST", "auth/userpass/users/ada", user).await;
    for number in 0..SECRETS {
        let path = format!("secret/data/team{number}/secret");
        root.must("POST", &path, json!({"data": {"n": number}})).await;
    }
    root.must("POST", "sys/anomaly/canaries/secret/team0/secret", json!({}))
        .await;
    for (rule, params) in [
        ("auth_failure_burst", json!({"per_source": 5})),
        ("denied_spike", json!({"min": 5})),
        ("bulk_read", json!({"min": 8})),
        ("new_source_network", json!({"days": 1})),
        ("traffic_spike", json!({"min": 60})),
        ("dormant_identity", json!({"days": DAYS - 1})),
        ("first_use_of_path", json!({"min": 5})),
        ("wide_list", json!({"names": 5, "directories": 5})),
    ] {
        root.must("POST", &format!("sys/anomaly/rules/{rule}"), params)
            .await;
    }
}

/// A token, and the entity behind it.
async fn log_in(api: &Api) -> (String, String) {
    let password = json!({"password": PASSWORD});
    let reply = api
        .with_token("")
        .call("POST", "auth/userpass/login/ada", Some(password))
        .await
        .expect("an answer");
    let text = |name: &str| reply.body["auth"][name].as_str().expect(name).to_owned();
    (text("client_token"), text("entity_id"))
}

/// Somebody is there on a day in the west and on the next in the east.
async fn learn(cluster: &Cluster, ada: &str, entity: &str) {
    let api = cluster.api(0);
    for (zone, days) in [("-14:00", 1), ("+14:00", 2)] {
        api.must(
            "POST",
            "sys/anomaly/config",
            json!({"time_zone": zone, "learning_days": 1}),
        )
        .await;
        assert!(
            api.with_token(ada)
                .get("secret/data/team1/secret")
                .await
                .is_good()
        );
        is_known(&api, entity, days).await;
    }
}

/// Waits until somebody was seen on so many days.
async fn is_known(api: &Api, entity: &str, days: u64) {
    eventually("it is known who was there", SOON, async || {
        let known = api
            .get(&format!("sys/anomaly/baseline/{entity}"))
            .await
            .into_data();
        if known["days_seen"] == days {
            Ok(())
        } else {
            Err(known)
        }
    })
    .await;
}

/// Everything at once. What is unusual for whom is known is done with the token of somebody who is.
async fn attack(cluster: &Cluster, ada: &str) {
    let api = cluster.api(0);
    let now = api.get("sys/health").await.body["server_time_utc"]
        .as_u64()
        .expect("a time");
    // Working hours are six hours from now.
    api.must("POST", "sys/anomaly/config", json!({"time_zone": "UTC"}))
        .await;
    let begin = (now / 3600 + 6) % 24;
    let hours = format!("mon-sun {begin}-{}", begin + 1);
    api.must(
        "POST",
        "sys/anomaly/rules/off_hours_access",
        json!({"hours": hours, "severity": "critical"}),
    )
    .await;
    for number in 0..8 {
        let path = format!("auth/userpass/login/user{number}");
        let wrong = Some(json!({"password": "123456"}));
        let api = cluster.api(number % 3).with_token("");
        let guess = api.call("POST", &path, wrong).await;
        assert!(!guess.expect("an answer").is_good());
    }
    let stolen = [0, 1, 2].map(|at| cluster.api(at).with_token(ada));
    for number in 0..SECRETS {
        let stolen = &stolen[number % stolen.len()];
        let secret = stolen.get(&format!("secret/data/team{number}/secret")).await;
        assert!(secret.is_good(), "{}", secret.text());
        let directory = format!("secret/metadata/team{number}");
        let list = stolen.call("LIST", &directory, None).await;
        assert!(list.expect("an answer").is_good());
        assert_eq!(stolen.get("sys/mounts").await.status, 403);
    }
    for number in 0..70 {
        let stolen = &stolen[number % stolen.len()];
        stolen.get("secret/data/team1/secret").await;
    }
    let curl = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "20", "--noproxy", "*"])
        .args(["--interface", ELSEWHERE, "--cacert"])
        .arg(cluster.ca())
        .args(["--header", &format!("X-Vault-Token: {ada}")])
        .arg(format!("{}/v1/secret/data/team1/secret", cluster.nodes[0].url))
        .output()
        .expect("curl");
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
}

/// What was found so far, for who looks for what was not.
async fn events(api: &Api) -> Value {
    let listed = api.call("LIST", "sys/anomaly/events", None).await;
    listed.map_or(Value::Null, |listed| listed.body["data"]["key_info"].clone())
}
