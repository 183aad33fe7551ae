//! A policy that is tightened and a secret that is written after it are never seen mixed: nobody reads the new secret by
//! the old policy, on any node, however busy it is and though other nodes apply both in one write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Api, Cluster, Writers};

/// How often the policy is tightened and loosened again.
const ROUNDS: u64 = 60;
/// Readers on each node.
const READERS: usize = 3;
/// Writers of other keys, to keep caches and batches busy.
const WRITERS: usize = 6;
const SECRET: &str = "secret/data/guarded";
const POLICY: &str = "sys/policies/acl/guard";
const OPEN: &str = "path \"secret/data/guarded\" { capabilities = [\"read\"] }";
const CLOSED: &str = "path \"secret/data/guarded\" { capabilities = [\"deny\"] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_policy_and_secret_together() {
    let mut cluster = Cluster::formed().await;
    let admin = cluster.api(0);
    loosen(&admin).await;
    publish(&admin, "public", 0).await;
    let wish = json!({"policies": ["guard"], "ttl": "1h"});
    let created = admin
        .call("POST", "auth/token/create", Some(wish))
        .await
        .expect("an answer");
    let token = created.body["auth"]["client_token"]
        .as_str()
        .expect("a token")
        .to_owned();

    let writers = Writers::start(WRITERS, &cluster.apis(), &mut cluster.seed);
    let watch = Arc::new(Watch::default());
    let mut readers = JoinSet::new();
    for reader in 0..READERS * 3 {
        let api = cluster.nodes[reader % 3].api.with_token(&token);
        readers.spawn(read(api, Arc::clone(&watch)));
    }
    for round in 1..=ROUNDS {
        let (one, other) = (cluster.seed.below(3), cluster.seed.below(3));
        let (one, other) = (cluster.api(one), cluster.api(other));
        // On the node that was not asked both arrive together, most often in one write of its state.
        let tightened = async {
            tighten(&one).await;
            publish(&other, "private", round).await;
        };
        tokio::join!(tightened, busy(&other, round));
        let seen = watch.private.load(Ordering::SeqCst);
        assert_eq!(
            seen, 0,
            "round {seen}: a secret was read by a policy that was tightened before it was written"
        );
        publish(&other, "public", round).await;
        loosen(&one).await;
    }
    watch.stop.store(true, Ordering::SeqCst);
    readers.join_all().await;
    let (open, closed) = (
        watch.open.load(Ordering::SeqCst),
        watch.closed.load(Ordering::SeqCst),
    );
    eprintln!("{open} reads were allowed, {closed} were not");
    assert!(
        open >= ROUNDS && closed >= ROUNDS,
        "{open} reads allowed, {closed} denied: too few of either"
    );
    assert_eq!(watch.private.load(Ordering::SeqCst), 0);
    drop(writers.finish().await);
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// What readers with the guarded policy met.
#[derive(Default)]
struct Watch {
    stop: AtomicBool,
    open: AtomicU64,
    closed: AtomicU64,
    /// A round whose private secret was read; 0 if none was.
    private: AtomicU64,
}

async fn read(api: Api, watch: Arc<Watch>) {
    while !watch.stop.load(Ordering::SeqCst) {
        let Ok(reply) = api.call("GET", SECRET, None).await else {
            continue;
        };
        match reply.status {
            200 => {
                let data = &reply.body["data"]["data"];
                if data["kind"] == "private" {
                    watch
                        .private
                        .store(data["round"].as_u64().expect("a round"), Ordering::SeqCst);
                }
                watch.open.fetch_add(1, Ordering::SeqCst);
            }
            403 => {
                watch.closed.fetch_add(1, Ordering::SeqCst);
            }
            503 | 504 => {}
            _ => panic!("{}", reply.text()),
        }
    }
}

async fn publish(api: &Api, kind: &str, round: u64) {
    let body = json!({"data": {"kind": kind, "round": round}});
    api.must("POST", SECRET, body).await;
}

/// Policies of other people, which move the same caches.
async fn busy(api: &Api, round: u64) {
    let body = json!({"policy": OPEN});
    api.must("POST", &format!("sys/policies/acl/other-{round}"), body)
        .await;
}

async fn tighten(api: &Api) {
    policy(api, CLOSED).await;
}

async fn loosen(api: &Api) {
    policy(api, OPEN).await;
}

async fn policy(api: &Api, rules: &str) {
    let body: Value = json!({"policy": rules});
    api.must("POST", POLICY, body).await;
}
