//! Random commands against a naive model, and against each other: however a log is cut into batches and slices,
//! reopened or moved to another store, the state is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::codec::{encode_batch, encode_command};
use conclave_raft::state::{Entry, Machine, MemoryStore, Payload, Store, digest, staged_chunk_key};
use conclave_raft::{Command, Condition, Expect, Key, NodeRecord, Op, Origin, Outcome, Row};
use proptest::prelude::*;

use crate::adopt::staging;
use crate::archive::archive_of;

const NOW: u64 = 1_700_000_000_000;
const ORIGIN: Origin = Origin {
    node: 1,
    incarnation: 1,
    sequence: 1,
};

fn key(number: u8) -> Key {
    Bytes::copy_from_slice(&[1, 5, number])
}

fn value(number: u8) -> Bytes {
    // Small, then above what the cache of headers keeps, then above what goes to blob files.
    let length = [3, 40, 6000][usize::from(number % 3)];
    vec![number; length].into()
}

fn any_op() -> impl Strategy<Value = Op> {
    let name = 0..8u8;
    prop_oneof![
        6 => (name.clone(), any::<u8>(), any::<bool>(), 0..4u32).prop_map(|(name, byte, new_generation, term)| Op::Put {
            key: key(name), kind: byte, term, deadline: u64::from(byte), new_generation, value: value(byte),
        }),
        2 => name.clone().prop_map(|name| Op::Delete { key: key(name) }),
        1 => name.clone().prop_map(|name| Op::Touch { key: key(name) }),
        2 => (name, 0..20u64, any::<u8>()).prop_map(|(name, revision, byte)| Op::Rewrap {
            key: key(name), revision, term: 9, value: value(byte),
        }),
        3 => (8..10u8, -5..5i64).prop_map(|(name, delta)| Op::Add { key: key(name), delta, floor: -3, ceiling: 8 }),
        2 => (0..3u64, 0..4u64, 0..4u8).prop_map(|(queue, deadline, name)| Op::DuePut {
            queue, deadline, key: key(name),
        }),
        1 => (0..3u64, 0..4u64, 0..4u8).prop_map(|(queue, deadline, name)| Op::DueDelete {
            queue, deadline, key: key(name),
        }),
        1 => (0..3u32).prop_map(|term| Op::SetMinTerm { term }),
        1 => (0..4u8).prop_map(|number| Op::RegisterNode {
            node: NodeRecord { key_hash: [number; 32], ..NodeRecord::default() },
        }),
        1 => (0..4u64).prop_map(|node| Op::ForgetNode { node }),
        1 => Just(Op::AdvanceClock),
    ]
}

/// An archive of a history of its own; each number is another.
fn archive(number: u8) -> (Bytes, Model) {
    let mut history = vec![
        Op::Put {
            key: key(number),
            kind: number,
            term: 1,
            deadline: 0,
            new_generation: false,
            value: value(number),
        },
        Op::Add {
            key: key(8),
            delta: i64::from(number),
            floor: 0,
            ceiling: 8,
        },
        Op::DuePut {
            queue: 1,
            deadline: u64::from(number),
            key: key(number),
        },
        Op::SetMinTerm {
            term: u32::from(number % 2),
        },
    ];
    history.extend((0..number * 10).map(|_| Op::Touch { key: key(7) }));
    let mut model = Model::default();
    let commands: Vec<Command> = history
        .into_iter()
        .map(|op| Command {
            origin: ORIGIN,
            oldest_term: 0,
            now_used: NOW,
            expect: vec![],
            ops: vec![op],
        })
        .collect();
    for command in &commands {
        model.apply(command);
    }
    let (machine, _) = in_memory(&commands, 1, 1);
    (archive_of(&machine.views().latest().unwrap()), model)
}

/// Commands that put an archive's only chunk in place, or adopt it, in either order.
fn any_adoption() -> impl Strategy<Value = Command> {
    (0..3u8, any::<bool>(), prop::collection::vec(any_op(), 0..3)).prop_map(|(number, adopts, more)| {
        let (chunks, adopt) = staging([number; 16], &archive(number).0, usize::MAX);
        let mut ops = if adopts { vec![adopt] } else { chunks };
        ops.extend(more);
        Command {
            origin: ORIGIN,
            oldest_term: 0,
            now_used: NOW,
            expect: vec![],
            ops,
        }
    })
}

fn any_history() -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(prop_oneof![4 => any_command(), 1 => any_adoption()], 1..40)
}

fn any_command() -> impl Strategy<Value = Command> {
    let condition = prop_oneof![
        (0..20u64).prop_map(Condition::Revision),
        Just(Condition::Absent),
        Just(Condition::Present),
        (0..20u64).prop_map(Condition::Generation),
    ];
    let expect = (0..8u8, condition).prop_map(|(name, condition)| Expect {
        key: key(name),
        condition,
    });
    (
        0..3u32,
        0..7000u64,
        prop::collection::vec(expect, 0..2),
        prop::collection::vec(any_op(), 1..5),
    )
        .prop_map(|(oldest_term, late, expect, ops)| Command {
            origin: ORIGIN,
            oldest_term,
            now_used: NOW + late,
            expect,
            ops,
        })
}

/// The naive model: rows in a map, cloned before each command.
#[derive(Clone, Default, Debug, PartialEq)]
struct Model {
    rows: BTreeMap<Key, Row>,
    due: BTreeSet<(u64, u64, Key)>,
    revision: u64,
    min_term: u32,
    ids: BTreeMap<[u8; 32], (u64, bool)>,
    next_id: u64,
}

impl Model {
    fn apply(&mut self, command: &Command) -> Outcome {
        let mut after = self.clone();
        after.revision += 1;
        match after.run(command) {
            Ok(node) => {
                *self = after;
                Outcome::Applied {
                    revision: self.revision,
                    node,
                }
            }
            Err(outcome) => outcome,
        }
    }

    fn run(&mut self, command: &Command) -> Result<u64, Outcome> {
        if command.now_used > NOW + 5000 {
            return Err(Outcome::StaleClock { cluster_time: NOW });
        }
        if command.oldest_term != 0 && command.oldest_term < self.min_term {
            return Err(Outcome::StaleKey {
                min_term: self.min_term,
            });
        }
        for (number, expect) in command.expect.iter().enumerate() {
            let row = self.rows.get(&expect.key);
            let holds = match expect.condition {
                Condition::Absent => row.is_none(),
                Condition::Present => row.is_some(),
                Condition::Revision(revision) => row.is_some_and(|row| row.revision == revision),
                Condition::Generation(generation) => row.is_some_and(|row| row.generation == generation),
            };
            if !holds {
                return Err(Outcome::Conflict {
                    expectation: number as u32,
                });
            }
        }
        let mut node = 0;
        for (number, op) in command.ops.iter().enumerate() {
            node = self.op(number as u32, op, node)?;
        }
        Ok(node)
    }

    fn op(&mut self, number: u32, op: &Op, node: u64) -> Result<u64, Outcome> {
        let revision = self.revision;
        let empty = Row {
            kind: 0,
            revision,
            generation: revision,
            term: 0,
            deadline: 0,
            value: Bytes::new(),
        };
        match op.clone() {
            Op::Put {
                key,
                kind,
                term,
                deadline,
                new_generation,
                value,
            } => {
                let kept = self.rows.get(&key).filter(|_| !new_generation);
                let generation = kept.map_or(revision, |row| row.generation);
                self.rows.insert(
                    key,
                    Row {
                        kind,
                        revision,
                        generation,
                        term,
                        deadline,
                        value,
                    },
                );
            }
            Op::Delete { key } => {
                self.rows.remove(&key);
            }
            Op::Touch { key } => self.rows.entry(key).or_insert(empty).revision = revision,
            Op::Rewrap {
                key,
                revision,
                term,
                value,
            } => {
                if let Some(row) = self.rows.get_mut(&key).filter(|row| row.revision == revision) {
                    (row.term, row.value) = (term, value);
                }
            }
            Op::Add {
                key,
                delta,
                floor,
                ceiling,
            } => {
                let row = self.rows.entry(key).or_insert(empty);
                let current = if row.value.is_empty() {
                    0
                } else {
                    i64::from_be_bytes(row.value[..].try_into().unwrap())
                };
                if !(floor..=ceiling).contains(&(current + delta)) {
                    return Err(Outcome::Refused { op: number });
                }
                row.value = Bytes::copy_from_slice(&(current + delta).to_be_bytes());
                row.revision = revision;
            }
            Op::AdoptStaged { id, .. } => self.adopt(number, id[0])?,
            other => return self.cluster_op(other, node),
        }
        Ok(node)
    }

    fn adopt(&mut self, number: u32, archive_number: u8) -> Result<(), Outcome> {
        let (bytes, theirs) = archive(archive_number);
        let waiting = self.rows.get(&staged_chunk_key(&[archive_number; 16], 0));
        if number > 0 || waiting.is_none_or(|row| row.value != bytes) {
            return Err(Outcome::Denied {
                reason: String::new(),
            });
        }
        self.revision = self.revision.max(theirs.revision + 1);
        let revision = self.revision;
        self.rows = theirs.rows;
        for row in self.rows.values_mut() {
            (row.revision, row.generation) = (revision, revision);
        }
        (self.due, self.min_term) = (theirs.due, theirs.min_term);
        Ok(())
    }

    fn cluster_op(&mut self, op: Op, node: u64) -> Result<u64, Outcome> {
        let denied = || Outcome::Denied {
            reason: String::new(),
        };
        match op {
            Op::DuePut { queue, deadline, key } => {
                self.due.insert((queue, deadline, key));
            }
            Op::DueDelete { queue, deadline, key } => {
                self.due.remove(&(queue, deadline, key));
            }
            Op::SetMinTerm { term } if term < self.min_term => return Err(denied()),
            Op::SetMinTerm { term } => self.min_term = term,
            Op::RegisterNode { .. } if node != 0 => return Err(denied()),
            Op::RegisterNode { node } => match self.ids.get(&node.key_hash) {
                Some((_, true)) => return Err(denied()),
                Some((id, false)) => return Ok(*id),
                None => {
                    self.next_id += 1;
                    self.ids.insert(node.key_hash, (self.next_id, false));
                    return Ok(self.next_id);
                }
            },
            Op::ForgetNode { node } if node == 0 || node > self.next_id => return Err(denied()),
            Op::ForgetNode { node } => self
                .ids
                .values_mut()
                .filter(|(id, _)| *id == node)
                .for_each(|it| it.1 = true),
            _ => {}
        }
        Ok(node)
    }
}

/// Appends commands, cut into entries and slices of the given sizes, to what a store holds.
fn append(machine: &mut Machine, commands: &[Command], entry: usize, slice: usize) -> Vec<Outcome> {
    let encoded: Vec<Bytes> = commands
        .iter()
        .map(|command| encode_command(command).unwrap())
        .collect();
    let from = machine.applied().index + 1;
    let payload = |commands: &[Bytes]| Payload::Commands(encode_batch(NOW, commands).unwrap());
    let entries: Vec<Entry> = (from..)
        .zip(encoded.chunks(entry))
        .map(|(index, commands)| Entry {
            index,
            term: 1,
            payload: payload(commands),
        })
        .collect();
    let results = entries
        .chunks(slice)
        .flat_map(|slice| machine.apply(slice).unwrap());
    results
        .flat_map(|result| result.outcomes)
        .map(|(_, outcome)| outcome)
        .collect()
}

fn in_memory(commands: &[Command], entry: usize, slice: usize) -> (Machine, Vec<Outcome>) {
    let mut machine = Machine::open(Arc::new(MemoryStore::new())).unwrap();
    let outcomes = append(&mut machine, commands, entry, slice);
    (machine, outcomes)
}

fn without_reasons(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let blank = |outcome| match outcome {
        Outcome::Denied { .. } => Outcome::Denied {
            reason: String::new(),
        },
        other => other,
    };
    outcomes.into_iter().map(blank).collect()
}

fn digest_of(machine: &Machine) -> [u8; 32] {
    digest(&machine.views().latest().unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn apply_is_the_model(commands in any_history(), entry in 1..6usize, slice in 1..6usize) {
        let (machine, outcomes) = in_memory(&commands, entry, slice);
        let mut model = Model::default();
        let expected: Vec<Outcome> = commands.iter().map(|command| model.apply(command)).collect();
        prop_assert_eq!(without_reasons(outcomes), expected);
        let view = machine.views().latest().unwrap();
        let mut rows = BTreeMap::new();
        view.rows().scan(&[1, 2], None, &mut |key, row| {
            rows.insert(Bytes::copy_from_slice(key), row);
            Ok(true)
        }).unwrap();
        prop_assert_eq!(rows, model.rows);
        let mut due = BTreeSet::new();
        view.rows().scan_due(&mut |entry| {
            due.insert((entry.queue, entry.deadline, entry.key));
            Ok(true)
        }).unwrap();
        prop_assert_eq!(due, model.due);
        prop_assert_eq!(view.applied().revision, model.revision);
        prop_assert_eq!(view.applied().min_term, model.min_term);
    }

    #[test]
    fn the_cut_of_the_log_does_not_matter(
        commands in any_history(),
        first in (1..8usize, 1..8usize),
        second in (1..8usize, 1..8usize),
    ) {
        let (one, outcomes) = in_memory(&commands, first.0, first.1);
        // The other is opened anew, with nothing cached, in the middle.
        let store = Arc::new(MemoryStore::new());
        let mut again = Vec::new();
        for half in commands.chunks(commands.len().div_ceil(2)) {
            let mut machine = Machine::open(Arc::clone(&store) as Arc<dyn Store>).unwrap();
            again.extend(append(&mut machine, half, second.0, second.1));
        }
        let other = Machine::open(store).unwrap();
        prop_assert_eq!(outcomes, again);
        prop_assert_eq!(digest_of(&one), digest_of(&other));
        prop_assert_eq!(one.applied().cluster_time, other.applied().cluster_time);
    }
}

#[cfg(feature = "rocksdb")]
mod on_disk {
    use super::*;
    use conclave_raft::state::RocksStore;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn both_stores_agree_across_reopening(
            commands in any_history(),
            entry in 1..4usize,
            slice in 1..8usize,
        ) {
            let (memory, outcomes) = in_memory(&commands, 3, 3);
            let dir = tempfile::tempdir().unwrap();
            let mut all = Vec::new();
            for half in commands.chunks(commands.len().div_ceil(2)) {
                let store = RocksStore::open(dir.path()).unwrap();
                all.extend(append(&mut Machine::open(Arc::new(store)).unwrap(), half, entry, slice));
            }
            prop_assert_eq!(outcomes, all);
            let disk = Machine::open(Arc::new(RocksStore::open(dir.path()).unwrap())).unwrap();
            prop_assert_eq!(digest_of(&memory), digest_of(&disk));
        }
    }
}
