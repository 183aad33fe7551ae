//! What must not happen: strangers let in, old disks believed, failed disks trusted, clocks obeyed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conclave_raft::log::{Loaded, LogBackend, MemoryLog, Slot};
use conclave_raft::net::{NodeKey, TlsTransport, Transport};
use conclave_raft::node::{Clock, SystemClock, Timings};
use conclave_raft::{Change, Error, NodeRecord, Op, Outcome, PeerCall, Replica};
use futures::StreamExt;

use crate::harness::{Cluster, Kind, eventually};

async fn listening(trusted: &[&NodeKey]) -> (Arc<TlsTransport>, NodeRecord) {
    let key = NodeKey::generate().unwrap();
    let key_hash = key.key_hash();
    let transport = Arc::new(
        TlsTransport::bind("127.0.0.1:0".parse().unwrap(), key)
            .await
            .unwrap(),
    );
    transport.trust(trusted.iter().map(|key| key.key_hash()).collect::<HashSet<_>>());
    let record = NodeRecord {
        key_hash,
        cluster_addr: transport.local_addr().to_string(),
        ..NodeRecord::default()
    };
    (transport, record)
}

async fn dialing(key: NodeKey) -> TlsTransport {
    TlsTransport::bind("127.0.0.1:0".parse().unwrap(), key)
        .await
        .unwrap()
}

#[tokio::test]
async fn only_recorded_keys_get_a_stream() {
    let friend = NodeKey::generate().unwrap();
    let friend_hash = friend.key_hash();
    let (server, record) = listening(&[&friend]).await;
    let mut incoming = server.listen().unwrap();
    let friend = dialing(friend).await;
    let stream = friend.connect(&record).await.unwrap();
    incoming.next().await.unwrap().unwrap();
    drop(stream);

    // The server is not who the record says.
    let other = NodeRecord {
        key_hash: [1; 32],
        ..record.clone()
    };
    assert!(friend.connect(&other).await.is_err());

    // A stranger shakes hands in vain: with TLS 1.3 it learns so at its first read.
    let stranger = dialing(NodeKey::generate().unwrap()).await;
    if let Ok(mut stream) = stranger.connect(&record).await {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte).await;
        assert!(!matches!(read, Ok(1)));
    }

    // A key that is no longer recorded is a stranger's.
    assert_ne!(friend_hash, [0; 32]);
    server.trust(HashSet::new());
    if let Ok(mut stream) = friend.connect(&record).await {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte).await;
        assert!(!matches!(read, Ok(1)));
    }
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn a_member_cannot_speak_as_another() {
    let mut cluster = Cluster::form(Kind::RocksTls, 2).await;
    // The second member comes back under the third one's id, with its own key and so without that id's.
    cluster.members[1].kill().await;
    let stolen = cluster.members[1].record.clone();
    cluster.members[1].pretend(7, stolen).await;
    let call = PeerCall {
        kind: 1,
        payload: Bytes::new(),
    };
    let refused = cluster.members[1].replica().call_peer(1, call).await;
    let Err(Error::Peer { detail, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(detail.contains("not a member"), "{detail}");
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_set_back_is_noticed() {
    let mut cluster = Cluster::form(Kind::RocksTls, 3).await;
    let at = (cluster.leader().await + 1) % 3;
    cluster.members[at].kill().await;
    let copy = cluster.members[at].copy_disk();
    for _ in 0..2 {
        cluster.members[at].start().await;
        let incarnation = cluster.members[at].replica().incarnation();
        cluster.members[at].wait_registered(incarnation).await;
        cluster.members[at].kill().await;
    }
    cluster.members[at].restore_disk(&copy);
    cluster.members[at].start().await;
    let fatal = Arc::clone(&cluster.members[at].fatal);
    eventually("the node stops", || {
        fatal
            .lock()
            .iter()
            .any(|reason| reason.contains("rejoin under a new id"))
    })
    .await;
}

/// Bytes of the pieces in which a whole log is looked at.
const PIECE: usize = 256 << 10;

/// A log whose disk fails when told to, and is slow.
#[derive(Default)]
struct Failing {
    log: MemoryLog,
    fails: AtomicBool,
    /// While it is locked, nobody looks at the whole log.
    slow: tokio::sync::Mutex<()>,
    /// Votes that were saved, and reads that were not of the whole log.
    votes: AtomicU64,
    reads: AtomicU64,
    /// An entry that is damaged.
    damaged: AtomicU64,
}

impl Failing {
    fn damage(&self, mut read: Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
        let damaged = self.damaged.load(Ordering::SeqCst);
        for (_, bytes) in read
            .iter_mut()
            .filter(|(index, _)| damaged > 0 && *index == damaged)
        {
            *bytes = bytes.slice(..bytes.len() - 1);
        }
        read
    }
}

impl LogBackend for Failing {
    fn load(&self) -> Result<Loaded, Error> {
        self.log.load()
    }
    fn append(&self, entries: &[(u64, Bytes)]) -> Result<(), Error> {
        self.log.append(entries)
    }
    fn truncate(&self, from: u64) -> Result<(), Error> {
        self.log.truncate(from)
    }
    fn purge(&self, through: u64, purged: &Bytes) -> Result<(), Error> {
        self.log.purge(through, purged)
    }
    fn save(&self, slot: Slot, value: &Bytes) -> Result<(), Error> {
        if slot == Slot::Vote {
            self.votes.fetch_add(1, Ordering::SeqCst);
        }
        self.log.save(slot, value)
    }
    fn read(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        match bytes {
            PIECE => drop(self.slow.blocking_lock()),
            _ => drop(self.reads.fetch_add(1, Ordering::SeqCst)),
        }
        Ok(self.damage(self.log.read(from, to, bytes)?))
    }
    fn sync(&self) -> Result<(), Error> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(Error::Storage("EIO".to_owned())),
            false => Ok(()),
        }
    }
    fn volatile(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_node_and_acknowledges_nothing() {
    let mut cluster = Cluster::prepare(Kind::MemoryPlain, 1).await;
    let log = Arc::new(Failing::default());
    cluster.members[0].use_log(Arc::clone(&log) as Arc<dyn LogBackend>);
    cluster.found().await;
    let member = &cluster.members[0];
    member.put("a", b"1").await.unwrap();
    log.fails.store(true, Ordering::SeqCst);
    let (lost, ()) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(2), member.put("b", b"1")),
        eventually("the node is told to stop", || !member.fatal.lock().is_empty()),
    );
    assert!(!matches!(lost, Ok(Ok(_))), "{lost:?}");
    assert!(member.fatal.lock().iter().any(|reason| reason.contains("EIO")));
}

/// A member of one, with a few entries in its log, that does not run any more.
async fn ended() -> (Cluster, Arc<Failing>) {
    let mut cluster = Cluster::prepare(Kind::MemoryPlain, 1).await;
    let log = Arc::new(Failing::default());
    cluster.members[0].use_log(Arc::clone(&log) as Arc<dyn LogBackend>);
    cluster.found().await;
    for key in ["a", "b", "c"] {
        cluster.members[0].put(key, b"1").await.unwrap();
    }
    cluster.members[0].kill().await;
    (cluster, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_beside_the_core_and_nobody_is_voted_for_before_its_end() {
    let (mut cluster, log) = ended().await;
    let (votes, reads) = (log.votes.load(Ordering::SeqCst), log.reads.load(Ordering::SeqCst));
    let slow = log.slow.lock().await;
    let starting = tokio::spawn(async move {
        cluster.members[0].start().await;
        cluster
    });
    // The last entry is read when the log is opened, what follows by the core.
    eventually("the core begins", || log.reads.load(Ordering::SeqCst) > reads + 1).await;
    // why: nothing tells that a core does not stand for election. One that is alone would at its first tick.
    tokio::time::sleep(Timings::default().election_min).await;
    assert_eq!(log.votes.load(Ordering::SeqCst), votes);
    assert!(
        !starting.is_finished(),
        "the node runs although its log is not read"
    );
    drop(slow);
    let cluster = starting.await.unwrap();
    cluster.members[0].put("d", b"1").await.unwrap();
    assert!(log.votes.load(Ordering::SeqCst) > votes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_anywhere_in_the_log_keeps_the_node_from_starting() {
    let (mut cluster, log) = ended().await;
    let member = &mut cluster.members[0];
    let votes = log.votes.load(Ordering::SeqCst);
    let last = log.load().unwrap().last.unwrap();
    for damaged in 1..=last {
        log.damaged.store(damaged, Ordering::SeqCst);
        let refused = member.try_start().await;
        assert!(
            matches!(refused, Err(Error::Corrupt { .. })),
            "{damaged}: {refused:?}"
        );
        // Its place is held until everything of that start has ended.
        member.move_away();
    }
    assert_eq!(log.votes.load(Ordering::SeqCst), votes);
    assert_eq!(*member.fatal.lock(), [""; 0]);
    log.damaged.store(0, Ordering::SeqCst);
    member.start().await;
    member.put("d", b"1").await.unwrap();
}

/// The machine's clocks with the wall clock set forward.
struct Ahead {
    by: AtomicU64,
}

impl Clock for Ahead {
    fn wall(&self) -> u64 {
        SystemClock.wall() + self.by.load(Ordering::SeqCst)
    }
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_dark_period_the_clock_moves_on_by_agreement() {
    let hours = 3 * 3_600_000;
    let mut cluster = Cluster::form(Kind::MemoryPlain, 3).await;
    cluster.members[0].put("a", b"1").await.unwrap();
    for member in &mut cluster.members {
        member.kill().await;
    }
    for member in &mut cluster.members {
        member.clock = Arc::new(Ahead {
            by: AtomicU64::new(hours),
        });
        member.start().await;
    }
    let leader = cluster.leader().await;
    let member = &cluster.members[leader];
    member.put_in_time("b").await;
    let time = member.replica().view().unwrap().applied().cluster_time;
    assert!(time.abs_diff(SystemClock.wall() + hours) < 60_000, "{time}");
    for member in &cluster.members {
        let read = member.replica().read().await;
        assert!(read.is_ok());
        assert!(
            member.replica().now().abs_diff(time) < 60_000,
            "node {}",
            member.id
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_wrong_clock_does_not_stay_one() {
    let mut cluster = Cluster::form(Kind::MemoryPlain, 3).await;
    let leader = cluster.leader().await;
    let wrong = (leader + 1) % 3;
    cluster.members[wrong].kill().await;
    cluster.members[wrong].clock = Arc::new(Ahead {
        by: AtomicU64::new(24 * 3_600_000),
    });
    cluster.members[wrong].start().await;
    let id = cluster.members[wrong].id;
    cluster.members[wrong]
        .wait("in touch", |status| status.leader.is_some())
        .await;
    let moved = cluster.members[leader]
        .replica()
        .change(Change::Transfer { to: Some(id) })
        .await;
    assert!(moved.is_ok(), "{moved:?}");
    cluster.members[leader]
        .wait("led by another", |status| {
            status.leader.is_some_and(|leader| leader != id)
        })
        .await;
    cluster.members[leader].put_in_time("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_hangs_is_ended() {
    let cluster = Cluster::form(Kind::MemoryPlain, 3).await;
    let leader = cluster.leader().await;
    let target = (leader + 1) % 3;
    // Willing when asked, unwilling when it matters.
    cluster.members[target].handler.answers.store(1, Ordering::SeqCst);
    // Nobody else uses the chance to stand for election.
    for at in [1, 2] {
        cluster.members[(leader + at) % 3].replica().elect(false);
    }
    let to = Some(cluster.members[target].id);
    let refused = cluster.members[leader]
        .replica()
        .change(Change::Transfer { to })
        .await;
    assert!(matches!(refused, Err(Error::Membership(_))), "{refused:?}");
    for member in &cluster.members {
        member.put("after", b"1").await.unwrap();
    }
    cluster.agree().await;
    for member in &cluster.members {
        assert_eq!(*member.fatal.lock(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_node_is_not_registered_again() {
    let mut cluster = Cluster::form(Kind::MemoryPlain, 2).await;
    let record = cluster.members[1].record.clone();
    let leader = cluster.leader().await;
    cluster.members[leader]
        .replica()
        .change(Change::Demote { node: 2 })
        .await
        .unwrap();
    cluster.members[leader]
        .replica()
        .change(Change::Remove { node: 2 })
        .await
        .unwrap();
    let forget = cluster.members[0].command(vec![Op::ForgetNode { node: 2 }], vec![]);
    cluster.members[0].replica().propose(forget).await.unwrap();
    let again = cluster.members[0].command(vec![Op::RegisterNode { node: record }], vec![]);
    let outcome = cluster.members[0].replica().propose(again).await.unwrap();
    assert!(matches!(outcome, Outcome::Denied { .. }), "{outcome:?}");
    let added = cluster.members[0]
        .replica()
        .change(Change::AddLearner { node: 2 })
        .await;
    assert!(matches!(added, Err(Error::Membership(_))), "{added:?}");
    cluster.members[1].kill().await;
}
