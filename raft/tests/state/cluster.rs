//! What commands do to the cluster's own state: key terms, clock, register and version.

use bytes::Bytes;
use conclave_raft::codec::{encode_batch, encode_command};
use conclave_raft::state::{
    Entry, MAX_SKEW, MAX_STEP, Payload, find_node, is_forgotten, registered_node, registered_nodes,
};
use conclave_raft::{Command, Condition, Error, Expect, NodeRecord, Op, Outcome};

use crate::rig::*;

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
