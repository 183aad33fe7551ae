//! Nodes on their way into a cluster, in the memory of one node: on a member, who waits for approval; on a node that belongs
//! to no cluster, whom it asks. Bounded: anybody may ask. What admits a node lies in rows, not here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use conclave_raft::NodeRecord;

use crate::error::Error;

/// Most nodes that wait at one member.
pub const MAX_WAITING: usize = 32;
/// A node that has not asked for this long waits no more; it asks every two seconds.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// A node that waits for approval.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Who it says it is; its key is proved.
    pub record: NodeRecord,
    asked: Instant,
}

/// What a node that belongs to no cluster is doing about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// The member it asks.
    pub address: String,
    /// What came of it last.
    pub said: String,
}

/// Both lists of one node.
#[derive(Default)]
pub struct Admissions {
    waiting: Mutex<BTreeMap<[u8; 32], Waiting>>,
    joining: Mutex<Option<Joining>>,
    /// Counts requests to join: a later one takes the place of an earlier one.
    round: AtomicU64,
}

impl Admissions {
    /// A node asked without a token. Returns whether it is new here.
    ///
    /// # Errors
    /// `Error::Overloaded` when too many wait.
    pub fn wait(&self, record: NodeRecord) -> Result<bool, Error> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, node| node.asked.elapsed() < FORGOTTEN);
        let known = waiting.contains_key(&record.key_hash);
        if !known && waiting.len() >= MAX_WAITING {
            return Err(Error::Overloaded(format!(
                "{MAX_WAITING} nodes wait for approval here already; approve this one by its fingerprint all the same, or use a join token"
            )));
        }
        let asked = Instant::now();
        waiting.insert(record.key_hash, Waiting { record, asked });
        Ok(!known)
    }

    /// A node waits no more.
    pub fn done(&self, key_hash: &[u8; 32]) {
        self.waiting.lock().remove(key_hash);
    }

    /// Who waits here, by key.
    pub fn waiting(&self) -> Vec<NodeRecord> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, node| node.asked.elapsed() < FORGOTTEN);
        waiting.values().map(|node| node.record.clone()).collect()
    }

    /// A new request to join begins; its number.
    pub fn next_round(&self) -> u64 {
        self.round.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether no later request to join took the place of this one.
    pub fn is_current(&self, round: u64) -> bool {
        self.round.load(Ordering::Acquire) == round
    }

    /// Keeps what this node is doing to join, for its status.
    pub fn set_joining(&self, joining: Option<Joining>) {
        *self.joining.lock() = joining;
    }

    /// What this node is doing to join.
    pub fn joining(&self) -> Option<Joining> {
        self.joining.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeRecord {
        NodeRecord {
            key_hash: [number; 32],
            ..NodeRecord::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait_and_only_while_they_ask() {
        let admissions = Admissions::default();
        for number in 0..u8::try_from(MAX_WAITING).unwrap() {
            assert!(admissions.wait(node(number)).unwrap());
        }
        assert!(matches!(admissions.wait(node(200)), Err(Error::Overloaded(_))));
        assert!(!admissions.wait(node(0)).unwrap(), "who waits may ask again");
        admissions.done(&[1; 32]);
        assert!(admissions.wait(node(201)).unwrap());
        tokio::time::advance(FORGOTTEN / 2).await;
        admissions.wait(node(0)).unwrap();
        tokio::time::advance(FORGOTTEN / 2).await;
        assert_eq!(admissions.waiting(), [node(0)]);
        assert!(admissions.wait(node(200)).unwrap());
    }
}
