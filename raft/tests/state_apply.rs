//! What each condition and operation does, alone and within a batch: tables over the memory store.
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
use conclave_raft::state::{
    Changes, Entry, MAX_SKEW, MAX_STEP, Machine, MemoryStore, Payload, counter_value, find_node,
    is_forgotten, registered_node, registered_nodes,
};
use conclave_raft::{Command, Condition, Error, Expect, NodeRecord, Op, Origin, Outcome, View};

const NOW: u64 = 1_700_000_000_000;

/// A machine over a memory store, with the next index.
struct Rig {
    machine: Machine,
    now: u64,
}

impl Rig {
    fn new() -> Self {
        Self {
            machine: Machine::open(Arc::new(MemoryStore::new())).unwrap(),
            now: NOW,
        }
    }

    fn entry(&self, index: u64, commands: &[Command]) -> Entry {
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
    fn batch(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let entry = self.entry(self.machine.applied().index + 1, commands);
        let results = self.machine.apply(&[entry]).unwrap();
        results
            .into_iter()
            .flat_map(|result| result.outcomes)
            .map(|(_, outcome)| outcome)
            .collect()
    }

    fn run(&mut self, expect: Vec<Expect>, ops: Vec<Op>) -> Outcome {
        let now_used = self.now;
        self.batch(&[Command {
            now_used,
            ..command(expect, ops)
        }])
        .remove(0)
    }

    /// Runs operations that must be applied, and returns their revision.
    fn must(&mut self, ops: Vec<Op>) -> u64 {
        match self.run(vec![], ops) {
            Outcome::Applied { revision, .. } => revision,
            other => panic!("{other:?}"),
        }
    }

    fn view(&self) -> Arc<View> {
        self.machine.views().latest().unwrap()
    }

    fn row(&self, key: &[u8]) -> Option<conclave_raft::Row> {
        self.view().rows().get(key).unwrap()
    }

    fn count(&self, key: &[u8]) -> i64 {
        counter_value(self.row(key).as_ref()).unwrap()
    }
}

fn command(expect: Vec<Expect>, ops: Vec<Op>) -> Command {
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

fn key(name: &str) -> Bytes {
    [&[1, 5], name.as_bytes()].concat().into()
}

fn expect(name: &str, condition: Condition) -> Vec<Expect> {
    vec![Expect {
        key: key(name),
        condition,
    }]
}

fn put(name: &str, value: &str) -> Op {
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

fn put_new(name: &str, value: &str) -> Op {
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

fn delete(name: &str) -> Op {
    Op::Delete { key: key(name) }
}

fn add(name: &str, delta: i64, floor: i64, ceiling: i64) -> Op {
    Op::Add {
        key: key(name),
        delta,
        floor,
        ceiling,
    }
}

fn node(number: u8) -> NodeRecord {
    NodeRecord {
        key_hash: [number; 32],
        name: format!("n{number}"),
        ..NodeRecord::default()
    }
}

fn denied(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Denied { reason } => reason,
        other => panic!("not denied: {other:?}"),
    }
}

#[test]
fn conditions_hold_or_conflict() {
    let mut rig = Rig::new();
    let first = rig.must(vec![put("a", "1"), put("b", "1")]);
    let second = rig.must(vec![put("a", "2")]);
    let third = rig.must(vec![put_new("b", "2")]);
    let table = [
        ("a", Condition::Present, true),
        ("a", Condition::Absent, false),
        ("a", Condition::Revision(second), true),
        ("a", Condition::Revision(first), false),
        ("a", Condition::Generation(first), true),
        ("a", Condition::Generation(second), false),
        ("b", Condition::Revision(third), true),
        ("b", Condition::Generation(third), true),
        ("b", Condition::Generation(first), false),
        ("none", Condition::Absent, true),
        ("none", Condition::Present, false),
        ("none", Condition::Revision(0), false),
        ("none", Condition::Generation(0), false),
    ];
    for (name, condition, holds) in table {
        let before = rig.machine.applied().revision;
        let outcome = rig.run(expect(name, condition), vec![put("probe", "x")]);
        let expected = match holds {
            true => Outcome::Applied {
                revision: before + 1,
                node: 0,
            },
            false => Outcome::Conflict { expectation: 0 },
        };
        assert_eq!(outcome, expected, "{name} {condition:?}");
        assert_eq!(rig.machine.applied().revision, before + u64::from(holds));
    }
}

#[test]
fn a_conflict_names_the_expectation_and_writes_nothing() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1")]);
    let mut expectations = expect("a", Condition::Present);
    expectations.extend(expect("b", Condition::Absent));
    expectations.extend(expect("a", Condition::Absent));
    let before = rig.view();
    assert_eq!(
        rig.run(expectations, vec![put("b", "1"), delete("a")]),
        Outcome::Conflict { expectation: 2 }
    );
    assert_eq!(rig.row(&key("b")), None);
    assert!(rig.row(&key("a")).is_some());
    assert_eq!(rig.view().applied().revision, before.applied().revision);
    assert_eq!(rig.view().applied().index, before.applied().index + 1);
}

#[test]
fn put_keeps_or_renews_the_generation() {
    let mut rig = Rig::new();
    let first = rig.must(vec![put("a", "1")]);
    let row = rig.row(&key("a")).unwrap();
    assert_eq!(
        (row.kind, row.revision, row.generation, row.value.as_ref()),
        (7, first, first, b"1".as_ref())
    );
    let second = rig.must(vec![Op::Put {
        key: key("a"),
        kind: 9,
        term: 4,
        deadline: 77,
        new_generation: false,
        value: Bytes::from_static(b"2"),
    }]);
    let row = rig.row(&key("a")).unwrap();
    assert_eq!((row.kind, row.term, row.deadline), (9, 4, 77));
    assert_eq!((row.revision, row.generation), (second, first));
    let third = rig.must(vec![put_new("a", "3")]);
    assert_eq!(rig.row(&key("a")).unwrap().generation, third);
    rig.must(vec![delete("a")]);
    let again = rig.must(vec![put("a", "4")]);
    assert_eq!(
        rig.row(&key("a")).unwrap().generation,
        again,
        "a new row, a new generation"
    );
}

#[test]
fn delete_removes_and_a_missing_row_is_fine() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1")]);
    rig.must(vec![delete("a")]);
    assert_eq!(rig.row(&key("a")), None);
    let revision = rig.must(vec![delete("a"), delete("never")]);
    let Changes::Sets(sets) = rig.view().changes(revision - 1, 10).unwrap() else {
        panic!("compacted")
    };
    assert!(sets[0].changes.is_empty(), "nothing happened, nothing is told");
}

#[test]
fn touch_moves_only_the_revision() {
    let mut rig = Rig::new();
    let created = rig.must(vec![Op::Touch { key: key("marker") }]);
    let row = rig.row(&key("marker")).unwrap();
    assert_eq!(
        (row.revision, row.generation, row.value.len()),
        (created, created, 0)
    );
    let moved = rig.must(vec![Op::Touch { key: key("marker") }]);
    let row = rig.row(&key("marker")).unwrap();
    assert_eq!((row.revision, row.generation), (moved, created));
    // A row with a long value, which the cache of headers does not hold, keeps it.
    let long = "v".repeat(5000);
    rig.must(vec![put("long", &long)]);
    rig.must(vec![Op::Touch { key: key("long") }]);
    assert_eq!(rig.row(&key("long")).unwrap().value, long.as_bytes());
}

#[test]
fn rewrap_changes_the_ciphertext_alone() {
    let mut rig = Rig::new();
    let first = rig.must(vec![put("a", "old")]);
    let rewrap = |revision: u64| Op::Rewrap {
        key: key("a"),
        revision,
        term: 9,
        value: Bytes::from_static(b"new"),
    };
    let command = rig.must(vec![rewrap(first)]);
    let row = rig.row(&key("a")).unwrap();
    assert_eq!(
        (row.revision, row.generation, row.term, row.kind),
        (first, first, 9, 7)
    );
    assert_eq!(row.value.as_ref(), b"new");
    let Changes::Sets(sets) = rig.view().changes(command - 1, 10).unwrap() else {
        panic!("compacted")
    };
    assert!(sets[0].changes.is_empty(), "a rewrap makes no change event");
    rig.must(vec![put("a", "newer")]);
    rig.must(vec![rewrap(first)]);
    assert_eq!(
        rig.row(&key("a")).unwrap().value.as_ref(),
        b"newer",
        "the row has moved on"
    );
    rig.must(vec![delete("a")]);
    rig.must(vec![rewrap(first)]);
    assert_eq!(rig.row(&key("a")), None);
}

#[test]
fn add_stays_within_its_bounds() {
    let mut rig = Rig::new();
    let table = [
        (5, 0, 10, Some(5)),
        (5, 0, 10, Some(10)),
        (1, 0, 10, None),
        (-10, 0, 10, Some(0)),
        (-1, 0, 10, None),
        (-1, -1, 10, Some(-1)),
        (0, 0, 10, None),
        (i64::MAX, i64::MIN, i64::MAX, Some(i64::MAX - 1)),
        (1, i64::MIN, i64::MAX, Some(i64::MAX)),
        (1, i64::MIN, i64::MAX, None),
        (i64::MIN, i64::MIN, i64::MAX, Some(-1)),
        (i64::MIN, i64::MIN, i64::MAX, None),
        (1, 5, 4, None),
    ];
    for (delta, floor, ceiling, expected) in table {
        let before = rig.count(&key("n"));
        let outcome = rig.run(vec![], vec![put("beside", "x"), add("n", delta, floor, ceiling)]);
        match expected {
            Some(sum) => assert!(matches!(outcome, Outcome::Applied { .. }) && rig.count(&key("n")) == sum),
            None => {
                assert_eq!(
                    outcome,
                    Outcome::Refused { op: 1 },
                    "{delta} in {floor}..={ceiling} on {before}"
                );
                assert_eq!(rig.count(&key("n")), before);
            }
        }
    }
    rig.must(vec![put("text", "four")]);
    assert!(denied(&rig.run(vec![], vec![add("text", 1, 0, 10)])).contains("not a counter"));
    // Two adds of one command see each other, and fail together.
    assert_eq!(
        rig.run(vec![], vec![add("m", 3, 0, 5), add("m", 3, 0, 5)]),
        Outcome::Refused { op: 1 }
    );
    assert_eq!(rig.count(&key("m")), 0);
    rig.must(vec![add("m", 3, 0, 5), add("m", 2, 0, 5)]);
    assert_eq!(rig.count(&key("m")), 5);
}

#[test]
fn later_commands_of_a_batch_see_earlier_ones() {
    let mut rig = Rig::new();
    let outcomes = rig.batch(&[
        command(expect("a", Condition::Absent), vec![put("a", "1")]),
        command(expect("a", Condition::Absent), vec![put("a", "2")]),
        command(expect("a", Condition::Revision(1)), vec![delete("a")]),
        command(
            expect("a", Condition::Absent),
            vec![put("a", "3"), add("n", 9, 0, 10)],
        ),
        command(vec![], vec![add("n", 2, 0, 10)]),
        command(vec![], vec![add("n", 1, 0, 10)]),
        command(expect("a", Condition::Generation(3)), vec![put("a", "4")]),
    ]);
    let applied = |revision| Outcome::Applied { revision, node: 0 };
    assert_eq!(
        outcomes,
        [
            applied(1),
            Outcome::Conflict { expectation: 0 },
            applied(2),
            applied(3),
            Outcome::Refused { op: 0 },
            applied(4),
            applied(5),
        ]
    );
    let row = rig.row(&key("a")).unwrap();
    assert_eq!(
        (row.revision, row.generation, row.value.as_ref()),
        (5, 3, b"4".as_ref())
    );
    assert_eq!(rig.count(&key("n")), 10);
}

#[test]
fn later_entries_of_a_slice_see_earlier_ones() {
    let mut rig = Rig::new();
    let entries = [
        rig.entry(1, &[command(vec![], vec![put("a", "1")])]),
        Entry {
            index: 2,
            term: 1,
            payload: Payload::Blank,
        },
        Entry {
            index: 3,
            term: 1,
            payload: Payload::Membership(Bytes::from_static(b"members")),
        },
        rig.entry(4, &[command(expect("a", Condition::Absent), vec![put("a", "2")])]),
    ];
    let results = rig.machine.apply(&entries).unwrap();
    let outcomes: Vec<usize> = results.iter().map(|result| result.outcomes.len()).collect();
    assert_eq!(outcomes, [1, 0, 0, 1]);
    assert_eq!(results[3].outcomes[0].1, Outcome::Conflict { expectation: 0 });
    assert_eq!(
        (rig.machine.applied().index, rig.machine.applied().revision),
        (4, 1)
    );
    assert_eq!(rig.machine.membership().as_ref(), b"members");
}

#[test]
fn operations_of_a_command_happen_in_order() {
    let mut rig = Rig::new();
    rig.must(vec![
        put("a", "1"),
        delete("a"),
        put("a", "2"),
        put("b", "1"),
        delete("b"),
    ]);
    assert_eq!(rig.row(&key("a")).unwrap().value.as_ref(), b"2");
    assert_eq!(rig.row(&key("b")), None);
}

#[test]
fn the_due_index_is_ordered_and_exact() {
    let mut rig = Rig::new();
    let due = |queue, deadline, name: &str| Op::DuePut {
        queue,
        deadline,
        key: key(name),
    };
    rig.must(vec![
        due(2, 5, "x"),
        due(1, 300, "c"),
        due(1, 2, "b"),
        due(1, 2, "a"),
        due(u64::MAX, u64::MAX, "z"),
    ]);
    let names = |found: Vec<(u64, Bytes)>| -> Vec<(u64, Bytes)> { found };
    let view = rig.view();
    assert_eq!(
        names(view.rows().due(1, 299, 10).unwrap()),
        [(2, key("a")), (2, key("b"))]
    );
    assert_eq!(view.rows().due(1, 300, 10).unwrap().len(), 3);
    assert_eq!(names(view.rows().due(1, u64::MAX, 1).unwrap()), [(2, key("a"))]);
    assert_eq!(view.rows().due(1, 1, 10).unwrap(), []);
    assert_eq!(
        names(view.rows().due(u64::MAX, u64::MAX, 10).unwrap()),
        [(u64::MAX, key("z"))]
    );
    assert_eq!(view.rows().queues(None, 10).unwrap(), [1, 2, u64::MAX]);
    assert_eq!(view.rows().queues(Some(1), 1).unwrap(), [2]);
    assert_eq!(view.rows().queues(Some(u64::MAX), 10).unwrap(), []);
    let gone = |queue, deadline, name: &str| Op::DueDelete {
        queue,
        deadline,
        key: key(name),
    };
    // Another deadline or queue names another entry; within a command the last word counts.
    rig.must(vec![
        gone(1, 3, "a"),
        gone(2, 2, "a"),
        gone(2, 5, "x"),
        due(1, 2, "b"),
        gone(1, 2, "b"),
    ]);
    let view = rig.view();
    assert_eq!(
        names(view.rows().due(1, u64::MAX, 10).unwrap()),
        [(2, key("a")), (300, key("c"))]
    );
    assert_eq!(view.rows().queues(None, 10).unwrap(), [1, u64::MAX]);
}

#[test]
fn a_refused_command_leaves_no_due_entry() {
    let mut rig = Rig::new();
    let ops = vec![
        Op::DuePut {
            queue: 1,
            deadline: 1,
            key: key("a"),
        },
        Op::SetMinTerm { term: 3 },
        add("n", 1, 0, 0),
    ];
    assert_eq!(rig.run(vec![], ops), Outcome::Refused { op: 2 });
    assert_eq!(rig.view().rows().queues(None, 10).unwrap(), []);
    assert_eq!(rig.machine.applied().min_term, 0);
}

#[test]
fn stale_keys_are_refused_and_the_term_never_falls() {
    let mut rig = Rig::new();
    rig.must(vec![Op::SetMinTerm { term: 5 }]);
    let with_term = |oldest_term| Command {
        oldest_term,
        ..command(vec![], vec![put("a", "1")])
    };
    let outcomes = rig.batch(&[with_term(4), with_term(5), with_term(0), with_term(6)]);
    assert_eq!(outcomes[0], Outcome::StaleKey { min_term: 5 });
    assert!(
        outcomes[1..]
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Applied { .. }))
    );
    denied(&rig.run(vec![], vec![Op::SetMinTerm { term: 4 }]));
    assert_eq!(rig.view().applied().min_term, 5);
}

#[test]
fn the_clock_takes_small_steps_and_refuses_great_ones() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1")]);
    assert_eq!(
        rig.machine.applied().cluster_time,
        NOW,
        "the first time is taken as it is"
    );
    rig.now = NOW + MAX_STEP;
    rig.must(vec![put("a", "2")]);
    assert_eq!(rig.machine.applied().cluster_time, NOW + MAX_STEP);
    let time = rig.machine.applied().cluster_time;
    rig.now = time - 1000;
    rig.must(vec![put("a", "3")]);
    assert_eq!(rig.machine.applied().cluster_time, time, "never back");

    // Too great a step: ordinary commands are refused, whatever time they used; the clock stays.
    rig.now = time + MAX_STEP + 1;
    let used = |now_used| Command {
        now_used,
        ..command(vec![], vec![put("b", "1")])
    };
    let stale = Outcome::StaleClock { cluster_time: time };
    assert_eq!(
        rig.batch(&[used(time), used(rig.now)]),
        [stale.clone(), stale.clone()]
    );
    assert_eq!(rig.machine.applied().cluster_time, time);
    // An AdvanceClock that does not hold moves nothing; one that does lets what follows pass.
    let advance = |expect: Vec<Expect>, now_used| Command {
        now_used,
        ..command(expect, vec![Op::AdvanceClock])
    };
    let outcomes = rig.batch(&[
        advance(expect("a", Condition::Absent), rig.now),
        advance(vec![], rig.now - MAX_SKEW - 1),
        used(rig.now),
        advance(vec![], rig.now),
        used(rig.now),
    ]);
    assert_eq!(outcomes[0], Outcome::Conflict { expectation: 0 });
    assert_eq!(outcomes[1..3], [stale.clone(), stale]);
    assert!(
        outcomes[3..]
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Applied { .. }))
    );
    assert_eq!(rig.machine.applied().cluster_time, rig.now);
}

#[test]
fn a_decision_from_another_time_is_refused() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1")]);
    let table = [
        (NOW - MAX_SKEW - 1, false),
        (NOW - MAX_SKEW, true),
        (NOW + MAX_SKEW, true),
        (NOW + MAX_SKEW + 1, false),
        (0, false),
        (u64::MAX, false),
    ];
    for (now_used, fine) in table {
        let outcome = rig
            .batch(&[Command {
                now_used,
                ..command(vec![], vec![put("a", "2")])
            }])
            .remove(0);
        match fine {
            true => assert!(matches!(outcome, Outcome::Applied { .. }), "{now_used}"),
            false => assert_eq!(outcome, Outcome::StaleClock { cluster_time: NOW }, "{now_used}"),
        }
    }
}

#[test]
fn ids_are_allotted_once_for_each_key_and_never_again() {
    let mut rig = Rig::new();
    let register = |number: u8| vec![Op::RegisterNode { node: node(number) }];
    let id = |outcome: Outcome| match outcome {
        Outcome::Applied { node, .. } => node,
        other => panic!("{other:?}"),
    };
    assert_eq!(id(rig.run(vec![], register(1))), 1);
    assert_eq!(id(rig.run(vec![], register(2))), 2);
    assert_eq!(id(rig.run(vec![], register(1))), 1, "idempotent by key");
    let moved = NodeRecord {
        cluster_addr: "elsewhere:1".into(),
        ..node(2)
    };
    assert_eq!(
        id(rig.run(vec![], vec![Op::RegisterNode { node: moved.clone() }])),
        2
    );
    assert_eq!(registered_node(&rig.view(), 2).unwrap().unwrap().record, moved);
    assert_eq!(find_node(&rig.view(), &[1; 32]).unwrap().unwrap().id, 1);

    rig.must(vec![Op::ForgetNode { node: 2 }]);
    rig.must(vec![Op::ForgetNode { node: 2 }]);
    assert_eq!(registered_node(&rig.view(), 2).unwrap(), None);
    assert!(is_forgotten(&rig.view(), &[2; 32]).unwrap());
    assert_eq!(find_node(&rig.view(), &[2; 32]).unwrap(), None);
    assert!(denied(&rig.run(vec![], register(2))).contains("removed"));
    assert_eq!(
        id(rig.run(vec![], register(3))),
        3,
        "the forgotten id is not used again"
    );
    let ids: Vec<u64> = registered_nodes(&rig.view())
        .unwrap()
        .iter()
        .map(|node| node.id)
        .collect();
    assert_eq!(ids, [1, 3]);
    denied(&rig.run(vec![], vec![Op::ForgetNode { node: 9 }]));
    denied(&rig.run(vec![], vec![Op::ForgetNode { node: 0 }]));
    let two = vec![
        Op::RegisterNode { node: node(7) },
        Op::RegisterNode { node: node(8) },
    ];
    denied(&rig.run(vec![], two));
    assert_eq!(
        find_node(&rig.view(), &[7; 32]).unwrap(),
        None,
        "nothing of a denied command stays"
    );
}

#[test]
fn incarnations_only_grow() {
    let mut rig = Rig::new();
    rig.must(vec![Op::RegisterNode { node: node(1) }]);
    let begin = |incarnation, instance: u8, last_log_index| {
        vec![Op::BeginIncarnation {
            node: 1,
            incarnation,
            instance: [instance; 16],
            last_log_index,
        }]
    };
    rig.must(begin(5, 1, 100));
    rig.must(begin(5, 1, 100));
    assert!(
        denied(&rig.run(vec![], begin(5, 2, 100))).contains("cloned"),
        "the same one twice"
    );
    assert!(denied(&rig.run(vec![], begin(4, 1, 100))).contains("rolled back"));
    assert!(denied(&rig.run(vec![], begin(6, 2, 99))).contains("ends at 99"));
    rig.must(begin(6, 2, 100));
    let known = registered_node(&rig.view(), 1).unwrap().unwrap();
    assert_eq!(
        (known.incarnation, known.instance, known.last_log_index),
        (6, [2; 16], 100)
    );
    let stranger = Op::BeginIncarnation {
        node: 2,
        incarnation: 1,
        instance: [0; 16],
        last_log_index: 0,
    };
    assert!(denied(&rig.run(vec![], vec![stranger])).contains("no node 2"));
}

#[test]
fn callers_cannot_write_the_register() {
    let mut rig = Rig::new();
    let own: Bytes = Bytes::from_static(&[1, 1, 0]);
    let value = Bytes::new();
    let ops = [
        Op::Put {
            key: own.clone(),
            kind: 1,
            term: 0,
            deadline: 0,
            new_generation: true,
            value: value.clone(),
        },
        Op::Delete { key: own.clone() },
        Op::Touch { key: own.clone() },
        Op::Rewrap {
            key: own.clone(),
            revision: 1,
            term: 1,
            value,
        },
        Op::Add {
            key: own,
            delta: 1,
            floor: 0,
            ceiling: 1,
        },
        Op::Touch {
            key: Bytes::from_static(&[1]),
        },
        Op::Touch { key: Bytes::new() },
    ];
    for op in ops {
        let outcome = rig.run(vec![], vec![put("a", "1"), op.clone()]);
        assert!(denied(&outcome).contains("operation 1"), "{op:?}");
    }
    assert_eq!(rig.machine.applied().revision, 0);
}

#[test]
fn the_version_is_only_raised_and_an_unknown_one_stops_the_node() {
    let mut rig = Rig::new();
    assert_eq!(rig.view().applied().cluster_version, 1);
    rig.must(vec![Op::RaiseVersion { version: 1 }]);
    denied(&rig.run(vec![], vec![Op::RaiseVersion { version: 0 }]));
    // A newer build's command, as bytes: the version is the last two.
    let mut bytes = encode_command(&command(vec![], vec![Op::RaiseVersion { version: 1 }]))
        .unwrap()
        .to_vec();
    let end = bytes.len();
    bytes[end - 1] = 2;
    let payload = Payload::Commands(encode_batch(NOW, &[Bytes::from(bytes)]).unwrap());
    let index = rig.machine.applied().index + 1;
    let error = rig
        .machine
        .apply(&[Entry {
            index,
            term: 1,
            payload,
        }])
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::UnknownFormat {
                what: "cluster version",
                format: 2
            }
        ),
        "{error}"
    );
}

#[test]
fn what_cannot_be_read_stops_the_slice_without_a_trace() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1")]);
    let before = rig.machine.applied();
    let mut newer = encode_command(&command(vec![], vec![put("a", "3")]))
        .unwrap()
        .to_vec();
    newer[1] = 2;
    let unreadable = |bytes: Vec<u8>| Payload::Commands(encode_batch(NOW, &[Bytes::from(bytes)]).unwrap());
    for payload in [
        unreadable(newer),
        unreadable(vec![0, 1, 2]),
        Payload::Commands(Bytes::from_static(b"noise")),
        Payload::Membership(Bytes::new()),
    ] {
        let good = rig.entry(before.index + 1, &[command(vec![], vec![put("a", "2")])]);
        let bad = Entry {
            index: before.index + 2,
            term: 1,
            payload,
        };
        rig.machine.apply(&[good, bad]).unwrap_err();
        assert_eq!(rig.machine.applied(), before);
        assert_eq!(rig.row(&key("a")).unwrap().value.as_ref(), b"1");
    }
    rig.must(vec![put("a", "4")]);
    assert_eq!(rig.machine.applied().revision, before.revision + 1);
}

#[test]
fn a_gap_or_a_repetition_in_the_log_is_refused() {
    let mut rig = Rig::new();
    let blank = |index, term| Entry {
        index,
        term,
        payload: Payload::Blank,
    };
    assert!(rig.machine.is_fresh());
    rig.machine.apply(&[blank(0, 1), blank(1, 2)]).unwrap();
    assert!(!rig.machine.is_fresh());
    for entry in [blank(1, 2), blank(0, 2), blank(3, 2), blank(2, 1)] {
        assert!(matches!(
            rig.machine.apply(&[entry]),
            Err(Error::Corrupt { what: "log", .. })
        ));
    }
    rig.machine.apply(&[blank(2, 2), blank(3, 2)]).unwrap();
    assert!(matches!(
        rig.machine.apply(&[blank(4, 2), blank(6, 2)]),
        Err(Error::Corrupt { .. })
    ));
    assert_eq!(rig.machine.applied().index, 3);
}

#[test]
fn changes_tell_what_each_command_did() {
    use conclave_raft::state::ChangeOp;
    let mut rig = Rig::new();
    rig.must(vec![
        put("a", "1"),
        add("n", 1, 0, 9),
        Op::Touch { key: key("t") },
    ]);
    rig.must(vec![delete("a"), Op::AdvanceClock]);
    rig.must(vec![Op::AdvanceClock]);
    let Changes::Sets(sets) = rig.view().changes(0, 10).unwrap() else {
        panic!("compacted")
    };
    let told: Vec<Vec<_>> = sets
        .iter()
        .map(|set| {
            set.changes
                .iter()
                .map(|change| (change.op, change.kind, change.key.clone()))
                .collect()
        })
        .collect();
    assert_eq!(sets.iter().map(|set| set.revision).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        told,
        [
            vec![
                (ChangeOp::Put, 7, key("a")),
                (ChangeOp::Add, 0, key("n")),
                (ChangeOp::Touch, 0, key("t"))
            ],
            vec![(ChangeOp::Delete, 7, key("a"))],
            vec![],
        ]
    );
    let Changes::Sets(sets) = rig.view().changes(1, 1).unwrap() else {
        panic!("compacted")
    };
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].revision, 2);
    assert_eq!(rig.view().changes(3, 10).unwrap(), Changes::Sets(vec![]));
    assert_eq!(rig.view().changes(u64::MAX, 10).unwrap(), Changes::Sets(vec![]));
}

#[test]
fn old_changes_are_compacted_at_the_same_revision_however_batches_fall() {
    use conclave_raft::state::RETAINED_CHANGES;
    let total = RETAINED_CHANGES + 10_000;
    let run = |per_entry: usize| {
        let mut rig = Rig::new();
        let mut left = total as usize;
        while left > 0 {
            let now = left.min(per_entry);
            rig.batch(&vec![command(vec![], vec![Op::AdvanceClock]); now]);
            left -= now;
        }
        let view = rig.view();
        assert_eq!(view.applied().revision, total);
        let oldest = (0..total)
            .step_by(1024)
            .find(|after| view.changes(*after, 1).unwrap() != Changes::Compacted);
        let oldest = oldest.unwrap();
        assert!(
            view.rows().change_sets(0, 1).unwrap()[0].0 > oldest - 1024,
            "older ones are gone from the store"
        );
        oldest
    };
    let oldest = run(1000);
    assert!(oldest > 0 && total - oldest >= RETAINED_CHANGES);
    assert_eq!(oldest, run(777));
}

#[test]
fn steady_commands_cost_at_most_two_reads_of_the_store() {
    let mut rig = Rig::new();
    for number in 0..200u32 {
        rig.must(vec![
            put(&format!("k{number}"), "1"),
            add(&format!("use{number}"), 0, 0, 100),
        ]);
    }
    let before = rig.machine.stats();
    for round in 0..5 {
        for number in 0..200u32 {
            let name = format!("k{number}");
            let outcome = rig.run(
                expect(&name, Condition::Present),
                vec![
                    put(&name, &format!("{round}")),
                    add(&format!("use{number}"), 1, 0, 100),
                ],
            );
            assert!(matches!(outcome, Outcome::Applied { .. }));
        }
    }
    let after = rig.machine.stats();
    assert_eq!(after.commands - before.commands, 1000);
    assert_eq!(after.store_gets - before.store_gets, 0, "warm: the cache answers");
    // Cold, a command reads each row it names once: a new machine over the same store.
    let mut cold = Machine::open(Arc::clone(rig.machine.store())).unwrap();
    let index = cold.applied().index + 1;
    let commands = command(
        expect("k1", Condition::Present),
        vec![put("k1", "x"), add("use1", 1, 0, 100), delete("k1")],
    );
    cold.apply(&[rig.entry(index, &[commands])]).unwrap();
    assert_eq!(cold.stats().store_gets, 2);
}

#[test]
fn views_do_not_change_and_are_shared_until_something_does() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1")]);
    let old = rig.view();
    assert!(Arc::ptr_eq(&old, &rig.view()));
    rig.must(vec![put("a", "2")]);
    let new = rig.view();
    assert_eq!(old.rows().get(&key("a")).unwrap().unwrap().value.as_ref(), b"1");
    assert_eq!(new.rows().get(&key("a")).unwrap().unwrap().value.as_ref(), b"2");
    assert_eq!((old.applied().revision, new.applied().revision), (1, 2));
}
