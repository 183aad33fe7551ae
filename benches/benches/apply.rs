//! What applying one log entry costs, in memory and on disk: a batch of commands of the shape of a kv write (four
//! expectations, a row replaced and a row made).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::codec::{encode_batch, encode_command};
use conclave_raft::state::{Entry, Machine, MemoryStore, Payload, RocksStore, Store};
use conclave_raft::{Command, Condition, Expect, Op, Origin, Outcome};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const NOW: u64 = 1_700_000_000_000;
/// Secrets that are written in turn.
const KEYS: u64 = 1000;

fn key(name: &str) -> Bytes {
    [&[1, 0x16], name.as_bytes()].concat().into()
}

fn put(name: &str, bytes: usize) -> Op {
    Op::Put {
        key: key(name),
        kind: 0,
        term: 1,
        deadline: 0,
        new_generation: false,
        value: vec![5; bytes].into(),
    }
}

/// Writes version after version of many secrets.
struct Writer {
    machine: Machine,
    turn: u64,
}

impl Writer {
    fn new(store: Arc<dyn Store>) -> Self {
        let mut writer = Self {
            machine: Machine::open(store).unwrap(),
            turn: 0,
        };
        let entry = writer.entry_of(&[Self::command(vec![], vec![put("token", 300), put("epoch", 0)])]);
        writer.apply(&entry);
        writer
    }

    fn command(expect: Vec<Expect>, ops: Vec<Op>) -> Command {
        Command {
            origin: Origin {
                node: 1,
                incarnation: 1,
                sequence: 1,
            },
            oldest_term: 1,
            now_used: NOW,
            expect,
            ops,
        }
    }

    fn entry_of(&self, commands: &[Command]) -> Entry {
        let commands: Vec<Bytes> = commands
            .iter()
            .map(|command| encode_command(command).unwrap())
            .collect();
        Entry {
            index: self.machine.applied().index + 1,
            term: 1,
            payload: Payload::Commands(encode_batch(NOW, &commands).unwrap()),
        }
    }

    fn entry(&mut self, commands: u64) -> Entry {
        let made: Vec<Command> = (0..commands)
            .map(|_| {
                self.turn += 1;
                let name = format!("m/secret-{}", self.turn % KEYS);
                let data = format!("d/secret-{}/{}", self.turn % KEYS, self.turn / KEYS);
                let expect = [
                    ("token", Condition::Generation(1)),
                    ("epoch", Condition::Revision(1)),
                    (data.as_str(), Condition::Absent),
                ];
                let expect = expect.map(|(name, condition)| Expect {
                    key: key(name),
                    condition,
                });
                Self::command(expect.to_vec(), vec![put(&name, 200), put(&data, 320)])
            })
            .collect();
        self.entry_of(&made)
    }

    fn apply(&mut self, entry: &Entry) {
        let applied = self.machine.apply(std::slice::from_ref(entry)).unwrap();
        for (_, outcome) in &applied[0].outcomes {
            assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        }
    }
}

fn apply(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let stores: [(&str, Arc<dyn Store>); 2] = [
        ("memory", Arc::new(MemoryStore::new())),
        (
            "rocksdb",
            Arc::new(RocksStore::open(&dir.path().join("state")).unwrap()),
        ),
    ];
    let mut group = c.benchmark_group("apply");
    for (what, store) in stores {
        let mut writer = Writer::new(store);
        for commands in [1, 64] {
            group.throughput(Throughput::Elements(commands));
            group.bench_function(format!("{what}, {commands} commands"), |b| {
                let cell = std::cell::RefCell::new(&mut writer);
                b.iter_batched(
                    || cell.borrow_mut().entry(commands),
                    |entry| cell.borrow_mut().apply(&entry),
                    BatchSize::PerIteration,
                )
            });
        }
    }
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
