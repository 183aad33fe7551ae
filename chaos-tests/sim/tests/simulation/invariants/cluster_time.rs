//! The cluster's clock never goes back on a node, unless a power loss took back what the node had applied; it leaps only to
//! a time that some members' clocks show; and who hears a leader goes by the leader's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_raft::Applied;
use conclave_raft::state::MAX_STEP;

/// Clocks that must have shown the time of a leap: the leader's alone may be wrong.
const WITNESSES: usize = 2;
/// Who follows a leader is further from its clock than this ...
const APART: u64 = 10_000;
/// ... for a shorter time than this: a node hears a leader for 3.6 s after its last answer at most.
const LONG: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct ClusterTime {
    shown: BTreeMap<u64, u64>,
    /// By follower: the term and leader it follows, and since when it has been apart from it.
    apart: BTreeMap<u64, ((u64, u64), Duration)>,
}

impl ClusterTime {
    /// `node` moved on from `before` to `after`. So many clocks showed its time lately, and there are so many voters.
    pub fn applied(
        &mut self,
        node: u64,
        before: Applied,
        after: Applied,
        (showed, voters): (usize, usize),
    ) -> Result<(), String> {
        let time = after.cluster_time;
        let known = self.shown.insert(node, time).unwrap_or(0);
        if known > time {
            return Err(format!(
                "cluster time: node {node} went back from {known} to {time}"
            ));
        }
        let one_entry = after.index == before.index + 1 && before.cluster_time != 0;
        let step = time - before.cluster_time.min(time);
        if one_entry && step > MAX_STEP && showed < WITNESSES.min(voters) {
            return Err(format!(
                "cluster time: it leapt by {step} ms to {time}, which {showed} of the members' clocks showed lately"
            ));
        }
        Ok(())
    }

    /// It is `at`: `node` shows `now`, and the leader that it hears in this term shows its own time.
    pub fn follows(
        &mut self,
        at: Duration,
        node: u64,
        now: u64,
        heard: Option<(u64, u64, u64)>,
    ) -> Result<(), String> {
        let apart = heard.filter(|(_, _, leads)| leads.abs_diff(now) > APART);
        let Some((term, leader, leads)) = apart else {
            self.apart.remove(&node);
            return Ok(());
        };
        let since = self.apart.entry(node).or_insert(((term, leader), at));
        if since.0 != (term, leader) {
            *since = ((term, leader), at);
        }
        match at.saturating_sub(since.1) > LONG {
            true => Err(format!(
                "cluster time: node {node} has shown another time than its leader {leader} for long: {now} and {leads}"
            )),
            false => Ok(()),
        }
    }

    /// `node` lost power and is back at `time`.
    pub fn reset(&mut self, node: u64, time: u64) -> Result<(), String> {
        self.shown.insert(node, time);
        Ok(())
    }
}
