//! Accounts in a real API server of Kubernetes under the same faults: leaders struck while they make and remove them, a server
//! that is down, an account without a lease, and the token of whoever makes accounts refused.

use serde_json::{Value, json};

use super::kubernetes_server::{Kubernetes, NAMESPACE};
use super::{Kind, QUIET, Target, ask, leases_of, strike, strikes};
use crate::harness::{Api, Cluster, SOON, eventually};

const CREDS: &str = "kubernetes/creds/app";

impl Target for Kubernetes {
    fn stop(&mut self) {
        self.stop();
    }

    async fn run(&mut self) {
        self.run().await;
    }
}

async fn connect(api: &Api, server: &Kubernetes, token: &str) {
    let config = json!({
        "kubernetes_host": server.host(), "kubernetes_ca_cert": server.authority.pem(), "service_account_jwt": token,
    });
    api.must("POST", "kubernetes/config", config).await;
    let checked = api.get("kubernetes/check").await;
    assert_eq!(checked.status, 204, "{}", checked.text());
}

/// How long tokens live from here on.
async fn live(api: &Api, ttl: &str) {
    let role = json!({
        "allowed_kubernetes_namespaces": NAMESPACE, "kubernetes_role_name": "watcher",
        "token_default_ttl": ttl, "token_max_ttl": "2h",
    });
    api.must("POST", "kubernetes/roles/app", role).await;
}

/// The name and the token of a new account.
async fn issued(api: &Api) -> (String, String) {
    let reply = ask(api, CREDS).await.expect("an answer");
    let text = |name: &str| reply.body["data"][name].as_str().map(str::to_owned);
    match (text("service_account_name"), text("service_account_token")) {
        (Some(name), Some(token)) => (name, token),
        _ => panic!("no credential: {}", reply.text()),
    }
}

/// Waits until a token may what its role may, and that only.
async fn works(server: &Kubernetes, token: &str) {
    eventually("the token works", SOON, async || {
        server.lists_pods(token, NAMESPACE)
    })
    .await;
    assert!(server.lists_pods(token, "other").is_err());
}

/// Waits until the server knows nobody by this token.
async fn refused(server: &Kubernetes, token: &str) {
    eventually("the token is refused", QUIET, async || {
        match server.lists_pods(token, NAMESPACE) {
            Err(text) if text.starts_with("401 ") => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// Waits until the accounts are those with a lease, each with its binding, and, if that is known, this many.
async fn has(server: &Kubernetes, api: &Api, count: Option<usize>) {
    eventually("the accounts are those with a lease", QUIET, async || {
        let (objects, accounts) = (server.objects(), server.accounts());
        let leases = leases_of(api, CREDS).await;
        let as_many = accounts.len() == leases.len() && objects.len() == 2 * leases.len();
        match as_many && count.is_none_or(|count| leases.len() == count) {
            true => Ok(()),
            false => Err((objects, leases)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_kubernetes() {
    let (mut server, mut cluster) = tokio::join!(Kubernetes::start(), Cluster::formed());
    let api = cluster.api(0);
    api.must("POST", "sys/mounts/kubernetes", json!({"type": "kubernetes"}))
        .await;
    let maker = server.maker("maker", &["bind", "escalate"]);
    connect(&api, &server, &maker).await;
    live(&api, "1h").await;
    let theirs = json!({"metadata": {"name": "theirs"}});
    server.must("POST", "api/v1/namespaces/demo/serviceaccounts", Some(theirs));
    let kept = issued(&cluster.api(1)).await;
    works(&server, &kept.1).await;
    for case in strikes(Kind::Kubernetes) {
        strike(&mut cluster, &mut server, CREDS, case).await;
    }
    let api = cluster.api(0);
    has(&server, &api, None).await;
    works(&server, &kept.1).await;
    orphans_go(&server, &api, &kept.0).await;
    tokens_end(&server, &api, &kept.1).await;
    down_and_back(&mut server, &api).await;
    stays(&server, &api).await;
    maker_is_refused(&server, &api).await;
    server.must("GET", "api/v1/namespaces/demo/serviceaccounts/theirs", None);
    cluster.assert_alive();
}

/// What bears the mount's label and has no lease is removed, and be it only a binding that is left; what bears none is let be.
async fn orphans_go(server: &Kubernetes, api: &Api, account: &str) {
    let path = format!("api/v1/namespaces/demo/serviceaccounts/{account}");
    let told: Value = serde_json::from_str(&server.must("GET", &path, None)).expect("an account");
    let labels = &told["metadata"]["labels"];
    let lost = json!({"metadata": {"name": "lost", "labels": labels}});
    server.must(
        "POST",
        "api/v1/namespaces/other/serviceaccounts",
        Some(lost.clone()),
    );
    let mut bound = lost;
    bound["metadata"]["name"] = json!("left");
    bound["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "watcher"});
    let bindings = "apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    server.must("POST", bindings, Some(bound));
    let told = api
        .must("PUT", "sys/leases/reconcile", json!({"mount": "kubernetes"}))
        .await;
    let found = &told["targets"][0];
    assert_eq!(found["orphans"], json!(["demo/left", "other/lost"]), "{told}");
    assert_eq!(found["certain"], json!(true), "{told}");
    eventually("they are gone", QUIET, async || match server.objects() {
        objects
            if objects
                .iter()
                .any(|object| object.ends_with("left") || object.ends_with("lost")) =>
        {
            Err(objects)
        }
        _ => Ok(()),
    })
    .await;
    works(server, &issued(api).await.1).await;
}

/// By its time, and when it is taken back: a token that lives ten minutes ends with its lease of three seconds.
async fn tokens_end(server: &Kubernetes, api: &Api, kept: &str) {
    live(api, "3s").await;
    let (name, token) = issued(api).await;
    refused(server, &token).await;
    assert!(!server.accounts().contains(&name));
    live(api, "1h").await;
    api.must("PUT", "sys/leases/revoke-prefix/kubernetes", json!({}))
        .await;
    has(server, api, Some(0)).await;
    refused(server, kept).await;
}

async fn down_and_back(server: &mut Kubernetes, api: &Api) {
    let (_, token) = issued(api).await;
    server.stop();
    api.must("PUT", "sys/leases/revoke-prefix/kubernetes", json!({}))
        .await;
    let refusal = ask(api, CREDS).await.expect("an answer");
    assert_eq!(refusal.status, 500, "{}", refusal.text());
    server.run().await;
    has(server, api, Some(0)).await;
    refused(server, &token).await;
}

/// A token of an account that was there before: its lease ends, and nothing in the cluster is touched.
async fn stays(server: &Kubernetes, api: &Api) {
    let role = json!({"allowed_kubernetes_namespaces": NAMESPACE, "service_account_name": "theirs"});
    api.must("POST", "kubernetes/roles/stays", role).await;
    let wish = json!({"ttl": "20m"});
    let reply = api.call("POST", "kubernetes/creds/stays", Some(wish)).await;
    let reply = reply.expect("an answer").body;
    let token = reply["data"]["service_account_token"].as_str().expect("a token");
    let revoke = json!({"lease_id": reply["lease_id"], "sync": true});
    api.must("PUT", "sys/leases/revoke", revoke).await;
    let review = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asked = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    server
        .ask(token, "POST", review, Some(asked))
        .expect("its own end is what ends it");
}

/// Somebody removes the account that makes accounts, and makes it anew: no lease is made, and the error says why.
async fn maker_is_refused(server: &Kubernetes, api: &Api) {
    let accounts = "api/v1/namespaces/makers/serviceaccounts";
    server.must("DELETE", &format!("{accounts}/maker"), None);
    server.must("POST", accounts, Some(json!({"metadata": {"name": "maker"}})));
    eventually("its old token is forgotten", SOON, async || {
        let told = api.get("kubernetes/check").await;
        match told.status == 500 && told.text().contains("401") {
            true => Ok(()),
            false => Err(told),
        }
    })
    .await;
    let refusal = ask(api, CREDS).await.expect("an answer");
    assert_eq!(refusal.status, 500, "{}", refusal.text());
    assert!(refusal.text().contains("401"), "{}", refusal.text());
    has(server, api, Some(0)).await;
    connect(api, server, &server.token("makers", "maker")).await;
    let (_, token) = issued(api).await;
    works(server, &token).await;
}
