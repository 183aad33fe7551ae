//! Quotas of a role hold for the cluster: whichever nodes its logins go to, and whoever leads.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Api, Cluster};

/// Logins of a round, a third of them at each node.
const LOGINS: usize = 24;
/// Of how many the role may have a token at once.
const TOKENS: usize = 5;
/// How many logins of the other role may pass in an hour.
const RATE: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_quotas_of_roles_hold_at_all_nodes() {
    let mut cluster = Cluster::formed().await;
    let api = cluster.api(0);
    api.must("POST", "sys/auth/approle", json!({"type": "approle"}))
        .await;
    let (web, job) = (role(&api, "web").await, role(&api, "job").await);
    let count = json!({"max_leases": TOKENS, "path": "auth/approle", "role": "web"});
    api.must("POST", "sys/quotas/lease-count/web", count).await;
    let limit = json!({"rate": RATE, "interval": "1h", "path": "auth/approle", "role": "job"});
    api.must("POST", "sys/quotas/rate-limit/job", limit).await;

    let tokens = log_in(&cluster, &web).await;
    assert_eq!(tokens.len(), TOKENS);
    assert_eq!(log_in(&cluster, &job).await.len(), RATE);
    counts(&cluster, TOKENS).await;

    let leader = cluster.leader().await;
    cluster.api(leader).must("PUT", "sys/step-down", json!({})).await;
    let leader = cluster.another_leader(leader).await;
    assert_eq!(log_in(&cluster, &web).await.len(), 0, "it is full");
    // Each that ends makes room for one, and no more.
    for (token, at) in tokens.iter().zip(cluster.others(leader)) {
        let ends = json!({ "token": token });
        cluster.api(at).must("POST", "auth/token/revoke", ends).await;
    }
    counts(&cluster, TOKENS - 2).await;
    assert_eq!(log_in(&cluster, &web).await.len(), 2);
    counts(&cluster, TOKENS).await;
    cluster.assert_alive();
}

/// Makes a role; what it logs in with.
async fn role(api: &Api, name: &str) -> Value {
    let path = format!("auth/approle/role/{name}");
    api.must("POST", &path, json!({"token_ttl": "1h"})).await;
    let id = api.get(&format!("{path}/role-id")).await.into_data();
    let secret = api.must("POST", &format!("{path}/secret-id"), json!({})).await;
    json!({"role_id": id["role_id"], "secret_id": secret["secret_id"]})
}

/// The tokens of so many logins at the same time; all others are too many.
async fn log_in(cluster: &Cluster, shown: &Value) -> Vec<String> {
    let mut logins = JoinSet::new();
    for api in cluster.apis().into_iter().cycle().take(LOGINS) {
        let shown = shown.clone();
        logins.spawn(async move { api.call("POST", "auth/approle/login", Some(shown)).await });
    }
    let mut tokens = Vec::new();
    while let Some(login) = logins.join_next().await {
        let reply = login.expect("a client that does not fail").expect("an answer");
        match reply.is_good() {
            true => tokens.push(
                reply.body["auth"]["client_token"]
                    .as_str()
                    .expect("a token")
                    .to_owned(),
            ),
            false => assert_eq!(reply.status, 429, "{}", reply.text()),
        }
    }
    tokens
}

/// Each node tells this number.
async fn counts(cluster: &Cluster, tokens: usize) {
    for api in cluster.apis() {
        let told = api.get("sys/quotas/lease-count/web").await.into_data();
        assert_eq!(told["counter"], tokens, "{told}");
    }
}
