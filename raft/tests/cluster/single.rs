//! A cluster of one: propose, read, restart.

use conclave_raft::{Condition, Error, Expect, Outcome, Replica};

use crate::harness::{Cluster, Kind, name, put};

async fn keeps_data_over_restarts(kind: Kind) {
    let mut cluster = Cluster::prepare(kind, 1).await;
    cluster.found().await;
    let member = &mut cluster.members[0];
    assert!(matches!(
        member.put("a", b"1").await.unwrap(),
        Outcome::Applied { .. }
    ));
    assert_eq!(member.get("a").await.unwrap(), "1");

    let absent = Expect {
        key: name("a"),
        condition: Condition::Absent,
    };
    let command = member.command(vec![put("a", b"2")], vec![absent]);
    let outcome = member.replica().propose(command).await.unwrap();
    assert_eq!(outcome, Outcome::Conflict { expectation: 0 });

    for incarnation in 2..5 {
        member.kill().await;
        member.start().await;
        assert_eq!(member.replica().incarnation(), incarnation);
        assert_eq!(member.get("a").await.unwrap(), "1");
        let count = format!("{incarnation}");
        member.put("b", count.as_bytes()).await.unwrap();
        assert_eq!(member.get("b").await.unwrap(), count);
    }
    member.wait_registered(4).await;
    member.shutdown().await;
    member.start().await;
    assert_eq!(member.get("b").await.unwrap(), "4");
    assert_eq!(*member.fatal.lock(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_data_over_restarts() {
    keeps_data_over_restarts(Kind::MemoryPlain).await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn disk_keeps_data_over_restarts() {
    keeps_data_over_restarts(Kind::RocksTls).await;
}

#[tokio::test]
async fn a_cluster_is_founded_once() {
    let mut cluster = Cluster::prepare(Kind::MemoryPlain, 1).await;
    cluster.members[0].start().await;
    assert!(!cluster.members[0].replica().initialized());
    let refused = cluster.members[0].put("a", b"1").await;
    assert!(matches!(refused, Err(Error::NoLeader)), "{refused:?}");
    cluster.members[0].kill().await;
    cluster.found().await;
    let record = cluster.members[0].record.clone();
    let again = cluster.members[0].replica().initialize(record).await;
    assert!(matches!(again, Err(Error::Membership(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_proposals_share_entries_and_all_are_answered() {
    let mut cluster = Cluster::prepare(Kind::MemoryPlain, 1).await;
    cluster.found().await;
    let member = &cluster.members[0];
    let before = member
        .wait("idle", |status| status.applied_index == status.last_log_index)
        .await;
    let puts = (0..1000).map(|at| async move { member.put(&format!("k{at}"), b"v").await });
    for outcome in futures::future::join_all(puts).await {
        assert!(matches!(outcome.unwrap(), Outcome::Applied { .. }));
    }
    let after = member
        .wait("applied", |status| status.revision >= before.revision + 1000)
        .await;
    let entries = after.last_log_index - before.last_log_index;
    assert!(entries < 500, "1000 proposals took {entries} entries");
    assert_eq!(member.get("k999").await.unwrap(), "v");
}

#[tokio::test]
async fn a_proposal_of_a_stranger_is_refused() {
    let mut cluster = Cluster::prepare(Kind::MemoryPlain, 1).await;
    cluster.found().await;
    let mut command = cluster.members[0].command(vec![put("a", b"1")], vec![]);
    command.origin.incarnation += 1;
    let refused = cluster.members[0].replica().propose(command).await;
    assert!(matches!(refused, Err(Error::Limit(_))), "{refused:?}");
}
