//! What was committed is in the log of every later leader, and no node applies anything else at its index (Raft paper,
//! section 5.4). What any node applied counts as committed.

use std::collections::BTreeMap;

use conclave_raft::Applied;

#[derive(Default)]
pub struct LeaderCompleteness {
    /// Term of the committed entry at each position (index + 1), and the node that applied it first.
    committed: BTreeMap<u64, (u64, u64)>,
}

impl LeaderCompleteness {
    /// `node` applied up to `applied`; `terms` are those of the entries it just applied, as far as its log has them.
    pub fn applied(
        &mut self,
        node: u64,
        applied: Applied,
        terms: &[(u64, Option<u64>)],
    ) -> Result<(), String> {
        let last = (applied.index, Some(applied.term));
        for (position, term) in terms.iter().chain([&last]) {
            let Some(term) = *term else { continue };
            let (known, first) = *self.committed.entry(*position).or_insert((term, node));
            if known != term {
                return Err(format!(
                    "state machine safety: node {first} applied an entry of term {known} at position {position}, \
                     node {node} one of term {term}"
                ));
            }
        }
        Ok(())
    }

    /// `node` leads `term` with a log of these terms by index.
    pub fn leads(&mut self, node: u64, term: u64, log: &BTreeMap<u64, u64>) -> Result<(), String> {
        let Some(first) = log.keys().next() else {
            return Ok(());
        };
        for (position, (committed, by)) in self.committed.range(first + 1..) {
            let found = log.get(&(position - 1));
            if *committed < term && found != Some(committed) {
                return Err(format!(
                    "leader completeness: node {node} leads term {term} and has {found:?} at position {position}, \
                     where node {by} applied an entry of term {committed}"
                ));
            }
        }
        Ok(())
    }
}
