//! The real `bao` and hvac, unmodified, and the SDK's example, through a follower and while the leader is killed.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::harness::{Cluster, FAILOVER, Tool};

/// What one call may take from kill -9 of the leader on: the time of a failover and the start of a client.
const DURING_KILL: Duration = FAILOVER.saturating_add(Duration::from_secs(20));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_clients() {
    let mut cluster = Cluster::formed().await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    key_values(&Tool::bao(&cluster, follower)).await;
    policies_and_tokens(&cluster, follower).await;
    mounts(&Tool::bao(&cluster, follower)).await;
    let told = Tool::python(&cluster, follower, HVAC).must(&[]).await;
    assert_eq!(told, "done", "{told}");
    let greeted = Tool::quickstart(&cluster, &[follower]).must(&[]).await;
    assert_eq!(greeted, "version 1: kept");

    let bao = Tool::bao(&cluster, follower);
    let (started, loop_of_puts) = puts_by_bao(bao);
    started.await.expect("a first put");
    cluster.nodes[leader].kill();
    let killed = Instant::now();
    let greeted = Tool::quickstart(&cluster, &[leader, follower]).must(&[]).await;
    assert_eq!(greeted, "version 2: kept");
    let hvac = Tool::python(&cluster, follower, HVAC_PUT);
    assert_eq!(hvac.must(&[]).await, "done");
    assert!(killed.elapsed() < DURING_KILL, "hvac took {:?}", killed.elapsed());
    let slowest = loop_of_puts.await.expect("puts that all succeed");
    assert!(slowest < DURING_KILL, "a put took {slowest:?}");
    let read = Tool::bao(&cluster, follower)
        .must(&["kv", "get", "-field=number", "secret/loop"])
        .await;
    assert_eq!(read, (PUTS - 1).to_string());
    cluster.assert_alive();
}

async fn key_values(bao: &Tool) {
    bao.must(&["kv", "put", "secret/app/db", "user=u1", "password=p1"])
        .await;
    bao.must(&["kv", "put", "secret/app/db", "user=u2", "password=p2"])
        .await;
    assert_eq!(
        bao.must(&["kv", "get", "-field=password", "secret/app/db"]).await,
        "p2"
    );
    assert_eq!(
        bao.must(&["kv", "get", "-version=1", "-field=user", "secret/app/db"])
            .await,
        "u1"
    );
    let listed: Value = json(&bao.must(&["kv", "list", "-format=json", "secret/app"]).await);
    assert_eq!(listed, serde_json::json!(["db"]));
    bao.must(&["kv", "delete", "secret/app/db"]).await;
    assert!(
        bao.run(&["kv", "get", "-field=user", "secret/app/db"])
            .await
            .is_err(),
        "it was deleted"
    );
    bao.must(&["kv", "undelete", "-versions=2", "secret/app/db"])
        .await;
    assert_eq!(
        bao.must(&["kv", "get", "-field=user", "secret/app/db"]).await,
        "u2"
    );
    bao.must(&["kv", "metadata", "delete", "secret/app/db"]).await;
    assert!(
        bao.run(&["kv", "list", "secret/app"]).await.is_err(),
        "nothing is left to list"
    );
}

async fn policies_and_tokens(cluster: &Cluster, follower: usize) {
    let bao = Tool::bao(cluster, follower);
    let rules = cluster.files().join("reader.hcl");
    let text = "path \"secret/data/open/*\" { capabilities = [\"read\"] }\n";
    std::fs::write(&rules, text).expect("a policy file");
    bao.must(&["policy", "write", "reader", &rules.display().to_string()])
        .await;
    assert_eq!(bao.must(&["policy", "read", "reader"]).await, text.trim());
    bao.must(&["kv", "put", "secret/open/a", "value=open"]).await;
    bao.must(&["kv", "put", "secret/closed/a", "value=closed"]).await;

    let created = bao
        .must(&["token", "create", "-policy=reader", "-ttl=10m", "-format=json"])
        .await;
    let token = json(&created)["auth"]["client_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    // The very next request, on another node.
    let other = cluster.others(follower)[0];
    let reader = Tool::bao(cluster, other).token(&token);
    assert_eq!(
        reader
            .must(&["kv", "get", "-mount=secret", "-field=value", "open/a"])
            .await,
        "open"
    );
    let denied = reader
        .run(&["kv", "get", "-mount=secret", "closed/a"])
        .await
        .expect_err("not allowed");
    assert!(denied.contains("permission denied"), "{denied}");
    let found = json(&bao.must(&["token", "lookup", "-format=json", &token]).await);
    assert_eq!(
        found["data"]["policies"],
        serde_json::json!(["default", "reader"])
    );
    let renewed = json(
        &bao.must(&["token", "renew", "-increment=20m", "-format=json", &token])
            .await,
    );
    assert!(
        renewed["auth"]["lease_duration"]
            .as_u64()
            .is_some_and(|ttl| ttl > 600),
        "{renewed}"
    );
    bao.must(&["token", "revoke", &token]).await;
    let gone = reader
        .run(&["kv", "get", "-mount=secret", "open/a"])
        .await
        .expect_err("it was revoked");
    assert!(
        gone.contains("permission denied") || gone.contains("403"),
        "{gone}"
    );
}

async fn mounts(bao: &Tool) {
    bao.must(&["secrets", "enable", "-path=team", "kv-v2"]).await;
    let mounts = json(&bao.must(&["secrets", "list", "-format=json"]).await);
    assert_eq!(mounts["team/"]["type"], "kv");
    bao.must(&["kv", "put", "team/x", "a=b"]).await;
    bao.must(&["secrets", "disable", "team"]).await;
    assert!(
        bao.run(&["kv", "get", "team/x"]).await.is_err(),
        "the mount is gone"
    );
}

const PUTS: usize = 12;

/// Puts one after the other; the slowest. Says when the first is done.
fn puts_by_bao(bao: Tool) -> (tokio::sync::oneshot::Receiver<()>, JoinHandle<Duration>) {
    let (begun, started) = tokio::sync::oneshot::channel();
    let puts = tokio::spawn(async move {
        let mut begun = Some(begun);
        let mut slowest = Duration::ZERO;
        for number in 0..PUTS {
            let start = Instant::now();
            bao.must(&["kv", "put", "secret/loop", &format!("number={number}")])
                .await;
            slowest = slowest.max(start.elapsed());
            if let Some(begun) = begun.take() {
                begun.send(()).expect("a scenario that waits");
            }
        }
        slowest
    });
    (started, puts)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"))
}

const HVAC: &str = r#"
import os
import hvac
client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"], verify=os.environ["VAULT_CACERT"])
assert client.sys.is_initialized() and not client.sys.is_sealed() and client.is_authenticated()
kv = client.secrets.kv.v2
assert kv.create_or_update_secret("hvac/one", secret={"a": "1"})["data"]["version"] == 1
assert kv.create_or_update_secret("hvac/one", secret={"a": "2"}, cas=1)["data"]["version"] == 2
try:
    kv.create_or_update_secret("hvac/one", secret={"a": "3"}, cas=1)
    raise SystemExit("a wrong cas was taken")
except hvac.exceptions.InvalidRequest:
    pass
assert kv.read_secret_version("hvac/one", raise_on_deleted_version=True)["data"]["data"] == {"a": "2"}
assert kv.list_secrets("hvac")["data"]["keys"] == ["one"]
kv.delete_latest_version_of_secret("hvac/one")
try:
    kv.read_secret_version("hvac/one", raise_on_deleted_version=True)
    raise SystemExit("a deleted secret was read")
except hvac.exceptions.InvalidPath:
    pass
client.sys.create_or_update_policy("hvac", 'path "secret/data/hvac/*" { capabilities = ["read"] }')
assert "hvac" in client.sys.list_policies()["data"]["policies"]
token = client.auth.token.create(policies=["hvac"], ttl="10m")["auth"]["client_token"]
assert "hvac" in client.auth.token.lookup(token)["data"]["policies"]
client.auth.token.renew(token, increment="15m")
client.auth.token.revoke(token)
try:
    client.auth.token.lookup(token)
    raise SystemExit("a revoked token was found")
except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath, hvac.exceptions.InvalidRequest):
    pass
client.sys.enable_secrets_engine("kv", path="hvac-kv", options={"version": "2"})
assert "hvac-kv/" in client.sys.list_mounted_secrets_engines()["data"]
client.sys.disable_secrets_engine("hvac-kv")
print("done")
"#;

const HVAC_PUT: &str = r#"
import os
import hvac
client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"], verify=os.environ["VAULT_CACERT"])
kv = client.secrets.kv.v2
kv.create_or_update_secret("hvac/during", secret={"a": "kill"})
assert kv.read_secret_version("hvac/during", raise_on_deleted_version=True)["data"]["data"] == {"a": "kill"}
print("done")
"#;
