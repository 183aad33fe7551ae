//! At most one leader is elected in a term (Raft paper, section 5.2).

use std::collections::BTreeMap;

#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<u64, u64>,
}

impl ElectionSafety {
    /// A node took `node` for the leader of `term`, granted by a quorum.
    pub fn granted(&mut self, term: u64, node: u64) -> Result<(), String> {
        let leader = *self.leaders.entry(term).or_insert(node);
        match leader == node {
            true => Ok(()),
            false => Err(format!(
                "election safety: term {term} has leaders {leader} and {node}"
            )),
        }
    }
}
