//! How a log is applied: batches, slices, what cannot be read, change log, cost and views.

use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::codec::{encode_batch, encode_command};
use conclave_raft::state::{
    ChangeOp, Changes, Entry, Machine, Payload, RETAINED_CHANGE_BYTES, RETAINED_CHANGES,
};
use conclave_raft::{Condition, Error, Op, Outcome};

use crate::rig::*;

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
fn change_sets_are_kept_by_their_bytes_too() {
    // Each command changes ten rows with long names: forty kilobytes of change set.
    let ops = || {
        (0..10)
            .map(|number| put(&format!("{number:0>4000}"), "1"))
            .collect()
    };
    let run = |per_entry: usize| {
        let mut rig = Rig::new();
        for _ in 0..600 / per_entry {
            rig.batch(&vec![command(vec![], ops()); per_entry]);
        }
        let rows = rig.view();
        let kept = rows.rows().change_sets(0, 4096).unwrap();
        let bytes: u64 = kept.iter().map(|(_, set)| set.len() as u64).sum();
        assert!(bytes <= RETAINED_CHANGE_BYTES * 9 / 8, "{bytes}");
        assert!(bytes > RETAINED_CHANGE_BYTES / 2, "{bytes}");
        let oldest = kept[0].0;
        assert_eq!(rows.changes(oldest - 2, 1).unwrap(), Changes::Compacted);
        assert_ne!(rows.changes(oldest - 1, 1).unwrap(), Changes::Compacted);
        oldest
    };
    assert_eq!(run(1), run(4));
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
