//! What happens to the nodes while clients are at work.

use std::sync::atomic::Ordering;

use super::clients::Clients;
use crate::harness::{Cluster, SOON, eventually};

/// One of them happens in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of who leads.
    KillLeader,
    /// kill -9 of a follower.
    KillFollower,
    /// kill -9 of one node, then, while that is back and sealed, of another.
    KillTwo,
    /// kill -9 of all nodes at once.
    KillAll,
    /// The leader stands still until another leads, and then goes on.
    FreezeLeader,
    /// The leader hands over.
    StepDown,
}

impl Fault {
    pub const ALL: [Self; 6] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::KillTwo,
        Self::KillAll,
        Self::FreezeLeader,
        Self::StepDown,
    ];

    /// Lets it happen, lets `enough` calls be answered meanwhile, and brings everybody back.
    pub async fn happen(self, cluster: &mut Cluster, clients: &Clients, enough: u64) {
        let leader = cluster.leader().await;
        let followers = cluster.others(leader);
        let follower = followers[cluster.seed.below(followers.len())];
        match self {
            Self::KillLeader => kill(cluster, clients, &[leader], enough).await,
            Self::KillFollower => kill(cluster, clients, &[follower], enough).await,
            Self::KillTwo => kill(cluster, clients, &[leader, follower], enough).await,
            Self::KillAll => kill_all(cluster).await,
            Self::FreezeLeader => freeze(cluster, leader).await,
            Self::StepDown => {
                let reply = cluster.api(leader).call("PUT", "sys/step-down", None).await;
                let reply = reply.expect("an answer");
                assert!(reply.is_good(), "{}", reply.text());
            }
        }
        cluster.all_unsealed(&[0, 1, 2]).await;
        let leader = cluster.leader().await;
        clients.round.leader.store(leader, Ordering::SeqCst);
    }
}

/// One after the other is killed and comes back sealed; shares come last.
async fn kill(cluster: &mut Cluster, clients: &Clients, victims: &[usize], enough: u64) {
    for victim in victims {
        cluster.nodes[*victim].kill();
        clients.go_on(enough).await;
        cluster.nodes[*victim].start().await;
    }
    unseal(cluster).await;
}

async fn kill_all(cluster: &mut Cluster) {
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    unseal(cluster).await;
}

async fn unseal(cluster: &mut Cluster) {
    let through = cluster.seed.shuffled(&[0, 1, 2]);
    cluster.give_shares(&through).await;
}

async fn freeze(cluster: &mut Cluster, leader: usize) {
    let frozen = cluster.nodes[leader].url.clone();
    let others = cluster.others(leader);
    cluster.nodes[leader].freeze();
    eventually("another leads", SOON, async || {
        for at in &others {
            let told = cluster.nodes[*at].api.get("sys/leader").await.body;
            let named = told["leader_address"].as_str().unwrap_or_default();
            if named.is_empty() || named == frozen {
                return Err(told);
            }
        }
        Ok(())
    })
    .await;
    cluster.nodes[leader].thaw();
}
