//! Unusual access in a cluster of real processes: guessing that is spread over all nodes is one event, a canary costs the
//! token on whichever node it is read, who is held back is so on all nodes, and the next leader knows what is going on.

use serde_json::{Value, json};

use crate::harness::{Api, Cluster, SOON, eventually};

/// Guesses at each node: too few for one network or name, and for one node.
const AT_EACH: usize = 14;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_anomaly() {
    let mut cluster = Cluster::formed().await;
    let api = cluster.api(0);
    api.must("POST", "sys/auth/userpass", json!({"type": "userpass"}))
        .await;
    // One address plays all attackers, so only the mount's count is told of.
    let rule = json!({"per_source": 1000, "per_mount": 40, "per_name": 1000});
    api.must("POST", "sys/anomaly/rules/auth_failure_burst", rule)
        .await;
    for node in 0..3 {
        let api = cluster.api(node).with_token("");
        for n in 0..AT_EACH {
            let path = format!("auth/userpass/login/user-{node}-{n}");
            let refused = api.call("POST", &path, Some(json!({"password": "guess"}))).await;
            assert!(!refused.expect("an answer").is_good());
        }
    }
    let event = event_of(&api, "auth_failure_burst").await;
    assert_eq!(event["subject"], "auth/userpass/");
    assert_eq!(event["evidence"]["nodes"], 3, "{event}");
    assert!(event["evidence"]["failures_at_mount"].as_u64().expect("a count") >= 40);
    let counted = "conclave_anomalies_total{rule=\"auth_failure_burst\",severity=\"high\"} 1";
    eventually("whoever leads counts it", SOON, async || {
        let mut found = false;
        for node in &cluster.nodes {
            let numbers = node.metrics().await;
            assert!(!numbers.contains("user-0-1"), "no name is in the metrics");
            found |= numbers.contains(counted);
        }
        found.then_some(()).ok_or("nobody does")
    })
    .await;

    canary(&cluster).await;
    held_back(&cluster).await;

    // The next leader knows that the burst goes on: more of it is no new event.
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let next = cluster.leader_within(SOON).await;
    let api = cluster.api(next);
    for n in 0..60 {
        let path = format!("auth/userpass/login/later-{n}");
        let _ = api
            .with_token("")
            .call("POST", &path, Some(json!({"password": "guess"})))
            .await;
    }
    let other = cluster
        .others(leader)
        .into_iter()
        .find(|node| *node != next)
        .expect("a third node");
    plant_and_read(&cluster, other, "second", json!({"revoke": true})).await;
    eventually(
        "the next leader finds what is new",
        SOON,
        async || match events(&api, "canary_read").await.len() {
            3 => Ok(()),
            count => Err(format!("{count} events")),
        },
    )
    .await;
    assert_eq!(events(&api, "auth_failure_burst").await.len(), 1);
    cluster.nodes[leader].start().await;
    cluster.assert_alive();
}

/// A canary is read at a node that does not lead.
async fn canary(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let token = plant_and_read(cluster, follower, "first", json!({"revoke": true})).await;
    let event = event_of(&cluster.api(leader), "canary_read").await;
    assert_eq!(event["severity"], "critical");
    assert_eq!(event["evidence"]["path"], "secret/data/first");
    let reader = cluster.api(follower).with_token(&token);
    eventually("its reader's token is revoked", SOON, async || {
        match reader.get("auth/token/lookup-self").await.status {
            403 => Ok(()),
            status => Err(format!("{status}")),
        }
    })
    .await;
}

/// Who read a canary at one node is held back at all of them, until somebody lifts that.
async fn held_back(cluster: &Cluster) {
    let api = cluster.api(0);
    // One request, and the next in a hundred seconds.
    let rule = json!({"response": "rate_limit", "limit_rate": "0.01"});
    api.must("POST", "sys/anomaly/rules/canary_read", rule).await;
    let token = plant_and_read(cluster, 1, "slow", json!({})).await;
    let everywhere = async |wanted: u16| {
        let mut told = Vec::new();
        for node in [1, 0, 2] {
            let api = cluster.api(node).with_token(&token);
            told.push(api.get("secret/data/slow").await.status);
        }
        match told == [wanted; 3] {
            true => Ok(()),
            false => Err(told),
        }
    };
    eventually("its reader is held back", SOON, async || everywhere(429).await).await;
    let listed = api
        .call("LIST", "sys/anomaly/limits", None)
        .await
        .expect("an answer");
    let name = listed.body["data"]["keys"][0]
        .as_str()
        .expect("a limit")
        .to_owned();
    let lifted = api
        .call("DELETE", &format!("sys/anomaly/limits/{name}"), None)
        .await;
    assert!(lifted.expect("an answer").is_good());
    eventually("nobody is held back", SOON, async || everywhere(200).await).await;
}

/// Plants a canary and reads it at a node; the token it was read with.
async fn plant_and_read(cluster: &Cluster, node: usize, name: &str, canary: Value) -> String {
    let api = cluster.api(node);
    let secret = json!({"data": {"password": "looks-worth-it"}});
    api.must("POST", &format!("secret/data/{name}"), secret).await;
    api.must("POST", &format!("sys/anomaly/canaries/secret/{name}"), canary)
        .await;
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"});
    api.must("POST", "sys/policies/acl/reader", policy).await;
    let made = json!({"policies": ["reader"], "display_name": "thief"});
    let reply = api
        .call("POST", "auth/token/create", Some(made))
        .await
        .expect("an answer");
    let token = reply.body["auth"]["client_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let read = api.with_token(&token).get(&format!("secret/data/{name}")).await;
    assert!(read.is_good(), "{}", read.text());
    token
}

/// Events of a rule.
async fn events(api: &Api, rule: &str) -> Vec<String> {
    let listed = api
        .call("LIST", &format!("sys/anomaly/events?rule={rule}"), None)
        .await;
    let Ok(listed) = listed else { return Vec::new() };
    let keys = listed.body["data"]["keys"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    keys.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The one event of a rule, once it is there.
async fn event_of(api: &Api, rule: &str) -> Value {
    eventually("it is found", SOON, async || match &events(api, rule).await[..] {
        [id] => Ok(api.get(&format!("sys/anomaly/events/{id}")).await.into_data()),
        others => Err(format!("{} events", others.len())),
    })
    .await
}
