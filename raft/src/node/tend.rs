//! What a running member does by itself: registers its start, makes snapshots, keeps the cluster's clock going and
//! stands in as caretaker when nobody leads. This file must not know how any of it is carried out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;

use crate::codec::CLUSTER_VERSION;
use crate::command::{Millis, Op, Outcome};
use crate::error::Error;
use crate::net::{Found, Start};
use crate::node::clock::CLOCK_AGREEMENT;
use crate::node::replica::Node;
use crate::replica::{Change, Status};
use crate::state::{registered_node, registered_nodes};

/// An idle leader moves the cluster's clock when it is this far behind.
const CLOCK_LAG: Millis = 60_000;
/// A leader that could not hand over although its clock is in doubt tries again after this.
const DOUBT: Duration = Duration::from_secs(5);
/// Pause between attempts to commit something of this crate's own.
const PAUSE: Duration = Duration::from_millis(200);

/// Tends the node until it closes.
pub async fn run(node: Arc<Node>) {
    let mut tick = tokio::time::interval(node.config.timings.heartbeat);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let started = node.clock.monotonic();
    let mut triggered = Triggered {
        at: started,
        applied: 0,
    };
    let mut clock_at = node.clock.monotonic();
    let mut learned_at = (0, false);
    let mut asked_at = started;
    loop {
        tick.tick().await;
        node.clock.slew();
        let status = node.status.borrow().clone();
        caretake(&node, &status, started);
        if learned_at != (status.revision, status.is_leader) {
            learned_at = (status.revision, status.is_leader);
            if let Err(error) = learn_nodes(&node, status.is_leader).await {
                tracing::warn!(%error, "the register of nodes is not followed");
            }
        }
        let now = node.clock.monotonic();
        let patience = node.config.timings.election_max * 3;
        let unled = !status.is_leader && node.clock.unfollowed() > patience;
        let silent = unled || silence(&node, started) > patience;
        if silent && now.saturating_sub(asked_at) > patience {
            asked_at = now;
            find_members(&node).await;
        }
        snapshot(&node, &status, &mut triggered).await;
        if status.is_leader && now.saturating_sub(clock_at) > PAUSE {
            clock_at = now;
            if !advance_clock(&node, &status).await {
                clock_at += DOUBT;
            }
            raise_version(&node, &status).await;
        }
    }
}

/// Takes over what the register says of other nodes: which of their starts is the latest, and where they are now.
async fn learn_nodes(node: &Node, leads: bool) -> Result<(), Error> {
    let nodes = registered_nodes(&*node.views.latest()?)?;
    let starts = nodes.iter().filter(|found| found.incarnation > 0).map(|found| {
        let start = Start {
            incarnation: found.incarnation,
            instance: found.instance,
        };
        (found.id, start)
    });
    node.peers.set_starts(starts.collect());
    match leads {
        true => node.refresh_records(&nodes).await,
        false => Ok(()),
    }
}

/// A node that should not lead stands for election all the same after long silence: someone must order what the
/// others do, and a sealed leader can.
fn caretake(node: &Node, status: &Status, started: Duration) {
    if node.elect.load(Ordering::Relaxed) {
        return;
    }
    let stand = silence(node, started) > node.config.timings.election_max * 3 || status.is_leader;
    node.raft.load().runtime_config().elect(stand);
}

/// How long no leader was heard of.
fn silence(node: &Node, started: Duration) -> Duration {
    let since_start = node.clock.monotonic().saturating_sub(started);
    node.clock.silence().unwrap_or(since_start).min(since_start)
}

/// Asks all known members whom they know: the leader may have joined while this node was away, and its calls are
/// refused as a stranger's until then. Again where the log of that time, as far as it came, names older members alone, though
/// the leader answers all the while.
async fn find_members(node: &Node) {
    let others = node
        .peers
        .all()
        .into_keys()
        .filter(|id| *id != node.config.node_id);
    let found = join_all(others.map(|id| node.network.probe(id))).await;
    let mut fresh = false;
    for members in found.into_iter().flatten().map(|found| found.members) {
        fresh |= node.peers.introduce(members);
    }
    if fresh {
        node.transport.trust(node.peers.keys());
    }
}

/// Lets the cluster use what this build knows and older ones do not, once every member says that it knows it too. There is no
/// way back: a member that is started with an older build after that refuses its own data.
async fn raise_version(node: &Node, status: &Status) {
    if node.applied.borrow().cluster_version >= CLUSTER_VERSION {
        return;
    }
    let me = node.config.node_id;
    let others = status
        .members
        .iter()
        .map(|member| member.id)
        .filter(|id| *id != me);
    let found = join_all(others.map(|id| node.network.probe(id))).await;
    let supports =
        |found: &Result<Found, Error>| found.as_ref().is_ok_and(|it| it.supports >= CLUSTER_VERSION);
    if !found.iter().all(supports) {
        return;
    }
    let version = CLUSTER_VERSION;
    match node.propose(vec![Op::RaiseVersion { version }]).await {
        Ok(Outcome::Applied { .. }) => {
            tracing::info!(version, "all members know this version: it is used from now on")
        }
        other => tracing::warn!(?other, version, "the cluster version is not raised"),
    }
}

/// When the last snapshot was started, and how far the state was applied.
struct Triggered {
    at: Duration,
    applied: u64,
}

async fn snapshot(node: &Node, status: &Status, triggered: &mut Triggered) {
    let policy = &node.config.snapshots;
    let covered = node.machine.snapshot_position();
    let last = covered.max(triggered.applied);
    let (entries, bytes) = (
        status.applied_index.saturating_sub(last),
        node.log.bytes_since(last),
    );
    let now = node.clock.monotonic();
    let old = now.saturating_sub(triggered.at) >= policy.age;
    let due = entries >= policy.entries || bytes >= policy.bytes;
    if due || (old && (entries >= policy.keep || bytes >= policy.keep_bytes)) {
        *triggered = Triggered {
            at: now,
            applied: status.applied_index,
        };
        if let Err(error) = node.raft.load_full().trigger().snapshot().await {
            tracing::warn!(%error, "a snapshot cannot be started");
        }
    }
    // What is covered and too large to be kept for those who were away.
    let Some(kept) = node.log.newest(policy.keep_bytes) else {
        return;
    };
    let first = node.log.purged().map_or(0, |id| id.index + 1);
    let end = kept.min(covered);
    if end > first
        && let Err(error) = node.raft.load_full().trigger().purge_log(end - 1).await
    {
        tracing::warn!(%error, "the log cannot be cut");
    }
}

/// Moves the cluster's clock when nothing else did for a while, above all after everything was off: ordinary commands
/// may not make a great step. Only if most members' clocks agree. A leader whose wall clock shows another time than it
/// keeps asks the others as well: one of the two is wrong. False if it leads on although its clock is in doubt.
async fn advance_clock(node: &Node, status: &Status) -> bool {
    let behind = node
        .clock
        .now()
        .saturating_sub(node.applied.borrow().cluster_time);
    if behind < CLOCK_LAG && node.clock.apart() <= CLOCK_AGREEMENT {
        return true;
    }
    let me = node.config.node_id;
    let wall = node.clock.wall();
    let voters: Vec<u64> = status
        .members
        .iter()
        .filter(|member| member.voter)
        .map(|member| member.id)
        .collect();
    let others = voters.iter().filter(|voter| **voter != me);
    let probes = join_all(others.map(|voter| async { (*voter, node.network.probe(*voter).await) })).await;
    let mut agree = usize::from(voters.contains(&me));
    for (voter, found) in probes {
        match found {
            Ok(found) if found.wall.abs_diff(wall) <= CLOCK_AGREEMENT => agree += 1,
            Ok(found) => tracing::error!(
                voter,
                difference_ms = found.wall.abs_diff(wall),
                "the clocks of two members disagree"
            ),
            Err(error) => tracing::debug!(voter, %error, "a member's clock is not known"),
        }
    }
    if agree * 2 <= voters.len() {
        tracing::error!(
            agree,
            voters = voters.len(),
            "most members disagree with this leader on the time"
        );
        // Whose clock is in doubt must not lead: its time would not be taken, nor anything it orders.
        let handed = node.change(Change::Transfer { to: None }).await;
        if let Err(error) = &handed {
            tracing::error!(%error, "leadership is not handed over");
        }
        return handed.is_ok();
    }
    // Agreed is the time that the wall clock shows, which need not be what this leader began with.
    let shown = node.clock.now();
    if shown.abs_diff(wall) > CLOCK_AGREEMENT {
        tracing::error!(
            shown,
            wall,
            "this leader keeps a wrong time: it takes the one on which most members agree"
        );
        node.clock.correct();
        return true;
    }
    if behind >= CLOCK_LAG
        && let Err(error) = node.propose(vec![Op::AdvanceClock]).await
    {
        tracing::debug!(%error, "the clock was not advanced");
    }
    true
}

/// Registers this start of the node once the node is in the register. A refusal means that the disk was rolled back
/// or copied: then the node must not go on. `reached` is the position the node had durably applied when it started.
pub async fn register(node: Arc<Node>, reached: u64) {
    let mut applied = node.applied.clone();
    loop {
        match attempt(&node, reached).await {
            Ok(true) => return,
            Ok(false) => {
                // Not in the register yet: that comes with some entry.
                if applied.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "this start of the node is not registered yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn attempt(node: &Node, reached: u64) -> Result<bool, Error> {
    let me = node.config.node_id;
    if registered_node(&*node.views.latest()?, me)?.is_none() {
        // Founding was interrupted between the first membership and the register: go on with it.
        let members = node.status.borrow().members.clone();
        let [only] = members.as_slice() else {
            return Ok(false);
        };
        if only.id != me || !node.status.borrow().is_leader {
            return Ok(false);
        }
        let record = only.record.clone();
        node.propose(vec![Op::RegisterNode { node: record }]).await?;
    }
    let begin = Op::BeginIncarnation {
        node: me,
        incarnation: node.incarnation,
        instance: node.config.instance,
        last_log_index: reached,
    };
    match node.propose(vec![begin]).await? {
        Outcome::Applied { .. } => {
            tracing::info!(
                incarnation = node.incarnation,
                "this start of the node is registered"
            );
            Ok(true)
        }
        Outcome::Denied { reason } => {
            (node.fatal)(&format!(
                "{reason}; rolled-back or cloned disk: rejoin under a new id"
            ));
            Ok(true)
        }
        other => Err(Error::Membership(format!("{other:?}"))),
    }
}
