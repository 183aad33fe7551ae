//! The cluster's clock never goes back on a node, unless a power loss took back what the node had applied.

use std::collections::BTreeMap;

#[derive(Default)]
pub struct ClusterTime {
    shown: BTreeMap<u64, u64>,
}

impl ClusterTime {
    /// `node` applied an entry after which the cluster's time is `time`.
    pub fn applied(&mut self, node: u64, time: u64) -> Result<(), String> {
        let before = self.shown.insert(node, time).unwrap_or(0);
        match before <= time {
            true => Ok(()),
            false => Err(format!(
                "cluster time: node {node} went back from {before} to {time}"
            )),
        }
    }

    /// `node` lost power and is back at `time`.
    pub fn reset(&mut self, node: u64, time: u64) -> Result<(), String> {
        self.shown.insert(node, time);
        Ok(())
    }
}
