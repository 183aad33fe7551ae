//! Equal logs give equal states: nodes that applied as much hold the same rows, revision and time.

use std::collections::BTreeMap;

use conclave_raft::Applied;

#[derive(Default)]
pub struct StateDigest {
    /// By position: what a node had there.
    states: BTreeMap<u64, (u64, Applied, [u8; 32])>,
    compared: u64,
}

impl StateDigest {
    /// `node` holds this state.
    pub fn applied(&mut self, node: u64, applied: Applied, digest: [u8; 32]) -> Result<(), String> {
        let new = (node, applied, digest);
        let (other, known, expected) = *self.states.entry(applied.index).or_insert(new);
        self.compared += u64::from(other != node);
        if known != applied || expected != digest {
            return Err(format!(
                "state digest: nodes {other} and {node} differ at position {}: {known:?} {applied:?}",
                applied.index
            ));
        }
        Ok(())
    }

    /// How many states were compared with another node's.
    pub fn compared(&self) -> u64 {
        self.compared
    }
}
