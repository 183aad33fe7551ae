//! What happens to a cluster while clients are at work: the kinds of faults, and how each begins and ends.

mod cables;
mod disk;
mod members;
mod network;
mod process;

use std::sync::atomic::Ordering;

use super::clients::Clients;
use super::network::Network;
use crate::harness::{Cluster, End};

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal)*) => {
        /// One of them happens in each round.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $fault,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault,)*];

            /// Its name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }
        }
    };
}

faults! {
    /// All connections of one node are late.
    SlowLinks = "slow-links"
    /// All connections of the leader carry little.
    NarrowLinks = "narrow-links"
    /// Nothing reaches the leader, and nothing leaves it.
    LeaderCutOff = "leader-cut-off"
    /// The same for a follower.
    FollowerCutOff = "follower-cut-off"
    /// The leader hears nothing and is heard.
    LeaderDeaf = "leader-deaf"
    /// The leader is not heard and hears all.
    LeaderMute = "leader-mute"
    /// Two nodes do not reach each other, all others reach both.
    Bridge = "bridge"
    /// Connections of the leader end for it, and the other side is never told.
    HalfOpen = "half-open"
    /// All connections between nodes break, several times.
    Resets = "resets"
    /// Clients' connections break, and for a while nothing of theirs reaches a node.
    ClientsCutOff = "clients-cut-off"
    /// The leader's cable is pulled out: what it sends and what is sent to it vanishes, and no connection ends.
    LeaderUnplugged = "leader-unplugged"
    /// The same of a follower.
    FollowerUnplugged = "follower-unplugged"
    /// What the leader sends vanishes on its way to each of the others, and what they send arrives.
    LeaderUnheard = "leader-unheard"
    /// The leader's cable falls out and is put back, several times.
    LooseCable = "loose-cable"
    /// kill -9 of who leads.
    KillLeader = "kill-leader"
    /// kill -9 of a follower.
    KillFollower = "kill-follower"
    /// kill -9 of one node, then, while that is back and sealed, of another.
    KillTwo = "kill-two"
    /// kill -9 of all nodes at once.
    KillAll = "kill-all"
    /// The leader stands still until another leads, and then goes on.
    FreezeLeader = "freeze-leader"
    /// A follower stands still for a while.
    FreezeFollower = "freeze-follower"
    /// One node after the other is stopped in order and started again.
    RollingRestart = "rolling-restart"
    /// A follower is started again with a clock that is an hour off.
    WrongClock = "wrong-clock"
    /// The leader hands over.
    StepDown = "step-down"
    /// A node is removed, its disk emptied, and it joins under a new id.
    Rejoin = "rejoin"
    /// A follower loses its vote and gets it back.
    DemoteAndPromote = "demote-and-promote"
    /// The leader is sealed, and opened again by shares.
    SealLeader = "seal-leader"
    /// The whole cluster is sealed, and opened again by shares.
    SealAll = "seal-all"
    /// A snapshot is saved.
    Snapshot = "snapshot"
    /// A node loses power: what it did not sync is gone.
    PowerLost = "power-lost"
    /// A sync of the leader's log fails with an input/output error.
    SyncFails = "sync-fails"
    /// There is no room for a node's log any more.
    NoSpace = "no-space"
    /// Each sync of the leader takes long.
    SlowDisk = "slow-disk"
}

impl Fault {
    /// The part that a run of a few minutes takes: each kind of machinery once.
    pub const SHORT: &[Self] = &[
        Self::LeaderUnplugged,
        Self::LeaderDeaf,
        Self::HalfOpen,
        Self::Resets,
        Self::KillLeader,
        Self::KillAll,
        Self::FreezeLeader,
        Self::Rejoin,
        Self::SealLeader,
        Self::PowerLost,
        Self::SyncFails,
    ];

    /// Hindrances that other faults may happen under.
    pub const UNDER: &[Self] = &[Self::SlowLinks, Self::NarrowLinks, Self::Resets];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    fn is_of_network(self) -> bool {
        self <= Self::ClientsCutOff
    }

    /// Whether it needs nodes in namespaces with cables between them; else their connections are carried.
    pub fn needs_cables(self) -> bool {
        (Self::LeaderUnplugged..=Self::LooseCable).contains(&self)
    }

    /// Whether another fault may happen while this one lasts.
    pub fn may_be_hindered(self) -> bool {
        !self.is_of_network() && !self.needs_cables()
    }

    /// Whether it needs a disk that fails on demand.
    pub fn needs_disk(self) -> bool {
        self >= Self::PowerLost
    }
}

/// Where faults happen.
pub struct Scene<'s> {
    pub cluster: &'s mut Cluster,
    pub network: &'s Network,
    pub clients: &'s Clients,
    /// Answers awaited in each stage of a fault.
    pub enough: u64,
}

impl Scene<'_> {
    /// Lets a fault happen; true if it met something. Nodes may be down or sealed afterwards; the network is as it was.
    pub async fn strike(&mut self, fault: Fault) -> bool {
        let leader = self.cluster.leader().await;
        let followers = self.cluster.others(leader);
        let follower = followers[self.cluster.seed.below(followers.len())];
        if fault.is_of_network() {
            return self.connections(fault, leader, follower).await;
        }
        if fault.needs_cables() {
            return self.cables(fault, leader, follower).await;
        }
        match fault {
            Fault::KillLeader => self.kill(&[leader]).await,
            Fault::KillFollower => self.kill(&[follower]).await,
            Fault::KillTwo => self.kill(&[leader, follower]).await,
            Fault::KillAll => self.kill_all().await,
            Fault::FreezeLeader => self.freeze_leader(leader).await,
            Fault::FreezeFollower => self.freeze_follower(follower).await,
            Fault::RollingRestart => self.roll().await,
            Fault::WrongClock => self.wrong_clock(follower).await,
            Fault::StepDown => self.step_down(leader).await,
            Fault::Rejoin => self.rejoin(follower).await,
            Fault::DemoteAndPromote => self.demote_and_promote(leader, follower).await,
            Fault::SealLeader => self.seal(leader).await,
            Fault::SealAll => self.seal_all(leader).await,
            Fault::Snapshot => self.snapshot(follower).await,
            Fault::PowerLost => self.lose_power(leader, follower).await,
            Fault::SyncFails => self.fail_syncs(leader).await,
            Fault::NoSpace => self.no_space(follower).await,
            Fault::SlowDisk => return self.slow_disk(leader).await,
            _ => unreachable!("a fault of the network"),
        }
        true
    }

    /// Everybody runs, is unsealed and agrees on a leader.
    pub async fn mend(&mut self) {
        self.network.heal();
        for node in &mut self.cluster.nodes {
            if !node.runs() {
                node.start().await;
            }
        }
        let all = self.cluster.running();
        let mut sealed = false;
        for at in &all {
            sealed |= self.cluster.nodes[*at].is_sealed().await;
        }
        if sealed {
            let through = self.cluster.seed.shuffled(&all);
            self.cluster.give_shares(&through[..3]).await;
        }
        self.cluster.all_unsealed(&all).await;
        let leader = self.cluster.leader().await;
        self.clients.round.leader.store(leader, Ordering::SeqCst);
    }

    fn nodes(&self) -> impl Iterator<Item = End> + use<> {
        (0..self.cluster.nodes.len()).map(End::Node)
    }
}
