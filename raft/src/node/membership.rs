//! Changes of the membership and of leadership, one at a time, on the leader. Each change is fenced to the membership
//! it was decided on. This file must not know how members are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{ChangeMembers, Precondition};
use tokio::time::timeout;

use crate::command::NodeRecord;
use crate::door::desk::Raft;
use crate::error::Error;
use crate::log::types::{StoredMembers, position};
use crate::node::observe;
use crate::node::replica::{Node, open_core};
use crate::replica::{Change, Status};
use crate::state::{RegisteredNode, registered_node};

/// A learner may vote once it lacks at most this many entries.
const MAX_LAG: u64 = 1_000;

type Members = ChangeMembers<u64, NodeRecord>;

impl Node {
    /// Makes one change. Only on the leader.
    pub async fn change(&self, change: Change) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().await;
        let status = self.leading()?;
        let stored = self.members();
        if stored.get_joint_config().len() > 1 {
            // A leader that died in the middle of a change left both configurations behind: finish it first.
            self.apply_change(Members::AddVoterIds(BTreeSet::new()), true, &stored)
                .await?;
        }
        match change {
            Change::AddLearner { node } => self.add_learner(node).await,
            Change::Promote { node } => self.promote(node, &status).await,
            Change::Demote { node } => self.take_vote(node, true, &status).await,
            Change::Remove { node } => self.remove(node, &status).await,
            Change::Transfer { to } => self.transfer(to).await,
        }
    }

    /// What the Raft core knows now: the published status follows a moment later, too late for the change after a change.
    fn leading(&self) -> Result<Status, Error> {
        let metrics = self.raft.load().metrics();
        let metrics = metrics.borrow_watched().clone();
        let status = observe::status(self, &metrics, *self.leadership.borrow());
        match status.is_leader {
            true => Ok(status),
            false => Err(Error::NotLeader {
                leader: status.leader,
            }),
        }
    }

    fn members(&self) -> StoredMembers {
        let metrics = self.raft.load().metrics();
        let members = metrics.borrow_watched().membership_config.clone();
        members.as_ref().clone()
    }

    async fn apply_change(&self, change: Members, retain: bool, seen: &StoredMembers) -> Result<(), Error> {
        let fence = Precondition::LastMembershipLogId {
            last_membership_log_id: *seen.log_id(),
        };
        let raft = self.raft.load_full();
        let changed = raft.change_membership_if(change, retain, [fence]).await;
        let changed = changed.map_err(|error| match error.fatal() {
            // It may be in the log.
            Some(_) => Error::OutcomeUnknown,
            None => refused(&error.to_string()),
        })?;
        // The answer may be here before the metrics, on which the next change is decided.
        let mut metrics = raft.metrics();
        let reached = position(Some(&changed.log_id));
        while position(metrics.borrow_and_update().membership_config.log_id().as_ref()) < reached {
            if metrics.changed().await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn add_learner(&self, node: u64) -> Result<(), Error> {
        let view = self.read().await?;
        let found = registered_node(&view, node)?;
        let found = found.ok_or_else(|| refused(&format!("node {node} is not in the register")))?;
        let seen = self.members();
        match seen.get_node(&node) {
            Some(known) if *known == found.record => Ok(()),
            Some(_) => Err(refused(
                "the node is a member with another record: remove it first",
            )),
            None => {
                self.apply_change(
                    Members::AddNodes(BTreeMap::from([(node, found.record)])),
                    true,
                    &seen,
                )
                .await
            }
        }
    }

    /// Brings addresses and names in the membership up to date with the register. The keys must be the same: a node
    /// that moved is still itself.
    pub async fn refresh_records(&self, registered: &[RegisteredNode]) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().await;
        self.leading()?;
        let seen = self.members();
        let moved = |node: &&RegisteredNode| {
            let known = seen.get_node(&node.id);
            known.is_some_and(|known| known.key_hash == node.record.key_hash && *known != node.record)
        };
        let moved: BTreeMap<u64, NodeRecord> = registered
            .iter()
            .filter(moved)
            .map(|node| (node.id, node.record.clone()))
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        self.apply_change(Members::SetNodes(moved), true, &seen).await
    }

    async fn promote(&self, node: u64, status: &Status) -> Result<(), Error> {
        let seen = self.members();
        if seen.voter_ids().any(|voter| voter == node) {
            return Ok(());
        }
        let member = status.members.iter().find(|member| member.id == node);
        let member = member.ok_or_else(|| refused(&format!("node {node} is not a member: add it first")))?;
        let matched = member.matched_index.unwrap_or(0);
        if matched + MAX_LAG < status.last_log_index || matched == 0 {
            return Err(refused(&format!("node {node} has not caught up yet")));
        }
        self.apply_change(Members::AddVoterIds(BTreeSet::from([node])), true, &seen)
            .await
    }

    async fn remove(&self, node: u64, status: &Status) -> Result<(), Error> {
        let seen = self.members();
        if seen.voter_ids().any(|voter| voter == node) {
            return self.take_vote(node, false, status).await;
        }
        match seen.get_node(&node) {
            Some(_) => {
                self.apply_change(Members::RemoveNodes(BTreeSet::from([node])), false, &seen)
                    .await
            }
            None => Ok(()),
        }
    }

    async fn take_vote(&self, node: u64, keep_as_learner: bool, status: &Status) -> Result<(), Error> {
        let seen = self.members();
        let rest: BTreeSet<u64> = seen.voter_ids().filter(|voter| *voter != node).collect();
        if !seen.voter_ids().any(|voter| voter == node) {
            return Ok(());
        }
        if rest.is_empty() {
            return Err(refused("the last voter must stay"));
        }
        if node == self.config.node_id {
            // A leader does not remove itself: its successor does.
            self.transfer(None).await?;
            let leader = self.status.borrow().leader;
            return Err(Error::NotLeader { leader });
        }
        let reachable = rest.iter().filter(|voter| self.in_touch(**voter, status)).count();
        if reachable * 2 <= rest.len() {
            return Err(refused("the voters that remain would have no quorum"));
        }
        self.apply_change(
            Members::RemoveVoters(BTreeSet::from([node])),
            keep_as_learner,
            &seen,
        )
        .await
    }

    fn in_touch(&self, voter: u64, status: &Status) -> bool {
        let limit = self.config.timings.election_max * 2;
        let contact = status.members.iter().find(|member| member.id == voter);
        let contact = contact.and_then(|member| member.last_contact_ms);
        voter == self.config.node_id || contact.is_some_and(|age| Duration::from_millis(age) < limit)
    }

    /// Hands leadership to `to`, or to the first willing voter in [`turn`]'s order.
    pub async fn transfer(&self, to: Option<u64>) -> Result<(), Error> {
        let status = self.leading()?;
        let me = self.config.node_id;
        if to == Some(me) {
            return Ok(());
        }
        let mut candidates: Vec<_> = status
            .members
            .iter()
            .filter(|member| member.voter && member.id != me && to.is_none_or(|to| member.id == to))
            .collect();
        candidates.sort_by_key(|member| turn(me, status.last_log_index, member.id, member.matched_index));
        let mut last = refused("no other voter can take leadership");
        for candidate in candidates {
            match self.network.probe(candidate.id).await {
                Ok(found) if !found.willing => {
                    last = refused(&format!(
                        "node {} does not want to lead (is it sealed?)",
                        candidate.id
                    ));
                }
                Ok(found) if found.last_log + MAX_LAG < status.last_log_index => {
                    last = refused(&format!("node {} has not caught up", candidate.id));
                }
                Ok(_) => return self.hand_to(candidate.id).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn hand_to(&self, to: u64) -> Result<(), Error> {
        let me = self.config.node_id;
        let mut leadership = self.leadership.subscribe();
        let raft = self.raft.load_full();
        raft.trigger()
            .transfer_leader(to)
            .await
            .map_err(|e| Error::Stopped(e.to_string()))?;
        let gone = leadership.wait_for(|seen| seen.leader.is_some_and(|leader| leader != me));
        if timeout(self.config.timings.election_max * 2, gone).await.is_ok() {
            return Ok(());
        }
        // openraft never cancels a transfer: until it ends, this leader takes no writes and sends no heartbeats.
        tracing::warn!("the Raft core is restarted because a transfer of leadership did not end");
        self.restart_core(&raft).await?;
        Err(refused(&format!("node {to} did not take leadership in time")))
    }

    /// Replaces this Raft core, unless that was done meanwhile, by a new one over the same log and state: this node is a
    /// follower afterwards. One that cannot go on without its core stops.
    pub async fn restart_core(&self, old: &Arc<Raft>) -> Result<(), Error> {
        let _one_at_a_time = self.restarting.lock().await;
        if !Arc::ptr_eq(&self.raft.load(), old) || self.closing.load(Ordering::Acquire) {
            return Ok(());
        }
        self.replacing.store(true, Ordering::Release);
        old.shutdown().await.ok();
        let raft = open_core(&self.config, &self.network, &self.log, &self.machine).await;
        let raft =
            raft.inspect_err(|error| (self.fatal)(&format!("the Raft core does not start again: {error}")))?;
        raft.runtime_config().elect(self.elect.load(Ordering::Relaxed));
        self.raft.store(Arc::new(raft));
        self.replacing.store(false, Ordering::Release);
        self.cores.send_modify(|cores| *cores += 1);
        Ok(())
    }
}

/// The order in which voters are asked to take leadership from `me`: those that have caught up before those that lag, the
/// longer log first among these, and among equals in a circle of ids. So stepping down again and again reaches every
/// voter; by the longest log alone two nodes hand leadership to each other for ever, because each has just heard from the
/// other.
fn turn(me: u64, last_log: u64, candidate: u64, matched: Option<u64>) -> (u64, bool, u64) {
    let behind = last_log.saturating_sub(matched.unwrap_or(0));
    let lag = if behind > MAX_LAG { behind } else { 0 };
    (lag, candidate < me, candidate)
}

fn refused(detail: &str) -> Error {
    Error::Membership(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::turn;

    fn first(me: u64, voters: &[(u64, u64)]) -> Option<u64> {
        let last_log = 10_000;
        let others = voters.iter().filter(|(id, _)| *id != me);
        others
            .min_by_key(|(id, matched)| turn(me, last_log, *id, Some(*matched)))
            .map(|(id, _)| *id)
    }

    #[test]
    fn leadership_goes_round_among_equals_and_never_first_to_a_voter_that_lags() {
        let equals = [(1, 9_999), (2, 10_000), (3, 9_990)];
        assert_eq!(
            [1, 2, 3].map(|me| first(me, &equals)),
            [Some(2), Some(3), Some(1)]
        );
        let lagging = [(1, 10_000), (2, 100), (3, 9_990), (4, 200)];
        assert_eq!(first(1, &lagging), Some(3));
        assert_eq!(first(3, &lagging), Some(1));
        assert_eq!(first(1, &[(1, 10_000), (2, 100), (4, 200)]), Some(4));
        assert_eq!(turn(1, 10_000, 2, None), turn(1, 10_000, 2, Some(0)));
    }
}
