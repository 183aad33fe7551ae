//! Starts, kills and restarts members on loopback addresses and waits for conditions.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conclave_raft::log::{LogBackend, MemoryLog};
use conclave_raft::net::{NodeKey, PlainTransport, TlsTransport, Transport};
use conclave_raft::node::{Clock, Config, Parts, RaftReplica, SnapshotPolicy, SystemClock, Threads, Timings};
use conclave_raft::state::{MemoryStore, Store, digest, registered_node};
use conclave_raft::{
    Change, Command, Error, Expect, NodeRecord, Op, Outcome, PeerCall, PeerHandler, Replica, Status,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpSocket;

use crate::cable::Cable;

static STARTS: AtomicU64 = AtomicU64::new(1);

pub const LIMIT: Duration = Duration::from_secs(30);

/// Where nodes keep things and how they talk.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    MemoryPlain,
    #[cfg(feature = "rocksdb")]
    RocksTls,
}

#[derive(Default)]
pub struct Echo {
    pub unwilling: AtomicBool,
    /// How often it is still willing to lead, when above zero.
    pub answers: AtomicU64,
}

impl PeerHandler for Echo {
    fn handle(&self, from: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            Ok(Bytes::from(format!(
                "{from}:{}:{}",
                call.kind,
                call.payload.len()
            )))
        })
    }
    fn willing_to_lead(&self) -> bool {
        match self.answers.load(Ordering::SeqCst) {
            0 => {}
            1 => {
                self.answers.store(0, Ordering::SeqCst);
                self.unwilling.store(true, Ordering::SeqCst);
                return true;
            }
            left => self.answers.store(left - 1, Ordering::SeqCst),
        }
        !self.unwilling.load(Ordering::SeqCst)
    }
}

pub struct Member {
    pub id: u64,
    pub record: NodeRecord,
    pub handler: Arc<Echo>,
    pub fatal: Arc<Mutex<Vec<String>>>,
    pub policy: SnapshotPolicy,
    pub clock: Arc<dyn Clock>,
    kind: Kind,
    dir: PathBuf,
    key: String,
    address: SocketAddr,
    _place: TcpSocket,
    contacts: Vec<(u64, NodeRecord)>,
    stores: Option<(Arc<dyn LogBackend>, Arc<dyn Store>)>,
    replica: Option<RaftReplica>,
    cable: Option<Arc<Cable>>,
}

pub struct Cluster {
    _dir: tempfile::TempDir,
    pub members: Vec<Member>,
}

impl Member {
    pub fn replica(&self) -> &RaftReplica {
        self.replica.as_ref().expect("the member runs")
    }

    pub fn cable(&self) -> &Cable {
        self.cable.as_ref().expect("a member on a plain transport")
    }

    async fn stores(&mut self) -> (Arc<dyn LogBackend>, Arc<dyn Store>) {
        if let (Some(stores), Kind::MemoryPlain) = (&self.stores, self.kind) {
            return stores.clone();
        }
        let stores = match self.kind {
            Kind::MemoryPlain => (
                Arc::new(MemoryLog::default()) as Arc<dyn LogBackend>,
                Arc::new(MemoryStore::new()) as Arc<dyn Store>,
            ),
            #[cfg(feature = "rocksdb")]
            Kind::RocksTls => {
                use conclave_raft::log::RocksLog;
                use conclave_raft::state::RocksStore;
                let log = closed_then(|| RocksLog::open(&self.dir.join("log"))).await;
                let state = closed_then(|| RocksStore::open(&self.dir.join("state"))).await;
                (
                    Arc::new(log) as Arc<dyn LogBackend>,
                    Arc::new(state) as Arc<dyn Store>,
                )
            }
        };
        self.stores = Some(stores.clone());
        stores
    }

    async fn transport(&mut self) -> Arc<dyn Transport> {
        match self.kind {
            Kind::MemoryPlain => {
                let cable = Arc::new(Cable::new(PlainTransport::bind(self.address).await.unwrap()));
                self.cable = Some(Arc::clone(&cable));
                cable
            }
            #[cfg(feature = "rocksdb")]
            Kind::RocksTls => {
                let key = NodeKey::from_pem(&self.key).unwrap();
                Arc::new(TlsTransport::bind(self.address, key).await.unwrap())
            }
        }
    }

    pub async fn start(&mut self) {
        self.try_start().await.unwrap();
    }

    pub async fn try_start(&mut self) -> Result<(), Error> {
        let (log, state) = self.stores().await;
        let transport = self.transport().await;
        let fatal = Arc::clone(&self.fatal);
        let parts = Parts {
            log,
            state,
            transport,
            clock: Arc::clone(&self.clock),
            handler: Arc::clone(&self.handler) as Arc<dyn PeerHandler>,
            fatal: Arc::new(move |reason: &str| fatal.lock().push(reason.to_owned())),
            offload: Arc::new(Threads),
        };
        let config = Config {
            cluster_id: [9; 16],
            node_id: self.id,
            data_dir: self.dir.clone(),
            instance: self.instance(),
            contacts: self.contacts.clone(),
            timings: Timings::default(),
            snapshots: self.policy,
        };
        self.replica = Some(RaftReplica::start(config, parts).await?);
        Ok(())
    }

    pub fn set_contacts(&mut self, contacts: Vec<(u64, NodeRecord)>) {
        self.contacts = contacts;
    }

    /// Takes another address.
    pub fn move_away(&mut self) {
        (self.address, self._place) = free_place();
        self.record.cluster_addr = self.address.to_string();
    }

    /// The key by which the others know this member.
    pub fn node_key(&self) -> NodeKey {
        NodeKey::from_pem(&self.key).unwrap()
    }

    /// Another one for each start.
    fn instance(&self) -> [u8; 16] {
        let start = STARTS.fetch_add(1, Ordering::SeqCst);
        (u128::from(self.id) << 64 | u128::from(start)).to_be_bytes()
    }

    /// Uses this log and a fresh state in memory.
    pub fn use_log(&mut self, log: Arc<dyn LogBackend>) {
        self.stores = Some((log, Arc::new(MemoryStore::new())));
    }

    /// Starts under another id on an empty disk, with this member's own key.
    pub async fn pretend(&mut self, id: u64, record: NodeRecord) {
        self.id = id;
        self.record = record;
        self.dir = self.dir.with_extension("pretended");
        self.start().await;
    }

    pub fn copy_disk(&self) -> PathBuf {
        let copy = self.dir.with_extension("copy");
        copy_folder(&self.dir, &copy);
        copy
    }

    pub fn restore_disk(&self, copy: &Path) {
        std::fs::remove_dir_all(&self.dir).unwrap();
        copy_folder(copy, &self.dir);
    }

    /// Waits until the cluster knows of this start of the member.
    pub async fn wait_registered(&self, incarnation: u64) {
        let id = self.id;
        let mut status = self.replica().status();
        let known = || {
            let view = self.replica().view().unwrap();
            registered_node(&view, id)
                .unwrap()
                .is_some_and(|node| node.incarnation == incarnation)
        };
        while !known() {
            tokio::time::timeout(LIMIT, status.changed())
                .await
                .expect("registered")
                .unwrap();
        }
    }

    /// Ends the member as a crash would, and waits until nothing holds its stores.
    pub async fn kill(&mut self) {
        self.replica.take().expect("the member runs").abort().await;
        self.let_go().await;
    }

    pub async fn shutdown(&mut self) {
        self.replica.take().expect("the member runs").shutdown().await;
        self.let_go().await;
    }

    async fn let_go(&mut self) {
        if self.kind == Kind::MemoryPlain {
            return;
        }
        let (log, state) = self.stores.take().unwrap();
        let (log, state) = (weak(log), weak(state));
        eventually("the stores are let go", || {
            log.strong_count() == 0 && state.strong_count() == 0
        })
        .await;
    }

    pub async fn wait(&self, what: &str, met: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.replica().status();
        let found = tokio::time::timeout(LIMIT, status.wait_for(met)).await;
        match found {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!(
                "node {}: not {what}: {:?}",
                self.id,
                self.replica().status().borrow()
            ),
        }
    }

    pub async fn put(&self, key: &str, value: &[u8]) -> Result<Outcome, Error> {
        self.replica()
            .propose(self.command(vec![put(key, value)], vec![]))
            .await
    }

    /// Puts again as long as the time the member knows is not the cluster's.
    pub async fn put_in_time(&self, key: &str) {
        let mut outcome = self.put(key, b"1").await.unwrap();
        while matches!(outcome, Outcome::StaleClock { .. }) {
            outcome = self.put(key, b"1").await.unwrap();
        }
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }

    pub fn command(&self, ops: Vec<Op>, expect: Vec<Expect>) -> Command {
        Command {
            origin: self.replica().next_origin(),
            oldest_term: 0,
            now_used: self.replica().now(),
            expect,
            ops,
        }
    }

    /// The value at `key` as of now.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        let view = self.replica().read().await.unwrap();
        view.row(&name(key)).unwrap().map(|row| row.value)
    }
}

/// Opens a database whose last handle may be closing on another thread.
#[cfg(feature = "rocksdb")]
async fn closed_then<T>(open: impl Fn() -> Result<T, Error>) -> T {
    let mut opened = None;
    eventually("the database is closed", || {
        match open() {
            Ok(found) => opened = Some(found),
            Err(Error::Storage(detail)) if detail.contains("lock hold") => {}
            Err(other) => panic!("{other}"),
        }
        opened.is_some()
    })
    .await;
    opened.unwrap()
}

fn weak<T: ?Sized>(shared: Arc<T>) -> std::sync::Weak<T> {
    Arc::downgrade(&shared)
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for found in std::fs::read_dir(from).unwrap() {
        let path = found.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}

pub async fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !met() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        // why: the condition is read from several members; there is no one channel to wait on.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A row key in a table that belongs to nobody.
pub fn name(key: &str) -> Bytes {
    Bytes::from([&[1, 0x70, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], key.as_bytes()].concat())
}

pub fn put(key: &str, value: &[u8]) -> Op {
    Op::Put {
        key: name(key),
        kind: 1,
        term: 0,
        deadline: 0,
        new_generation: false,
        value: Bytes::copy_from_slice(value),
    }
}

impl Cluster {
    /// Prepares `size` members with addresses of their own; none runs yet.
    pub async fn prepare(kind: Kind, size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut members = Vec::new();
        for id in 1..=size {
            let key = NodeKey::generate().unwrap();
            let pem = key.to_pem().unwrap().to_string();
            let (address, place) = free_place();
            let record = NodeRecord {
                key_hash: key.key_hash(),
                name: format!("node-{id}"),
                zone: format!("zone-{id}"),
                cluster_addr: address.to_string(),
                api_addr: String::new(),
            };
            members.push(Member {
                id,
                record,
                handler: Arc::default(),
                fatal: Arc::default(),
                policy: SnapshotPolicy::default(),
                clock: Arc::new(SystemClock),
                kind,
                dir: dir.path().join(id.to_string()),
                key: pem,
                address,
                _place: place,
                contacts: Vec::new(),
                stores: None,
                replica: None,
                cable: None,
            });
        }
        let first = (1, members[0].record.clone());
        for member in &mut members[1..] {
            member.contacts.push(first.clone());
        }
        Self { _dir: dir, members }
    }

    /// Starts the first member as a cluster of one.
    pub async fn found(&mut self) {
        let first = &mut self.members[0];
        first.start().await;
        let record = first.record.clone();
        first.replica().initialize(record).await.unwrap();
        first.wait("leading", |status| status.is_leader).await;
    }

    /// Prepares and starts a cluster in which all members vote.
    pub async fn form(kind: Kind, size: u64) -> Self {
        let mut cluster = Self::prepare(kind, size).await;
        cluster.found().await;
        for at in 1..usize::try_from(size).unwrap() {
            cluster.join(at).await;
        }
        cluster
    }

    /// Registers a member, starts it and makes it a voter.
    pub async fn join(&mut self, at: usize) {
        self.join_as_learner(at).await;
        let id = self.members[at].id;
        let leader = self.leader().await;
        let caught_up = |status: &Status| {
            let member = status.members.iter().find(|member| member.id == id);
            member.is_some_and(|member| member.matched_index == Some(status.last_log_index))
        };
        self.members[leader].wait("caught up", caught_up).await;
        self.members[leader]
            .replica()
            .change(Change::Promote { node: id })
            .await
            .unwrap();
    }

    pub async fn join_as_learner(&mut self, at: usize) {
        let record = self.members[at].record.clone();
        let id = self.members[at].id;
        let leader = self.leader().await;
        let register = self.members[leader].command(vec![Op::RegisterNode { node: record }], vec![]);
        let outcome = self.members[leader].replica().propose(register).await.unwrap();
        assert!(
            matches!(outcome, Outcome::Applied { node, .. } if node == id),
            "{outcome:?}"
        );
        self.members[at].start().await;
        self.members[leader]
            .replica()
            .change(Change::AddLearner { node: id })
            .await
            .unwrap();
    }

    /// Which running member leads.
    pub async fn leader(&self) -> usize {
        let mut found = None;
        eventually("some member leads", || {
            found = self.members.iter().position(|member| {
                member
                    .replica
                    .as_ref()
                    .is_some_and(|replica| replica.status().borrow().is_leader)
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Waits until all running members have applied what the leader has, and compares their states.
    pub async fn agree(&self) {
        let leader = self.leader().await;
        let applied = self.members[leader]
            .wait("applied all", |status| {
                status.applied_index == status.last_log_index
            })
            .await
            .applied_index;
        let running: Vec<&Member> = self
            .members
            .iter()
            .filter(|member| member.replica.is_some())
            .collect();
        for member in &running {
            member
                .wait("as far as the leader", |status| status.applied_index >= applied)
                .await;
        }
        let views: Vec<_> = running
            .iter()
            .map(|member| member.replica().view().unwrap())
            .collect();
        // Some may have moved on meanwhile: those that stand at one revision must be equal.
        let mut by_index = std::collections::BTreeMap::new();
        for (member, view) in running.iter().zip(&views) {
            let found = digest(view).unwrap();
            let first = *by_index.entry(view.applied().index).or_insert(found);
            assert_eq!(found, first, "node {} differs", member.id);
        }
    }
}

/// An address that the system gives to nobody else while the socket lives: bound without listening, which lets a member that
/// asks for this very one have it, however often it starts.
fn free_place() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}
