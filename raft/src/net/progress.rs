//! How far other nodes acknowledged this leader's log. A node that goes back behind what it acknowledged has lost part
//! of its disk: it must count for nothing, and openraft must not see it (it takes that for a bug and stops the leader).

use std::collections::HashMap;

use openraft::raft::{StreamAppendError, StreamAppendResult};
use parking_lot::Mutex;

use crate::log::types::{TypeConfig, position};

/// Acknowledged positions by node, each within one term.
#[derive(Default)]
pub struct Progress {
    nodes: Mutex<HashMap<u64, (u64, u64)>>,
}

impl Progress {
    /// Notes a node's answer to this leader of `term`; false if it contradicts what the node acknowledged before.
    pub fn check(&self, node: u64, term: u64, result: &StreamAppendResult<TypeConfig>) -> bool {
        let mut nodes = self.nodes.lock();
        let seen = nodes.entry(node).or_default();
        if seen.0 != term {
            *seen = (term, 0);
        }
        match result {
            Ok(matched) => seen.1 = seen.1.max(position(matched.as_ref())),
            Err(StreamAppendError::Conflict(id)) => {
                let gone_back = position(Some(id)) <= seen.1;
                if gone_back {
                    tracing::error!(
                        node,
                        acknowledged = seen.1,
                        "a node has lost entries it had acknowledged"
                    );
                }
                return !gone_back;
            }
            Err(StreamAppendError::HigherVote(_)) => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::types::log_id;

    #[test]
    fn a_node_that_went_back_is_told_from_one_that_is_being_matched() {
        let progress = Progress::default();
        let conflict = |index| Err(StreamAppendError::Conflict(log_id(1, index)));
        assert!(
            progress.check(2, 5, &conflict(9)),
            "the leader is still looking for the common prefix"
        );
        assert!(progress.check(2, 5, &Ok(Some(log_id(1, 7)))));
        assert!(progress.check(2, 5, &conflict(8)));
        assert!(!progress.check(2, 5, &conflict(7)));
        assert!(progress.check(3, 5, &conflict(7)), "another node");
        assert!(progress.check(2, 6, &conflict(7)), "another term begins anew");
    }
}
