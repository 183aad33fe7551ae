//! A machine over a memory store, and short names for commands. Knows nothing of what the tests assert.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::codec::{encode_batch, encode_command};
use conclave_raft::state::{Entry, Machine, MemoryStore, Payload, counter_value};
use conclave_raft::{Command, Condition, Expect, NodeRecord, Op, Origin, Outcome, Row, View};

pub const NOW: u64 = 1_700_000_000_000;

/// A machine over a memory store, with the next index.
pub struct Rig {
    pub machine: Machine,
    pub now: u64,
}

impl Rig {
    pub fn new() -> Self {
        Self {
            machine: Machine::open(Arc::new(MemoryStore::new())).unwrap(),
            now: NOW,
        }
    }

    pub fn entry(&self, index: u64, commands: &[Command]) -> Entry {
        let commands: Vec<Bytes> = commands
            .iter()
            .map(|command| encode_command(command).unwrap())
            .collect();
        Entry {
            index,
            term: 1,
            payload: Payload::Commands(encode_batch(self.now, &commands).unwrap()),
        }
    }

    /// Applies commands as one entry.
    pub fn batch(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let entry = self.entry(self.machine.applied().index + 1, commands);
        let results = self.machine.apply(&[entry]).unwrap();
        results
            .into_iter()
            .flat_map(|result| result.outcomes)
            .map(|(_, outcome)| outcome)
            .collect()
    }

    pub fn run(&mut self, expect: Vec<Expect>, ops: Vec<Op>) -> Outcome {
        let now_used = self.now;
        self.batch(&[Command {
            now_used,
            ..command(expect, ops)
        }])
        .remove(0)
    }

    /// Runs operations that must be applied, and returns their revision.
    pub fn must(&mut self, ops: Vec<Op>) -> u64 {
        match self.run(vec![], ops) {
            Outcome::Applied { revision, .. } => revision,
            other => panic!("{other:?}"),
        }
    }

    pub fn view(&self) -> Arc<View> {
        self.machine.views().latest().unwrap()
    }

    pub fn row(&self, key: &[u8]) -> Option<Row> {
        self.view().rows().get(key).unwrap()
    }

    pub fn count(&self, key: &[u8]) -> i64 {
        counter_value(self.row(key).as_ref()).unwrap()
    }
}

pub fn command(expect: Vec<Expect>, ops: Vec<Op>) -> Command {
    let origin = Origin {
        node: 1,
        incarnation: 1,
        sequence: 1,
    };
    Command {
        origin,
        oldest_term: 0,
        now_used: NOW,
        expect,
        ops,
    }
}

pub fn key(name: &str) -> Bytes {
    [&[1, 5], name.as_bytes()].concat().into()
}

pub fn expect(name: &str, condition: Condition) -> Vec<Expect> {
    vec![Expect {
        key: key(name),
        condition,
    }]
}

pub fn put(name: &str, value: &str) -> Op {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Op::Put {
        key: key(name),
        kind: 7,
        term: 0,
        deadline: 0,
        new_generation: false,
        value,
    }
}

pub fn put_new(name: &str, value: &str) -> Op {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Op::Put {
        key: key(name),
        kind: 7,
        term: 0,
        deadline: 0,
        new_generation: true,
        value,
    }
}

pub fn delete(name: &str) -> Op {
    Op::Delete { key: key(name) }
}

pub fn add(name: &str, delta: i64, floor: i64, ceiling: i64) -> Op {
    Op::Add {
        key: key(name),
        delta,
        floor,
        ceiling,
    }
}

pub fn node(number: u8) -> NodeRecord {
    NodeRecord {
        key_hash: [number; 32],
        name: format!("n{number}"),
        ..NodeRecord::default()
    }
}

pub fn denied(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Denied { reason } => reason,
        other => panic!("not denied: {other:?}"),
    }
}

/// Compares with a file of `tests/golden`. A change of these bytes is a new format and needs a new format number;
/// `CONCLAVE_BLESS=1` writes a file that is missing.
pub fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("CONCLAVE_BLESS").is_some() && !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    assert!(
        expected == bytes,
        "{name} changed: readers of format 1 would not understand it"
    );
}
