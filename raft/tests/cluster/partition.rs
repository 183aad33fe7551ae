//! Broken connections and lost leaders under load: nothing is applied twice, nothing acknowledged is lost, nothing old
//! is read as current.

use std::sync::atomic::{AtomicU64, Ordering};

use conclave_raft::state::counter_value;
use conclave_raft::{Error, Op, Outcome, Replica};
use futures::future::join_all;

use crate::harness::{Cluster, Kind, Member, eventually, name};

#[derive(Default)]
struct Tally {
    applied: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
}

/// Adds one to a counter `times` times, one after the other.
async fn count(member: &Member, times: usize, tally: &Tally) {
    for _ in 0..times {
        let add = Op::Add {
            key: name("count"),
            delta: 1,
            floor: 0,
            ceiling: i64::MAX,
        };
        let outcome = member.replica().propose(member.command(vec![add], vec![])).await;
        let which = match outcome {
            Ok(Outcome::Applied { .. }) => &tally.applied,
            // It waited too long for a leader: what it was based on is old.
            Ok(Outcome::StaleClock { .. }) => &tally.refused,
            Ok(other) => panic!("{other:?}"),
            Err(Error::OutcomeUnknown) => &tally.unknown,
            Err(Error::NotCommitted | Error::NoLeader) => &tally.refused,
            Err(other) => panic!("{other:?}"),
        };
        which.fetch_add(1, Ordering::SeqCst);
    }
}

async fn counted(member: &Member) -> u64 {
    let view = member.replica().read().await.unwrap();
    let row = view.row(&name("count")).unwrap();
    u64::try_from(counter_value(row.as_ref()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_loses_and_doubles_nothing() {
    let cluster = Cluster::form(Kind::MemoryPlain, 3).await;
    let leader = cluster.leader().await;
    let member = &cluster.members[(leader + 1) % 3];
    let tally = Tally::default();
    let breaking = async {
        for round in 1..=15 {
            eventually("some progress", || {
                tally.applied.load(Ordering::SeqCst) >= round * 40
            })
            .await;
            member.cable().pull();
            tokio::task::yield_now().await;
            member.cable().plug();
        }
    };
    let load = join_all((0..16).map(|_| count(member, 50, &tally)));
    tokio::join!(load, breaking);
    assert_eq!(tally.unknown.load(Ordering::SeqCst), 0);
    assert_eq!(tally.refused.load(Ordering::SeqCst), 0);
    assert_eq!(counted(member).await, 800);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_serves_nothing_and_comes_back() {
    let cluster = Cluster::form(Kind::MemoryPlain, 3).await;
    let old = cluster.leader().await;
    let rest = [(old + 1) % 3, (old + 2) % 3];
    let tally = Tally::default();
    let cut = async {
        eventually("some progress", || tally.applied.load(Ordering::SeqCst) >= 100).await;
        cluster.members[old].cable().pull();
        let id = cluster.members[old].id;
        for at in rest {
            cluster.members[at]
                .wait("led by another", |status| {
                    status.leader.is_some_and(|leader| leader != id)
                })
                .await;
        }
        cluster.members[rest[0]].put("new", b"1").await.unwrap();
        // It still believes to lead, but cannot prove it: better no answer than an old one.
        assert!(matches!(
            cluster.members[old].replica().read().await,
            Err(Error::NoLeader)
        ));
        cluster.members[old].cable().plug();
    };
    let load = join_all(cluster.members.iter().map(|member| count(member, 200, &tally)));
    tokio::join!(load, cut);
    assert_eq!(cluster.members[old].get("new").await.unwrap(), "1");
    let (applied, unknown) = (
        tally.applied.load(Ordering::SeqCst),
        tally.unknown.load(Ordering::SeqCst),
    );
    for member in &cluster.members {
        let counted = counted(member).await;
        assert!(
            (applied..=applied + unknown).contains(&counted),
            "{counted} of {applied} and {unknown} unknown"
        );
    }
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_takes_no_writes() {
    let cluster = Cluster::form(Kind::MemoryPlain, 3).await;
    let cut_off = &cluster.members[cluster.leader().await];
    cut_off.put("before", b"1").await.unwrap();
    cut_off.cable().pull();
    let log = cut_off
        .wait("knows it", |status| !status.is_leader)
        .await
        .last_log_index;
    // Said with certainty, and no later than while an election is waited for.
    let refused = cut_off.put("lost", b"1").await;
    assert!(
        matches!(refused, Err(Error::NoLeader | Error::NotCommitted)),
        "{refused:?}"
    );
    assert_eq!(cut_off.replica().status().borrow().last_log_index, log);
    cut_off.cable().plug();
    cut_off.put("after", b"1").await.unwrap();
    cluster.agree().await;
}
