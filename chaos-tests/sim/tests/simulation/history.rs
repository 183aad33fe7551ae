//! What clients asked and what they were told, in the order in which it happened.

use std::collections::BTreeMap;

use conclave_raft::Key;

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Wrote a register, whatever was there.
    Put(u64),
    /// Wrote a register that was last written at a revision, or not there.
    Cas(u64, Option<u64>),
    /// Removed a register.
    Delete(u64),
    /// Entered a row of its own into the set and counted it.
    Insert,
    /// Wrote two rows at once.
    Pair,
    /// Read everything as of one moment.
    Read,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The write is revision so and so.
    Applied(u64),
    /// An expectation did not hold.
    Conflict,
    /// Certainly not written, for another reason.
    NotApplied(String),
    /// May be written or not. So is what was under way when its node died.
    Unknown,
    /// What was read.
    Read(Seen),
}

/// All registers as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub revision: u64,
    pub cluster_time: u64,
    /// Revision and writing operation of each register that is there.
    pub registers: BTreeMap<u64, (u64, u64)>,
    /// Writing operations of the two halves of the pair.
    pub pair: [Option<u64>; 2],
    /// The counter and the rows it counts.
    pub counted: (i64, u64),
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub node: u64,
    pub action: Action,
    /// Event at which it began.
    pub began: u64,
    /// Event at which it ended, and how.
    pub ended: Option<(u64, Answer)>,
}

#[derive(Default)]
pub struct History {
    /// By id, from 1.
    pub operations: BTreeMap<u64, Operation>,
}

impl History {
    pub fn begin(&mut self, node: u64, action: Action, event: u64) -> u64 {
        let id = self.operations.len() as u64 + 1;
        let operation = Operation {
            node,
            action,
            began: event,
            ended: None,
        };
        self.operations.insert(id, operation);
        id
    }

    pub fn end(&mut self, id: u64, event: u64, answer: Answer) {
        self.operations.get_mut(&id).unwrap().ended = Some((event, answer));
    }
}

const TABLE: u8 = 0x70;

/// Row keys in a table that belongs to nobody.
fn key(kind: u8, number: u64) -> Key {
    let mut key = vec![1, TABLE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, kind];
    key.extend(number.to_be_bytes());
    key.into()
}

pub fn register(number: u64) -> Key {
    key(1, number)
}

pub fn pair(half: u64) -> Key {
    key(2, half)
}

pub fn counter() -> Key {
    key(3, 0)
}

/// The row that an `Insert` enters.
pub fn inserted(operation: u64) -> Key {
    key(4, operation)
}

/// All rows that `Insert`s entered lie between these keys.
pub fn all_inserted() -> (Key, Key) {
    (key(4, 0), key(5, 0))
}

/// The operation whose `Insert` entered this row.
pub fn inserter(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[13..21].try_into().unwrap())
}
