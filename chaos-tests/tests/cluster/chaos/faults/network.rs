//! Faults between nodes that all run.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Fault, Scene};
use crate::chaos::SLOWER;
use crate::harness::{End, Manner, SOON, eventually};

/// How late slow links are: a way around half the world, and back.
const LATE: Duration = Duration::from_millis(60);
/// Bytes a second of narrow links: some entries, no bulk.
const NARROW: u64 = 300_000;
/// How often connections break, and the calls answered in between as a part of those awaited.
const BREAKS: u64 = 4;

impl Scene<'_> {
    pub(super) async fn connections(&mut self, fault: Fault, leader: usize, follower: usize) -> bool {
        let links = self.network.links();
        let hindered = || links.counts().hindered.load(Ordering::Relaxed);
        let cut = || links.counts().cut.load(Ordering::Relaxed);
        let before = hindered() + cut();
        self.hinder(fault, leader, follower);
        match fault {
            Fault::LeaderCutOff | Fault::LeaderMute => self.another_leads(leader).await,
            Fault::Resets => {
                for _ in 1..BREAKS {
                    self.clients.go_on(self.enough / BREAKS).await;
                    self.hinder(fault, leader, follower);
                }
            }
            Fault::ClientsCutOff => {
                for other in self.cluster.others(leader) {
                    links.reset(End::Clients, End::Node(other));
                }
            }
            _ => {}
        }
        let slower = if fault == Fault::SlowLinks { SLOWER } else { 1 };
        self.clients.go_on(self.enough / slower).await;
        let met = eventually("the fault meets something", SOON, async || {
            if hindered() + cut() > before {
                Ok(true)
            } else {
                Err("not yet")
            }
        })
        .await;
        links.heal();
        met
    }

    /// Begins a hindrance that lasts until the network is healed.
    pub fn hinder(&self, fault: Fault, leader: usize, follower: usize) {
        let (links, it) = (self.network.links(), End::Node(leader));
        let others: Vec<End> = self.nodes().filter(|node| *node != it).collect();
        match fault {
            Fault::SlowLinks => others
                .iter()
                .for_each(|other| links.set_both(it, *other, Manner::late(LATE))),
            Fault::NarrowLinks => {
                others
                    .iter()
                    .for_each(|other| links.set_both(it, *other, Manner::narrow(NARROW)));
            }
            Fault::LeaderCutOff => others
                .iter()
                .for_each(|other| links.set_both(it, *other, Manner::HELD)),
            Fault::FollowerCutOff => {
                let it = End::Node(follower);
                let others = self.nodes().filter(|node| *node != it);
                others.for_each(|other| links.set_both(it, other, Manner::HELD));
            }
            Fault::LeaderDeaf => others
                .iter()
                .for_each(|other| links.set(*other, it, Manner::HELD)),
            Fault::LeaderMute => others
                .iter()
                .for_each(|other| links.set(it, *other, Manner::HELD)),
            Fault::Bridge => links.set_both(it, End::Node(follower), Manner::HELD),
            Fault::HalfOpen => others.iter().for_each(|other| links.half_open(it, *other)),
            Fault::Resets => {
                for one in self.nodes() {
                    self.nodes().for_each(|other| links.reset(one, other));
                }
            }
            Fault::ClientsCutOff => {
                links.reset(End::Clients, it);
                links.set_both(End::Clients, it, Manner::HELD);
            }
            _ => unreachable!("no fault of the network"),
        }
    }

    /// Waits until all other nodes follow another leader.
    pub(super) async fn another_leads(&self, than: usize) {
        let former = &self.cluster.nodes[than].url;
        let others = self.cluster.others(than);
        eventually("another leads", SOON, async || {
            for at in &others {
                let told = self.cluster.nodes[*at].api.get("sys/leader").await.body;
                let named = told["leader_address"].as_str().unwrap_or_default();
                if named.is_empty() || named == former {
                    return Err(told);
                }
            }
            Ok(())
        })
        .await;
    }
}
