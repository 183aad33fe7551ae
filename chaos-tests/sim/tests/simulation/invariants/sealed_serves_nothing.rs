//! A node that is sealed serves nothing: from the answer to the seal, or from its start, until somebody begins to open it.

use std::collections::BTreeSet;

#[derive(Default)]
pub struct SealedServesNothing {
    closed: BTreeSet<u64>,
}

impl SealedServesNothing {
    /// `node` holds no keys from here on.
    pub fn closed(&mut self, node: u64) {
        self.closed.insert(node);
    }

    /// Shares are given, through whichever node: any may be opened.
    pub fn opening(&mut self) {
        self.closed.clear();
    }

    pub fn is_closed(&self, node: u64) -> bool {
        self.closed.contains(&node)
    }

    /// `node` answered a request; whether it was closed when that began.
    pub fn served(&self, node: u64, was_closed: bool, what: &str) -> Result<(), String> {
        match was_closed && self.is_closed(node) {
            true => Err(format!(
                "sealed serves nothing: node {node} is sealed and served {what}"
            )),
            false => Ok(()),
        }
    }
}
