//! Finds members whose state differs from the others' at one position of the log. Apply is deterministic, so one that
//! differs has a damaged disk, or a bug has met it: what it serves cannot be trusted. Knows no transport.

mod compare;
mod member;
mod verdict;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use conclave_raft::Origin;

use crate::error::Error;

pub use compare::Comparison;
pub use member::{HOLD, TELL};
pub use verdict::diverged;

/// A hash over all replicated rows.
pub type Digest = [u8; 32];

/// What one node knows about comparisons.
#[derive(Default)]
pub struct Divergence {
    /// Hashes under way here or done, by the command they stand behind.
    hashes: Mutex<BTreeMap<Origin, member::Progress>>,
    /// Whether this node is among those that differ.
    differs: AtomicBool,
}

impl Divergence {
    /// Whether this node's state may be served.
    ///
    /// # Errors
    /// `Error::Overloaded`, which has clients go to another node.
    pub fn check(&self) -> Result<(), Error> {
        if self.differs.load(Ordering::Acquire) {
            return Err(Error::Overloaded(
                "the state of this node differs from the other members': it serves nothing until it is removed and joins anew"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All members that told their digest told the same, and they are a majority.
    Equal,
    /// A majority told one digest, others told another.
    Differs,
    /// No digest has a majority of the members behind it.
    Undecided,
}

impl Outcome {
    /// Its name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Undecided => "undecided",
        }
    }
}

/// Judges what members told: the digest that more than half of *all* members have is right. Returns what the comparison
/// came to, and who has another digest than the right one.
pub fn judge(told: &[(u64, Option<Digest>)]) -> (Outcome, Vec<u64>) {
    let mut votes: BTreeMap<Digest, usize> = BTreeMap::new();
    for digest in told.iter().filter_map(|(_, digest)| *digest) {
        *votes.entry(digest).or_default() += 1;
    }
    let right = votes.iter().find(|(_, count)| **count * 2 > told.len());
    let Some((right, _)) = right else {
        return (Outcome::Undecided, Vec::new());
    };
    let others = told
        .iter()
        .filter(|(_, digest)| digest.is_some_and(|digest| digest != *right));
    let others: Vec<u64> = others.map(|(node, _)| *node).collect();
    match others.is_empty() {
        true => (Outcome::Equal, others),
        false => (Outcome::Differs, others),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_majority_of_all_members_is_right() {
        let a = Some([1; 32]);
        let b = Some([2; 32]);
        let c = Some([3; 32]);
        for (told, outcome, others) in [
            (vec![a], Outcome::Equal, vec![]),
            (vec![a, a, a], Outcome::Equal, vec![]),
            (vec![a, a, None], Outcome::Equal, vec![]),
            (vec![a, b, a], Outcome::Differs, vec![2]),
            (vec![b, a, a], Outcome::Differs, vec![1]),
            (vec![a, b, None], Outcome::Undecided, vec![]),
            (vec![a, b, c], Outcome::Undecided, vec![]),
            (vec![a, b], Outcome::Undecided, vec![]),
            (vec![a, None, None], Outcome::Undecided, vec![]),
            (vec![None, None, None], Outcome::Undecided, vec![]),
            (vec![a, a, a, b, c], Outcome::Differs, vec![4, 5]),
            (vec![a, a, b, b, None], Outcome::Undecided, vec![]),
        ] {
            let told: Vec<_> = (1..).zip(told).collect();
            assert_eq!(judge(&told), (outcome, others), "{told:?}");
        }
    }
}
