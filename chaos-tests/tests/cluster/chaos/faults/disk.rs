//! Faults of a node's disk, by the shim under it.

use super::Scene;
use crate::harness::{IN_LOG, LOSE_ALL, LOSE_SOME, Slot};

/// Input/output error, as the kernel numbers it.
const EIO: u64 = 5;
/// No space left on device.
const ENOSPC: u64 = 28;
/// Power is lost within so many writes.
const WRITES: usize = 60;
/// Milliseconds that each sync of a slow disk takes longer.
const SLOW: u64 = 400;

impl Scene<'_> {
    /// Whoever it is: the leader or a follower.
    pub(super) async fn lose_power(&mut self, leader: usize, follower: usize) {
        let seed = &mut self.cluster.seed;
        let victim = [leader, follower][seed.below(2)];
        let loss = [LOSE_ALL, LOSE_SOME][seed.below(2)];
        let (after, choice) = (1 + seed.below(WRITES) as u64, seed.next());
        self.cluster.nodes[victim].disk().lose_power(after, loss, choice);
        self.ends(victim).await;
    }

    pub(super) async fn fail_syncs(&mut self, leader: usize) {
        let disk = self.cluster.nodes[leader].disk();
        disk.set(Slot::Where, IN_LOG);
        disk.set(Slot::SyncError, EIO);
        disk.set(Slot::SyncFailures, 1);
        self.ends(leader).await;
    }

    pub(super) async fn no_space(&mut self, follower: usize) {
        let disk = self.cluster.nodes[follower].disk();
        disk.set(Slot::Where, IN_LOG);
        disk.set(Slot::WriteError, ENOSPC);
        disk.set(Slot::WriteFailures, u64::MAX);
        self.ends(follower).await;
    }

    pub(super) async fn slow_disk(&mut self, leader: usize) -> bool {
        self.cluster.nodes[leader].disk().set(Slot::SyncDelay, SLOW);
        self.clients.go_on(self.enough / 2).await;
        let met = self.cluster.nodes[leader].disk().get(Slot::Met) > 0;
        self.cluster.nodes[leader].disk().is_well_again();
        met
    }

    /// The process ends by itself, the others go on, and the disk is as good as new.
    async fn ends(&mut self, victim: usize) {
        let status = self.cluster.nodes[victim].ended().await;
        assert!(
            !status.success(),
            "{} ends as if all were well",
            self.cluster.nodes[victim].name
        );
        self.clients.go_on(self.enough).await;
        self.cluster.nodes[victim].disk().is_well_again();
    }
}
