//! Faults of the cables between nodes that all run: what is sent vanishes, and nobody is told.

use super::{Fault, Scene};
use crate::harness::{SOON, eventually, sent_again};

/// How often a loose cable falls out, and the calls answered meanwhile as a part of those awaited.
const FALLS: u64 = 4;

impl Scene<'_> {
    pub(super) async fn cables(&mut self, fault: Fault, leader: usize, follower: usize) -> bool {
        let cables = self.network.cables();
        let before = self.sent_again();
        match fault {
            Fault::LeaderUnplugged => {
                cables.pull(leader);
                self.another_leads(leader).await;
            }
            Fault::FollowerUnplugged => {
                cables.pull(follower);
                self.misses_its_leader(follower).await;
            }
            Fault::LeaderUnheard => {
                for other in self.cluster.others(leader) {
                    cables.swallow(leader, other);
                }
                self.another_leads(leader).await;
            }
            Fault::LooseCable => {
                for _ in 1..FALLS {
                    cables.pull(leader);
                    self.clients.go_on(self.enough / FALLS).await;
                    cables.plug(leader);
                    self.clients.go_on(self.enough / FALLS).await;
                }
                cables.pull(leader);
            }
            _ => unreachable!("no fault of cables"),
        }
        self.clients.go_on(self.enough).await;
        let met = eventually("something is sent again", SOON, async || {
            if self.sent_again() > before {
                Ok(true)
            } else {
                Err("not yet")
            }
        })
        .await;
        cables.heal();
        met
    }

    /// Waits until a node knows of no leader.
    async fn misses_its_leader(&self, at: usize) {
        let api = &self.cluster.nodes[at].api;
        eventually("it misses its leader", SOON, async || {
            let told = api.get("sys/leader").await.body;
            if told["leader_address"] == "" {
                Ok(())
            } else {
                Err(told)
            }
        })
        .await;
    }

    /// By all nodes.
    fn sent_again(&self) -> u64 {
        let nodes = self.cluster.nodes.iter();
        nodes.map(|node| sent_again(node.pid())).sum()
    }
}
