//! Changes that operators make while clients are at work: leadership, membership, seal, snapshots.

use std::fs;

use serde_json::json;

use super::Scene;
use crate::harness::{SOON, Tool, eventually};

impl Scene<'_> {
    /// The leader hands over. It may have lost the lead meanwhile: whoever leads is asked, until one does.
    pub(super) async fn step_down(&mut self, leader: usize) {
        let mut leader = leader;
        eventually("a leader hands over", SOON, async || {
            let reply = self.cluster.api(leader).call("PUT", "sys/step-down", None).await;
            match reply {
                Ok(reply) if reply.is_good() => Ok(()),
                other => {
                    leader = self.cluster.leader().await;
                    Err(other)
                }
            }
        })
        .await;
    }

    /// A follower is removed while it runs; then its disk is emptied, and it joins as a newcomer.
    pub(super) async fn rejoin(&mut self, follower: usize) {
        let through = self.cluster.others(follower)[0];
        let count = self.cluster.nodes.len();
        self.order(through, "remove-peer", follower).await;
        self.clients.go_on(self.enough).await;
        self.cluster.nodes[follower].kill();
        let data = self.cluster.nodes[follower].data();
        for entry in fs::read_dir(&data).expect("a data directory") {
            let path = entry.expect("an entry").path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.expect("a file that can be removed");
        }
        self.cluster.nodes[follower].start().await;
        self.cluster.join(follower, through).await;
        self.mend().await;
        self.cluster.voters(count).await;
    }

    pub(super) async fn demote_and_promote(&mut self, leader: usize, follower: usize) {
        let count = self.cluster.nodes.len();
        self.order(leader, "demote", follower).await;
        self.clients.go_on(self.enough).await;
        self.order(leader, "promote", follower).await;
        self.cluster.voters(count).await;
    }

    /// One order about a member, again while a new leader is being found: it may have been carried out already.
    async fn order(&self, through: usize, what: &str, subject: usize) {
        let body = json!({"server_id": self.cluster.nodes[subject].name});
        eventually(what, SOON, async || {
            let path = format!("sys/storage/raft/{what}");
            let reply = self
                .cluster
                .api(through)
                .call("POST", &path, Some(body.clone()))
                .await;
            match reply {
                Ok(reply) if reply.is_good() => Ok(()),
                Ok(reply) if reply.status == 400 && reply.text().contains("no such") => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    pub(super) async fn seal(&mut self, leader: usize) {
        self.cluster.api(leader).must("PUT", "sys/seal", json!({})).await;
        self.clients.go_on(self.enough).await;
    }

    pub(super) async fn seal_all(&mut self, leader: usize) {
        let all = json!({"cluster": true});
        self.cluster.api(leader).must("PUT", "sys/seal", all).await;
        let running = self.cluster.running();
        self.cluster.all_sealed(&running).await;
    }

    /// Saved through a follower, and whole.
    pub(super) async fn snapshot(&mut self, follower: usize) {
        let file = self.cluster.files().join("saved.snap").display().to_string();
        let tool = Tool::conclave(self.cluster, &[follower]);
        tool.must(&["operator", "raft", "snapshot", "save", &file]).await;
        tool.must(&["operator", "raft", "snapshot", "inspect", &file])
            .await;
        self.clients.go_on(self.enough).await;
    }
}
