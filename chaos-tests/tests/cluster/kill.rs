//! kill -9 of each node in turn, under writers.

use std::time::Instant;

use crate::harness::{Cluster, FAILOVER, Tool, Writers};

const WRITERS: usize = 16;
/// Writes that show that the cluster works.
const ENOUGH: u64 = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_survives_kill() {
    let mut cluster = Cluster::formed().await;
    let apis = cluster.apis();
    let writers = Writers::start(WRITERS, &apis, &mut cluster.seed);
    writers.go_on(ENOUGH).await;
    for victim in cluster.seed.shuffled(&[0, 1, 2]) {
        let after = cluster.others(victim)[cluster.seed.below(2)];
        kill_and_come_back(&mut cluster, &writers, victim, after).await;
    }
    let journal = writers.finish().await;
    assert!(!journal.acknowledged.is_empty());
    for api in &apis {
        journal.is_found_by(api).await;
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

async fn kill_and_come_back(cluster: &mut Cluster, writers: &Writers, victim: usize, after: usize) {
    eprintln!(
        "kill {}; leader was {}",
        cluster.nodes[victim].name,
        cluster.leader().await + 1
    );
    cluster.nodes[victim].kill();
    next_put_is_taken(cluster).await;
    writers.go_on(ENOUGH).await;

    cluster.nodes[victim].start().await;
    assert!(
        cluster.nodes[victim].is_sealed().await,
        "a restarted node holds no keys"
    );
    // It votes and replicates although it is sealed: with it, two of three are there.
    cluster.nodes[after].kill();
    writers.go_on(ENOUGH).await;
    cluster.nodes[after].start().await;

    let third = (0..3)
        .find(|at| ![victim, after].contains(at))
        .expect("three nodes");
    let through = cluster.seed.shuffled(&[victim, after, third]);
    cluster.give_shares(&through).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    writers.go_on(ENOUGH).await;
}

/// The very next put in the same shell: by the command line, with the addresses of all nodes, the dead one among them.
async fn next_put_is_taken(cluster: &mut Cluster) {
    let order = cluster.seed.shuffled(&[0, 1, 2]);
    let killed = Instant::now();
    let put = Tool::conclave(cluster, &order);
    put.must(&["kv", "put", "secret/next", "value=put"]).await;
    let took = killed.elapsed();
    eprintln!("kill to the next acknowledged put: {took:?}");
    assert!(took < FAILOVER, "the next put took {took:?}");
}
