//! Watches the Raft core and tells everybody else: who leads, who the members are, how far the log is. Replaces the
//! core's own waiting functions. This file must not decide anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;

use crate::command::NodeRecord;
use crate::door::door::{Leadership, PING};
use crate::log::types::{TypeConfig, position};
use crate::node::replica::Node;
use crate::replica::{Member, Status};

type Metrics = RaftMetrics<TypeConfig>;

/// Runs until the node closes.
pub async fn run(node: Arc<Node>) {
    let mut cores = node.cores.subscribe();
    let mut applied = node.applied.clone();
    let mut tick = tokio::time::interval(node.config.timings.heartbeat);
    loop {
        cores.mark_unchanged();
        let core = node.raft.load_full();
        let mut metrics = core.metrics();
        let mut looked: Option<Metrics> = None;
        loop {
            // Under writes the log moves all the time and nothing else does: members are looked at with the next tick.
            let moved = looked
                .as_ref()
                .filter(|before| is_only_further(before, &metrics.borrow_and_update()));
            match moved {
                Some(_) => advance(&node, &metrics.borrow_and_update()),
                None => {
                    let seen = metrics.borrow_and_update().clone();
                    look(&node, &seen);
                    looked = Some(seen);
                }
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { break },
                _ = applied.changed() => {}
                _ = tick.tick() => looked = None,
            }
        }
        if node.closing.load(Ordering::Acquire) {
            return;
        }
        // One that is being replaced, or was before this task looked, was ended by this node.
        if !node.replacing.load(Ordering::Acquire) && Arc::ptr_eq(&node.raft.load(), &core) {
            (node.fatal)("the Raft core has ended by itself");
        }
        if cores.changed().await.is_err() {
            return;
        }
    }
}

/// Whether leadership, members and health are what they were.
fn is_only_further(before: &Metrics, now: &Metrics) -> bool {
    before.running_state.is_ok()
        && now.running_state.is_ok()
        && before.current_term == now.current_term
        && before.current_leader == now.current_leader
        && before.state == now.state
        && before.membership_config.log_id() == now.membership_config.log_id()
}

/// Takes over how far the log is, and nothing else.
fn advance(node: &Node, metrics: &Metrics) {
    let applied = *node.applied.borrow();
    node.status.send_if_modified(|status| {
        let before = (
            status.last_log_index,
            status.committed_index,
            status.applied_index,
            status.revision,
        );
        status.last_log_index = last_log_index(metrics);
        status.committed_index = position(metrics.local_committed.as_ref());
        status.applied_index = applied.index;
        status.revision = applied.revision;
        before
            != (
                status.last_log_index,
                status.committed_index,
                status.applied_index,
                status.revision,
            )
    });
}

fn last_log_index(metrics: &Metrics) -> u64 {
    metrics.last_log_index.map_or(0, |index| index + 1)
}

fn look(node: &Node, metrics: &Metrics) {
    if let Err(fatal) = &metrics.running_state
        && !node.closing.load(Ordering::Acquire)
        && !matches!(fatal, openraft::errors::Fatal::Stopped)
    {
        (node.fatal)(&format!("the Raft core has ended: {fatal}"));
    }
    learn_peers(node, metrics);
    let leads = metrics.state.is_leader();
    // A stored vote may name this node although it leads no more.
    let me = node.config.node_id;
    let leadership = Leadership {
        term: metrics.current_term,
        leader: metrics.current_leader.filter(|leader| *leader != me || leads),
    };
    match leads {
        // Before the door hears of it: the first entry carries the new leader's clock.
        true => node.clock.lead(leadership.term),
        false => node.clock.follow(),
    }
    let status = status(node, metrics, leadership);
    node.leadership.send_if_modified(|seen| replace(seen, leadership));
    node.status.send_if_modified(|seen| replace(seen, status));
}

fn replace<T: PartialEq>(seen: &mut T, new: T) -> bool {
    let changed = *seen != new;
    if changed {
        *seen = new;
    }
    changed
}

/// From the first membership that it is part of, exactly its nodes may talk to this one. Those before are older than its
/// join: whoever admitted it, and may lead, need not be among them.
fn learn_peers(node: &Node, metrics: &Metrics) {
    let mut members: BTreeMap<u64, NodeRecord> = metrics
        .membership_config
        .nodes()
        .map(|(id, record)| (*id, record.clone()))
        .collect();
    if members.is_empty() {
        return;
    }
    if !members.contains_key(&node.config.node_id) {
        for (id, record) in &node.config.contacts {
            members.entry(*id).or_insert_with(|| record.clone());
        }
    }
    if node.peers.set(members) {
        node.transport.trust(node.peers.keys());
    }
}

/// What these metrics say, in our terms.
pub fn status(node: &Node, metrics: &Metrics, leadership: Leadership) -> Status {
    let applied = *node.applied.borrow();
    let leads = metrics.state.is_leader();
    let has_quorum = leads && has_quorum(node, metrics);
    // The door goes on asking a leader that is silent. To everybody else it is none: it may be dead, and without others
    // to elect another its name would stand for ever.
    let led = if leads { has_quorum } else { hears_leader(node) };
    Status {
        term: leadership.term,
        leader: leadership.leader.filter(|_| led),
        is_leader: has_quorum,
        last_log_index: last_log_index(metrics),
        committed_index: position(metrics.local_committed.as_ref()),
        applied_index: applied.index,
        revision: applied.revision,
        members: members(metrics, leads),
    }
}

/// Whether a leader answered this follower lately. It is asked once a second at least.
fn hears_leader(node: &Node) -> bool {
    let limit = (node.config.timings.election_max * 3).max(PING * 3);
    node.clock.silence().is_some_and(|silence| silence < limit)
}

/// Whether a quorum acknowledged this leader within an election time-out.
pub fn has_quorum(node: &Node, metrics: &Metrics) -> bool {
    let me = node.config.node_id;
    let alone = metrics.membership_config.voter_ids().all(|voter| voter == me);
    let age = metrics.last_quorum_acked.map(|acked| acked.elapsed());
    alone || age.is_some_and(|age| age < node.config.timings.election_max)
}

fn members(metrics: &Metrics, leads: bool) -> Vec<Member> {
    let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
    let member = |(id, record): (&u64, &NodeRecord)| {
        let matched = metrics.replication.as_ref().and_then(|all| all.get(id));
        let contact = metrics.heartbeat.as_ref().and_then(|all| *all.get(id)?);
        Member {
            id: *id,
            record: record.clone(),
            voter: voters.contains(id),
            matched_index: matched.filter(|_| leads).map(|id| position(id.as_ref())),
            last_contact_ms: contact.filter(|_| leads).map(|at| millis(at.elapsed())),
        }
    };
    metrics.membership_config.nodes().map(member).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
