//! Three members: agreement, forwarding, crashes, transfers, snapshots.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use conclave_raft::node::SnapshotPolicy;
use conclave_raft::{Change, Error, Op, Outcome, PeerCall, Replica};

use crate::harness::{Cluster, Kind, eventually};

#[cfg(feature = "rocksdb")]
const KIND: Kind = Kind::RocksTls;
#[cfg(not(feature = "rocksdb"))]
const KIND: Kind = Kind::MemoryPlain;

#[tokio::test(flavor = "multi_thread")]
async fn every_member_writes_and_reads_what_is_current() {
    let cluster = Cluster::form(KIND, 3).await;
    for (at, member) in cluster.members.iter().enumerate() {
        let value = format!("from {at}");
        assert!(matches!(
            member.put("shared", value.as_bytes()).await.unwrap(),
            Outcome::Applied { .. }
        ));
        for reader in &cluster.members {
            assert_eq!(
                reader.get("shared").await.unwrap(),
                value,
                "read at node {}",
                reader.id
            );
        }
    }
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_may_die_and_come_back() {
    let mut cluster = Cluster::form(KIND, 3).await;
    cluster.members[2].kill().await;
    for at in 0..20 {
        cluster.members[1].put(&format!("k{at}"), b"v").await.unwrap();
    }
    cluster.members[2].start().await;
    assert_eq!(cluster.members[2].get("k19").await.unwrap(), "v");
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_at_a_follower_do_not_see_the_leader_die() {
    let mut cluster = Cluster::form(KIND, 3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    cluster.members[follower].put("before", b"1").await.unwrap();
    cluster.members[leader].kill().await;
    // Certainly not taken by the dead leader: tried again until the new one takes it.
    cluster.members[follower].put("after", b"2").await.unwrap();
    assert_eq!(cluster.members[follower].get("before").await.unwrap(), "1");
    cluster.members[leader].start().await;
    assert_eq!(cluster.members[leader].get("after").await.unwrap(), "2");
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_acknowledged() {
    let mut cluster = Cluster::form(KIND, 3).await;
    let leader = cluster.leader().await;
    for at in 0..3 {
        if at != leader {
            cluster.members[at].kill().await;
        }
    }
    cluster.members[leader]
        .wait("without a quorum", |status| !status.is_leader)
        .await;
    assert!(matches!(
        cluster.members[leader].put("x", b"1").await,
        Err(Error::NoLeader | Error::NotCommitted)
    ));
    assert!(matches!(
        cluster.members[leader].replica().read().await,
        Err(Error::NoLeader)
    ));
    let other = (leader + 1) % 3;
    cluster.members[other].start().await;
    cluster.members[other].put("x", b"2").await.unwrap();
    assert_eq!(cluster.members[leader].get("x").await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_to_the_willing() {
    let cluster = Cluster::form(KIND, 3).await;
    let leader = cluster.leader().await;
    let (second, third) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.members[second]
        .handler
        .unwilling
        .store(true, Ordering::SeqCst);
    let to = Some(cluster.members[second].id);
    let refused = cluster.members[leader]
        .replica()
        .change(Change::Transfer { to })
        .await;
    assert!(matches!(refused, Err(Error::Membership(_))), "{refused:?}");
    let elsewhere = cluster.members[second]
        .replica()
        .change(Change::Transfer { to: None })
        .await;
    assert!(
        matches!(elsewhere, Err(Error::NotLeader { leader: Some(_) })),
        "{elsewhere:?}"
    );

    cluster.members[leader]
        .replica()
        .change(Change::Transfer { to: None })
        .await
        .unwrap();
    cluster.members[third]
        .wait("leading", |status| status.is_leader)
        .await;
    for member in &cluster.members {
        member.put("after", b"1").await.unwrap();
    }
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lags_gets_a_snapshot() {
    let mut cluster = Cluster::prepare(KIND, 3).await;
    let policy = SnapshotPolicy {
        entries: 40,
        bytes: 1 << 30,
        keep: 5,
        ..SnapshotPolicy::default()
    };
    for member in &mut cluster.members {
        member.policy = policy;
    }
    cluster.found().await;
    cluster.join(1).await;
    for at in 0..200 {
        cluster.members[at % 2]
            .put(&format!("k{at}"), &[7; 2000])
            .await
            .unwrap();
    }
    // The first entries are gone: the newcomer can only begin from a snapshot.
    cluster.join(2).await;
    assert_eq!(
        cluster.members[2].get("k0").await.unwrap(),
        Bytes::from(vec![7; 2000])
    );
    cluster.agree().await;

    cluster.members[2].kill().await;
    for at in 0..200 {
        cluster.members[at % 2]
            .put(&format!("k{at}"), &[8; 100])
            .await
            .unwrap();
    }
    cluster.members[2].start().await;
    assert_eq!(
        cluster.members[2].get("k0").await.unwrap(),
        Bytes::from(vec![8; 100])
    );
    cluster.members[2].put("mine", b"1").await.unwrap();
    cluster.agree().await;
    for member in &cluster.members {
        assert_eq!(*member.fatal.lock(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_cut_by_bytes_and_also_when_nobody_writes_any_more() {
    let mut cluster = Cluster::prepare(KIND, 3).await;
    let policy = SnapshotPolicy {
        entries: 1 << 30,
        bytes: 8 << 20,
        age: Duration::from_millis(500),
        keep: 1 << 30,
        keep_bytes: 1 << 20,
    };
    for member in &mut cluster.members {
        member.policy = policy;
    }
    cluster.found().await;
    cluster.join(1).await;
    cluster.join(2).await;
    // Less than calls for a snapshot by itself, and more than is kept.
    for at in 0..60 {
        cluster.members[at % 3]
            .put(&format!("k{}", at % 5), &[7; 100_000])
            .await
            .unwrap();
    }
    // One part of the log is as small as it gets.
    let most = policy.keep_bytes + (512 << 10);
    eventually("the logs are small", || {
        let mut sizes = cluster.members.iter().map(|member| member.replica().log_bytes());
        sizes.all(|size| size <= most)
    })
    .await;
    // Who was away meanwhile begins from a snapshot, and a restart finds its log.
    cluster.members[2].kill().await;
    cluster.members[0].put("last", b"1").await.unwrap();
    cluster.members[2].start().await;
    assert_eq!(
        cluster.members[2].get("last").await.unwrap(),
        Bytes::from_static(b"1")
    );
    cluster.agree().await;
    for member in &cluster.members {
        assert_eq!(*member.fatal.lock(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    let cluster = Cluster::form(KIND, 3).await;
    let leader = cluster.leader().await;
    let gone = (leader + 1) % 3;
    let node = cluster.members[gone].id;
    cluster.members[leader]
        .replica()
        .change(Change::Demote { node })
        .await
        .unwrap();
    let voters = |status: &conclave_raft::Status| status.members.iter().filter(|member| member.voter).count();
    cluster.members[leader]
        .wait("two voters", |status| voters(status) == 2)
        .await;
    cluster.members[gone].put("from a learner", b"1").await.unwrap();
    cluster.members[leader]
        .replica()
        .change(Change::Remove { node })
        .await
        .unwrap();
    cluster.members[leader]
        .wait("two members", |status| status.members.len() == 2)
        .await;
    // Removed: nobody talks to it any more.
    let refused = cluster.members[gone].replica().read().await;
    assert!(matches!(refused, Err(Error::NoLeader)));
    cluster.members[leader].put("x", b"2").await.unwrap();

    // A leader that is to go hands over first and lets its successor do it.
    let own = cluster.members[leader].id;
    let moved = cluster.members[leader]
        .replica()
        .change(Change::Remove { node: own })
        .await;
    let Err(Error::NotLeader { leader: Some(next) }) = moved else {
        panic!("{moved:?}")
    };
    let next = usize::try_from(next - 1).unwrap();
    cluster.members[next]
        .wait("leading", |status| status.is_leader)
        .await;
    cluster.members[next]
        .replica()
        .change(Change::Remove { node: own })
        .await
        .unwrap();
    cluster.members[next].put("x", b"3").await.unwrap();
    let last = cluster.members[next].id;
    let refused = cluster.members[next]
        .replica()
        .change(Change::Remove { node: last })
        .await;
    assert!(matches!(refused, Err(Error::Membership(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_carry_who_sent_them() {
    let cluster = Cluster::form(KIND, 3).await;
    let call = PeerCall {
        kind: 7,
        payload: Bytes::from_static(b"four"),
    };
    let answer = cluster.members[2]
        .replica()
        .call_peer(2, call.clone())
        .await
        .unwrap();
    assert_eq!(answer, "3:7:4");
    assert!(matches!(
        cluster.members[2].replica().call_peer(9, call).await,
        Err(Error::Peer { node: 9, .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_must_not_lead_still_find_a_caretaker() {
    let mut cluster = Cluster::form(KIND, 3).await;
    for member in &cluster.members {
        member.replica().elect(false);
    }
    let leader = cluster.leader().await;
    cluster.members[leader].kill().await;
    let mut next = 0;
    eventually("another one leads", || {
        let leads = |at: &usize| *at != leader && cluster.members[*at].replica().status().borrow().is_leader;
        next = (0..3).find(leads).unwrap_or(leader);
        next != leader
    })
    .await;
    cluster.members[next].put("x", b"1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moved_is_found_again() {
    let mut cluster = Cluster::form(KIND, 3).await;
    let leader = cluster.leader().await;
    let moved = (leader + 1) % 3;
    cluster.members[moved].kill().await;
    cluster.members[moved].move_away();
    let id = cluster.members[moved].id;
    let record = cluster.members[moved].record.clone();
    let register = cluster.members[leader].command(vec![Op::RegisterNode { node: record.clone() }], vec![]);
    cluster.members[leader].replica().propose(register).await.unwrap();
    cluster.members[moved].start().await;
    cluster.members[leader]
        .wait("the new address", |status| {
            let member = status.members.iter().find(|member| member.id == id);
            member.is_some_and(|member| member.record == record)
        })
        .await;
    cluster.members[leader].put("x", b"1").await.unwrap();
    assert_eq!(cluster.members[moved].get("x").await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_meets_a_leader_it_never_heard_of() {
    let mut cluster = Cluster::prepare(KIND, 4).await;
    cluster.found().await;
    cluster.join(1).await;
    cluster.join(2).await;
    cluster.members[2].kill().await;
    cluster.join(3).await;
    let to = Some(cluster.members[3].id);
    let leader = cluster.leader().await;
    cluster.members[leader]
        .replica()
        .change(Change::Transfer { to })
        .await
        .unwrap();
    cluster.members[3]
        .wait("leading", |status| status.is_leader)
        .await;
    cluster.members[3].put("x", b"1").await.unwrap();
    cluster.members[2].start().await;
    cluster.members[2]
        .wait("led by the stranger", |status| {
            status.leader == to && status.members.len() == 4
        })
        .await;
    assert_eq!(cluster.members[2].get("x").await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_keeps_to_its_leader_while_it_reads_of_older_members() {
    let mut cluster = Cluster::prepare(Kind::MemoryPlain, 5).await;
    cluster.found().await;
    cluster.join(1).await;
    cluster.join(2).await;
    cluster.members[2].kill().await;
    // A membership that it reads of first, and behind it more than one append request carries.
    cluster.join(3).await;
    for at in 0..600 {
        cluster.members[0]
            .put("x", &[u8::try_from(at % 200).unwrap()])
            .await
            .unwrap();
    }
    cluster.join(4).await;
    let to = Some(cluster.members[4].id);
    cluster.members[0]
        .replica()
        .change(Change::Transfer { to })
        .await
        .unwrap();
    cluster.members[4]
        .wait("leading", |status| status.is_leader)
        .await;
    cluster.members[2].start().await;
    cluster.members[2]
        .wait("caught up", |status| {
            status.leader == to && status.members.len() == 5
        })
        .await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_keeps_to_its_leader_while_it_reads_of_older_members() {
    let mut cluster = Cluster::prepare(Kind::MemoryPlain, 3).await;
    cluster.found().await;
    // More than one append request carries, so that the first ends before the leader had joined.
    for at in 0..600 {
        cluster.members[0]
            .put("x", &[u8::try_from(at % 200).unwrap()])
            .await
            .unwrap();
    }
    cluster.join(1).await;
    let to = Some(2);
    cluster.members[0]
        .replica()
        .change(Change::Transfer { to })
        .await
        .unwrap();
    cluster.members[1]
        .wait("leading", |status| status.is_leader)
        .await;
    let leader = (2, cluster.members[1].record.clone());
    cluster.members[2].set_contacts(vec![leader]);
    cluster.join(2).await;
    cluster.members[2].put("y", b"1").await.unwrap();
    cluster.agree().await;
}
