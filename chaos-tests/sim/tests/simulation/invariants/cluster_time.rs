//! The cluster's clock never goes back on a node, unless a power loss took back what the node had applied; and it leaps
//! only to a time that some members' clocks show.

use std::collections::BTreeMap;

use conclave_raft::Applied;
use conclave_raft::state::MAX_STEP;

/// Clocks that must have shown the time of a leap: the leader's alone may be wrong.
const WITNESSES: usize = 2;

#[derive(Default)]
pub struct ClusterTime {
    shown: BTreeMap<u64, u64>,
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

    /// `node` lost power and is back at `time`.
    pub fn reset(&mut self, node: u64, time: u64) -> Result<(), String> {
        self.shown.insert(node, time);
        Ok(())
    }
}
