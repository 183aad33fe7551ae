//! Faults of processes: killed, frozen, stopped and started, with a wrong clock.

use super::Scene;

/// How far off a wrong clock is.
const OFF: [&str; 2] = ["+1h", "-1h"];

impl Scene<'_> {
    /// One after the other is killed and comes back sealed.
    pub(super) async fn kill(&mut self, victims: &[usize]) {
        for victim in victims {
            self.cluster.nodes[*victim].kill();
            self.clients.go_on(self.enough).await;
            self.cluster.nodes[*victim].start().await;
        }
    }

    pub(super) async fn kill_all(&mut self) {
        for node in &mut self.cluster.nodes {
            node.kill();
        }
        for node in &mut self.cluster.nodes {
            node.start().await;
        }
    }

    pub(super) async fn freeze_leader(&mut self, leader: usize) {
        self.cluster.nodes[leader].freeze();
        self.another_leads(leader).await;
        self.cluster.nodes[leader].thaw();
    }

    pub(super) async fn freeze_follower(&mut self, follower: usize) {
        self.cluster.nodes[follower].freeze();
        self.clients.go_on(self.enough).await;
        self.cluster.nodes[follower].thaw();
    }

    /// Each is unsealed before the next one stops: always a quorum, and always one with keys.
    pub(super) async fn roll(&mut self) {
        let all = self.cluster.running();
        for at in self.cluster.seed.shuffled(&all) {
            self.cluster.nodes[at].stop().await;
            self.clients.go_on(self.enough / 2).await;
            self.cluster.nodes[at].start().await;
            self.mend().await;
        }
    }

    pub(super) async fn wrong_clock(&mut self, follower: usize) {
        let by = OFF[self.cluster.seed.below(OFF.len())];
        self.cluster.nodes[follower].kill();
        self.cluster.nodes[follower].shift_clock(by);
        self.mend().await;
        self.clients.go_on(self.enough).await;
        // Whoever leads now, the one with the wrong clock may be next.
        let leader = self.cluster.leader().await;
        self.step_down(leader).await;
        self.clients.go_on(self.enough).await;
        self.cluster.nodes[follower].kill();
        self.cluster.nodes[follower].correct_clock();
    }
}
