//! An application on the SDK while nodes are killed: no call fails, and no write is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_client::{Conclave, Error};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::harness::{Cluster, SOON};

/// Calls begin at this pace whatever becomes of those before: 100 a second.
const PACE: Duration = Duration::from_millis(10);
/// Keys written in turn.
const KEYS: usize = 25;
/// Calls that must be answered between two kills.
const ENOUGH: u64 = 200;
/// Links that must be added to the chain between two kills.
const LINKS: u64 = 15;
/// Kills of the leader under the chain, unless [`KILLS_VARIABLE`] says otherwise.
const KILLS: usize = 100;
const KILLS_VARIABLE: &str = "CONCLAVE_CHAOS_KILLS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_sdk_steady() {
    let mut cluster = Cluster::formed().await;
    let application = Application::start(connect(&mut cluster));
    application.goes_on().await;
    for victim in cluster.seed.shuffled(&[0, 1, 2]) {
        cluster.nodes[victim].kill();
        application.goes_on().await;
        comes_back(&mut cluster, victim).await;
        application.goes_on().await;
    }
    let told = application.stop().await;
    assert!(
        told.failures.is_empty(),
        "{} calls failed: {:?}",
        told.failures.len(),
        told.failures
    );
    eprintln!("slowest call: {:?}", told.slowest);
    let kv = connect(&mut cluster).kv("secret");
    for (key, put) in told.puts.iter().enumerate() {
        let version = kv.get(&key_name(key)).await.expect("a key that was put").version;
        assert_eq!(version.number, *put, "versions = acknowledged puts of key {key}");
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_sdk_cas() {
    let mut cluster = Cluster::formed().await;
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |kills| kills.parse().expect("a number"));
    let kv = connect(&mut cluster).kv("secret");
    let (progress, mut links) = watch::channel(0);
    let chain = tokio::spawn(async move {
        // Ends when nobody watches any more, or with the first error.
        for link in 0_u64.. {
            let version = kv.put_cas("chain", &json!({"link": link}), link).await?;
            assert_eq!(version.number, link + 1);
            if progress.send(link + 1).is_err() {
                return Ok::<_, Error>(link + 1);
            }
        }
        Ok(0)
    });
    let mut reached = async |count: u64| {
        let reached = tokio::time::timeout(SOON, links.wait_for(|links| *links >= count)).await;
        match reached {
            Ok(Ok(links)) => Ok(*links),
            _ => Err(count),
        }
    };
    let mut at = reached(LINKS).await;
    for _ in 0..kills {
        let Ok(before) = at else { break };
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        at = reached(before + LINKS).await;
        comes_back(&mut cluster, leader).await;
    }
    drop(links);
    let length = chain.await.expect("a chain that does not panic");
    let length = length.expect("no error that a retry caused");
    assert!(at.is_ok(), "the chain stood still at {length}");
    let read = connect(&mut cluster)
        .kv("secret")
        .get("chain")
        .await
        .expect("the chain");
    assert_eq!(read.version.number, length, "versions = acknowledged writes");
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// A client that knows all nodes, in a random order.
pub fn connect(cluster: &mut Cluster) -> Conclave {
    let order = cluster.seed.shuffled(&[0, 1, 2]);
    let ca = std::fs::read(cluster.tls().join("ca.pem")).expect("the authority");
    Conclave::connect(order.into_iter().map(|at| cluster.nodes[at].url.clone()))
        .ca_cert(ca)
        .token(cluster.root.clone())
        .build()
        .expect("a client")
}

/// Starts a node that was killed, and opens it.
pub async fn comes_back(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].start().await;
    let through = cluster.seed.shuffled(&[0, 1, 2]);
    cluster.give_shares(&through).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
}

fn key_name(key: usize) -> String {
    format!("steady/{key}")
}

/// Puts and gets in turn, at a pace.
struct Application {
    answered: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Told>,
}

/// What became of the calls.
struct Told {
    /// Acknowledged puts by key.
    puts: [u64; KEYS],
    failures: Vec<Error>,
    slowest: Duration,
}

impl Application {
    fn start(client: Conclave) -> Self {
        let answered = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(client, Arc::clone(&answered), stopped));
        Self { answered, stop, task }
    }

    /// Waits until more calls were answered.
    async fn goes_on(&self) {
        let enough = self.answered.load(Ordering::Relaxed) + ENOUGH;
        crate::harness::eventually("calls are answered", SOON, async || {
            let answered = self.answered.load(Ordering::Relaxed);
            if answered >= enough { Ok(()) } else { Err(answered) }
        })
        .await;
    }

    async fn stop(self) -> Told {
        self.stop.send_replace(true);
        self.task.await.expect("an application that does not panic")
    }
}

async fn run(client: Conclave, answered: Arc<AtomicU64>, stopped: watch::Receiver<bool>) -> Told {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut calls = JoinSet::new();
    for turn in 0.. {
        if *stopped.borrow() {
            break;
        }
        pace.tick().await;
        let (kv, answered) = (client.kv("secret"), Arc::clone(&answered));
        let key = (turn / 2) % KEYS;
        calls.spawn(async move {
            let (started, path) = (Instant::now(), key_name(key));
            // A key is read after its first put was sent, perhaps before it is there.
            let outcome = if turn % 2 == 0 {
                kv.put(&path, &json!({"turn": turn})).await.map(|_| Some(key))
            } else {
                match kv.get(&path).await {
                    Ok(_) | Err(Error::NotFound(_)) => Ok(None),
                    Err(error) => Err(error),
                }
            };
            answered.fetch_add(1, Ordering::Relaxed);
            (outcome, started.elapsed())
        });
    }
    let mut told = Told {
        puts: [0; KEYS],
        failures: Vec::new(),
        slowest: Duration::ZERO,
    };
    for (outcome, took) in calls.join_all().await {
        told.slowest = told.slowest.max(took);
        match outcome {
            Ok(Some(key)) => told.puts[key] += 1,
            Ok(None) => {}
            Err(error) => told.failures.push(error),
        }
    }
    told
}
