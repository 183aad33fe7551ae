//! The replica of one node behaves as a leader that is alone: time, origins, status, reads after writes.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::local::{LocalReplica, ManualClock};
use conclave_raft::state::{MAX_STEP, MemoryStore, Store};
use conclave_raft::{Change, Command, Error, Expect, NodeRecord, Op, Outcome, PeerCall, Replica};

const START: u64 = 1_700_000_000_000;

fn key(name: &str) -> Bytes {
    [&[1, 5], name.as_bytes()].concat().into()
}

fn put(replica: &dyn Replica, name: &str) -> Command {
    let op = Op::Put {
        key: key(name),
        kind: 1,
        term: 0,
        deadline: 0,
        new_generation: false,
        value: Bytes::from_static(b"v"),
    };
    command(replica, vec![op])
}

fn command(replica: &dyn Replica, ops: Vec<Op>) -> Command {
    Command {
        origin: replica.next_origin(),
        oldest_term: 0,
        now_used: replica.now(),
        expect: vec![],
        ops,
    }
}

fn start() -> (Arc<ManualClock>, LocalReplica) {
    let clock = Arc::new(ManualClock::new(START));
    let replica = LocalReplica::in_memory(clock.clone()).unwrap();
    (clock, replica)
}

#[tokio::test]
async fn what_is_proposed_is_read() {
    let (_, replica) = start();
    let before = replica.view().unwrap();
    assert_eq!(
        replica.propose(put(&replica, "a")).await.unwrap(),
        Outcome::Applied { revision: 1, node: 0 }
    );
    let view = replica.read().await.unwrap();
    assert_eq!(view.rows().get(&key("a")).unwrap().unwrap().value.as_ref(), b"v");
    assert_eq!(
        before.rows().get(&key("a")).unwrap(),
        None,
        "an old view stays old"
    );
    let mut conflicting = put(&replica, "a");
    conflicting.expect = vec![Expect {
        key: key("a"),
        condition: conclave_raft::Condition::Absent,
    }];
    assert_eq!(
        replica.propose(conflicting).await.unwrap(),
        Outcome::Conflict { expectation: 0 }
    );
}

#[tokio::test]
async fn time_may_jump_far_and_never_falls() {
    let (clock, replica) = start();
    replica.propose(put(&replica, "a")).await.unwrap();
    clock.advance(100 * MAX_STEP);
    let outcome = replica.propose(put(&replica, "b")).await.unwrap();
    assert_eq!(
        outcome,
        Outcome::Applied { revision: 3, node: 0 },
        "the clock was moved by a command of its own"
    );
    assert_eq!(
        replica.view().unwrap().applied().cluster_time,
        START + 100 * MAX_STEP
    );
    clock.set(START);
    assert_eq!(replica.now(), START + 100 * MAX_STEP);
    let late = Command {
        now_used: START,
        ..put(&replica, "c")
    };
    let cluster_time = START + 100 * MAX_STEP;
    assert_eq!(
        replica.propose(late).await.unwrap(),
        Outcome::StaleClock { cluster_time }
    );
}

#[tokio::test]
async fn origins_are_never_used_twice_even_after_reopening() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(START));
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let replica = LocalReplica::open(Arc::clone(&store), clock.clone()).unwrap();
        for _ in 0..5 {
            let command = put(&replica, "a");
            assert!(seen.insert(command.origin));
            replica.propose(command).await.unwrap();
        }
    }
    assert_eq!(store.applied().unwrap().0.revision, 25);
}

#[tokio::test]
async fn status_tells_of_one_leading_voter() {
    let (_, replica) = start();
    let mut status = replica.status();
    assert!(status.borrow_and_update().is_leader);
    let record = NodeRecord {
        key_hash: [3; 32],
        name: "only".into(),
        ..NodeRecord::default()
    };
    let register = command(&replica, vec![Op::RegisterNode { node: record.clone() }]);
    assert_eq!(
        replica.propose(register).await.unwrap(),
        Outcome::Applied {
            revision: 1,
            node: replica.node_id()
        }
    );
    assert!(status.has_changed().unwrap());
    let now = status.borrow().clone();
    assert_eq!(
        (now.leader, now.applied_index, now.committed_index, now.revision),
        (Some(1), 1, 1, 1)
    );
    assert_eq!(now.members.len(), 1);
    assert_eq!((now.members[0].voter, &now.members[0].record), (true, &record));
}

#[tokio::test]
async fn what_one_node_cannot_do_is_an_error() {
    let (_, replica) = start();
    let call = PeerCall {
        kind: 1,
        payload: Bytes::new(),
    };
    assert!(matches!(
        replica.call_peer(2, call).await,
        Err(Error::Peer { node: 2, .. })
    ));
    assert!(matches!(
        replica.change(Change::AddLearner { node: 2 }).await,
        Err(Error::Membership(_))
    ));
    let too_much = command(&replica, vec![Op::AdvanceClock; 5000]);
    assert!(matches!(replica.propose(too_much).await, Err(Error::Limit(_))));
    assert_eq!(replica.view().unwrap().applied().revision, 0);
}
