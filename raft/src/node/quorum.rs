//! A leader that no quorum acknowledges gives up by itself. Others may still hear it, and whoever hears a leader elects no
//! other: without this only the connections' own probes would end that, and writes would wait for as long. This file must
//! not know how members are reached.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;

use crate::door::desk::Raft;
use crate::node::observe::has_quorum;
use crate::node::replica::Node;

/// Election time-outs for which a leader looks in vain for the quorum it lost. It noticed the loss after one already, and takes
/// no writes meanwhile; a node that was stopped and goes on hears from the others within the first.
const PATIENCE: u32 = 2;

/// Watches until the node closes.
pub async fn run(node: Arc<Node>) {
    let patience = node.config.timings.election_max * PATIENCE;
    let mut tick = tokio::time::interval(node.config.timings.heartbeat);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The term, and since when no quorum acknowledges its leader, which is this node.
    let mut alone: Option<(u64, Duration)> = None;
    loop {
        tick.tick().await;
        let raft = node.raft.load_full();
        let Some(term) = leads_alone(&node, &raft) else {
            alone = None;
            continue;
        };
        let now = node.clock.monotonic();
        let since = match alone {
            Some((known, since)) if known == term => since,
            _ => now,
        };
        alone = Some((term, since));
        if now.saturating_sub(since) < patience || node.closing.load(Ordering::Acquire) {
            continue;
        }
        alone = None;
        tracing::warn!(term, "no quorum acknowledges this leader any more: it steps down");
        if node.restart_core(&raft).await.is_err() {
            return;
        }
    }
}

/// The term that this node leads, if no quorum acknowledged that lately.
fn leads_alone(node: &Node, raft: &Raft) -> Option<u64> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let alone = metrics.state.is_leader() && !has_quorum(node, &metrics);
    alone.then_some(metrics.current_term)
}
