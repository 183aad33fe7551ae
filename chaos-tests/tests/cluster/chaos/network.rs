//! What is between the nodes of a run: connections carried by this process, or cables between namespaces. A fault needs the
//! one or the other.

use std::sync::atomic::Ordering;

use super::report::Report;
use crate::harness::{Cables, Cluster, Links, Node, Seed};

/// The network of one cluster.
pub enum Network {
    /// Every connection goes through this process.
    Carried(Links),
    /// Nodes reach each other by themselves.
    Cabled(Cables),
}

impl Network {
    /// A cluster of which no node was started, and its network.
    pub fn with_cluster(cabled: bool, nodes: usize, seed: Seed) -> (Cluster, Self) {
        if cabled {
            let cables = Cables::lay(nodes);
            return (Cluster::placed(cables.places(), seed), Self::Cabled(cables));
        }
        let mut cluster = Cluster::seeded(nodes, seed);
        let links = Links::between(&mut cluster);
        (cluster, Self::Carried(links))
    }

    /// Where clients reach a node.
    pub fn door(&mut self, at: usize, node: &Node) -> String {
        match self {
            Self::Carried(links) => links.door(at, node),
            Self::Cabled(_) => node.url.clone(),
        }
    }

    /// For faults of carried connections.
    pub fn links(&self) -> &Links {
        match self {
            Self::Carried(links) => links,
            Self::Cabled(_) => panic!("a fault of connections that nobody carries"),
        }
    }

    /// For faults of cables.
    pub fn cables(&self) -> &Cables {
        match self {
            Self::Cabled(cables) => cables,
            Self::Carried(_) => panic!("a fault of cables that nobody laid"),
        }
    }

    /// Everything travels freely again.
    pub fn heal(&self) {
        match self {
            Self::Carried(links) => links.heal(),
            Self::Cabled(cables) => cables.heal(),
        }
    }

    /// At the end: whether it knew all the time what it carried for whom.
    pub fn must_have_known(&self, report: &mut Report) {
        let Self::Carried(links) = self else { return };
        let counts = links.counts();
        let strangers = counts.strangers.load(Ordering::Relaxed);
        assert_eq!(strangers, 0, "A POOR RUN: the network did not know who called");
        report.connections += counts.connections.load(Ordering::Relaxed);
    }
}
