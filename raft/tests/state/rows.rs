//! What each condition and each operation on rows and the due index does.

use bytes::Bytes;
use conclave_raft::state::Changes;
use conclave_raft::{Condition, Op, Outcome};

use crate::rig::*;

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
    let behind = |from, until| view.rows().due_from(1, from, until, 10).unwrap();
    assert_eq!(names(behind(2, 2)), [(2, key("a")), (2, key("b"))]);
    assert_eq!(names(behind(3, 300)), [(300, key("c"))]);
    assert_eq!(behind(301, u64::MAX), []);
    assert_eq!(behind(300, 2), [], "an end before the beginning");
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
