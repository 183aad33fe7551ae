//! Limits hold for the cluster: whatever share of the load a node has, across a change of leader, and without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::ledger::Ledger;
use super::message::{Ask, Grant};
use super::rule::{GroupBy, RateLimit};
use super::slices::{Bank, Slices};

/// Three nodes, each of which could lead.
struct Cluster {
    slices: [Slices; 3],
    ledgers: [Ledger; 3],
    /// Who leads; 3: nobody.
    leader: AtomicUsize,
    asked: AtomicUsize,
}

struct Node<'c>(&'c Cluster, usize);

impl Bank for Node<'_> {
    fn name(&self, rule: &RateLimit, _: Option<std::net::IpAddr>) -> [u8; 32] {
        [u8::try_from(rule.name.len()).unwrap(); 32]
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Option<Grant>> {
        async move {
            self.0.asked.fetch_add(1, Ordering::Relaxed);
            // why: the way to the leader and back takes time
            tokio::time::sleep(Duration::from_millis(1)).await;
            let leader = self.0.leader.load(Ordering::Relaxed);
            let ledger = self.0.ledgers.get(leader)?;
            let term = u64::try_from(leader).unwrap() + 1;
            let ask = Ask::decode(&ask.encode()).unwrap();
            Grant::decode(&Grant::encode(Some(ledger.grant(term, self.1 as u64, &ask))))
        }
        .boxed()
    }

    fn members(&self) -> usize {
        3
    }
}

fn rule(rate: f64, interval: u64, block: u64) -> Arc<RateLimit> {
    Arc::new(RateLimit {
        name: "all".to_owned(),
        path: String::new(),
        role: String::new(),
        rate,
        interval,
        block,
        inheritable: true,
        group_by: GroupBy::None,
    })
}

fn cluster() -> Cluster {
    Cluster {
        slices: Default::default(),
        ledgers: Default::default(),
        leader: AtomicUsize::new(0),
        asked: AtomicUsize::new(0),
    }
}

/// Sends `per_second` requests for `seconds`, 90 of a hundred to the first node and 5 to each other one; how many passed.
async fn load(
    cluster: &Cluster,
    rule: &Arc<RateLimit>,
    per_second: u64,
    seconds: u64,
    each: impl Fn(Duration),
) -> usize {
    let began = Instant::now();
    let mut admitted = 0;
    for number in 0..per_second * seconds {
        // why: time is paused and moves by such waits alone.
        tokio::time::sleep_until(began + Duration::from_micros(number * 1_000_000 / per_second)).await;
        each(began.elapsed());
        let node = match number % 20 {
            0 => 1,
            1 => 2,
            _ => 0,
        };
        let bank = Node(cluster, node);
        admitted += usize::from(cluster.slices[node].take(rule, None, &bank).await);
    }
    admitted
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_for_the_cluster() {
    let cluster = cluster();
    let admitted = load(&cluster, &rule(100.0, 1000, 0), 300, 20, |_| {}).await;
    assert!((1_900..=2_300).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_across_a_change_of_leader() {
    let cluster = cluster();
    let admitted = load(&cluster, &rule(100.0, 1000, 0), 300, 20, |elapsed| {
        let leader = match elapsed.as_millis() {
            0..7_000 => 0,
            7_000..9_000 => 3,
            _ => 1,
        };
        cluster.leader.store(leader, Ordering::Relaxed);
    })
    .await;
    assert!((1_900..=2_300).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_does_not_give_a_long_limit_again() {
    let cluster = cluster();
    // 60 a minute: all are used up at once, and the next leader hears of it.
    let rule = rule(60.0, 60_000, 0);
    let admitted = load(&cluster, &rule, 100, 10, |elapsed| {
        cluster
            .leader
            .store(usize::from(elapsed >= Duration::from_secs(3)), Ordering::Relaxed);
    })
    .await;
    assert!((60..=80).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn what_is_below_the_limit_passes() {
    let cluster = cluster();
    let admitted = load(&cluster, &rule(100.0, 1000, 0), 90, 10, |_| {}).await;
    assert_eq!(admitted, 900);
    let admitted = load(&cluster, &rule(100_000.0, 1000, 0), 10_000, 2, |_| {}).await;
    assert_eq!(admitted, 20_000);
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_nodes_keep_to_their_share() {
    let cluster = cluster();
    cluster.leader.store(3, Ordering::Relaxed);
    let admitted = load(&cluster, &rule(90.0, 1000, 0), 300, 10, |_| {}).await;
    // The busy node has a third of 90 each second and 30 to begin with; the others send less than theirs.
    assert!((300..=700).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn whoever_exceeds_a_limit_is_blocked_for_a_time() {
    let cluster = cluster();
    let rule = rule(10.0, 1000, 5_000);
    let admitted = load(&cluster, &rule, 100, 4, |_| {}).await;
    assert!((10..=15).contains(&admitted), "{admitted}");
    // why: time is paused and moves by such waits alone.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(cluster.slices[0].take(&rule, None, &Node(&cluster, 0)).await);
}

#[tokio::test(start_paused = true)]
async fn a_busy_node_asks_seldom() {
    let cluster = cluster();
    let rule = rule(100_000.0, 1000, 0);
    let admitted = load(&cluster, &rule, 10_000, 2, |_| {}).await;
    let asked = cluster.asked.load(Ordering::Relaxed);
    assert!(asked * 20 < admitted, "{asked} questions for {admitted} requests");
}
