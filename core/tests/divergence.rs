//! Three members with states of their own: one whose row rots is found, named, and stops serving, whoever compares and
//! whoever leads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use conclave_core::{Body, Core, Error, Launcher, Membership, Outcome, PeerUnseal, Request, Settings, Verb};
use conclave_raft::local::{LocalReplica, ManualClock};
use conclave_raft::net::{NodeKey, NodeSignature};
use conclave_raft::state::{MemoryStore, Store, WriteSet};
use conclave_raft::{
    Change, Command, Error as RaftError, Key, Member, Millis, NodeRecord, Op, Origin, PeerCall, PeerHandler,
    Replica, Row, Status, View,
};

const START: Millis = 1_767_225_600_000;
const HOUR: Millis = 3_600_000;
/// Longer than anything takes; the clock is a paused one.
const SOON: Duration = Duration::from_secs(120);

/// Three states that every command is applied to, and the wire between them.
struct Log {
    locals: Vec<LocalReplica>,
    stores: Vec<Arc<MemoryStore>>,
    clock: Arc<ManualClock>,
    order: tokio::sync::Mutex<()>,
    handlers: Mutex<BTreeMap<u64, Arc<dyn PeerHandler>>>,
}

impl Log {
    async fn propose(&self, command: Command) -> Result<conclave_raft::Outcome, RaftError> {
        let _turn = self.order.lock().await;
        let mut outcome = Err(RaftError::NoLeader);
        for local in &self.locals {
            outcome = local.propose(command.clone()).await;
        }
        outcome
    }
}

struct Member3 {
    at: usize,
    log: Arc<Log>,
    key: NodeKey,
    marked: AtomicBool,
    status: watch::Sender<Status>,
}

impl Member3 {
    fn local(&self) -> &LocalReplica {
        &self.log.locals[self.at]
    }
}

impl Replica for Member3 {
    fn node_id(&self) -> u64 {
        self.at as u64 + 1
    }
    fn next_origin(&self) -> Origin {
        Origin {
            node: self.node_id(),
            ..self.local().next_origin()
        }
    }
    fn view(&self) -> Result<Arc<View>, RaftError> {
        self.local().view()
    }
    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, RaftError>> {
        self.local().read()
    }
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<conclave_raft::Outcome, RaftError>> {
        self.log.propose(command).boxed()
    }
    fn now(&self) -> Millis {
        self.local().now()
    }
    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
    fn call_peer(&self, node: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, RaftError>> {
        let handler = self.log.handlers.lock().get(&node).cloned();
        let from = self.node_id();
        async move {
            let lost = || RaftError::Peer {
                node,
                detail: "it is down".to_owned(),
            };
            handler.ok_or_else(lost)?.handle(from, call).await
        }
        .boxed()
    }
    fn change(&self, _: Change) -> BoxFuture<'_, Result<(), RaftError>> {
        async { Err(RaftError::NoLeader) }.boxed()
    }
    fn mark(&self, origin: Origin) -> Result<(), RaftError> {
        self.local().mark(origin)
    }
    fn marked(&self, origin: Origin) -> Result<Option<Arc<View>>, RaftError> {
        self.local().marked(origin)
    }
    fn forget_mark(&self, origin: Origin) {
        self.local().forget_mark(origin);
    }
}

struct Start(Arc<Member3>);

impl Start {
    fn begin(&self, handler: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.0.log.handlers.lock().insert(self.0.node_id(), handler);
        async { Ok(self.0.clone() as Arc<dyn Replica>) }.boxed()
    }
}

impl Launcher for Start {
    fn record(&self) -> NodeRecord {
        record(self.0.node_id(), &self.0.key)
    }
    fn sign(&self, message: &[u8]) -> Result<NodeSignature, Error> {
        Ok(self.0.key.sign(message)?)
    }
    fn seal_mark(&self) -> Result<bool, Error> {
        Ok(self.0.marked.load(Ordering::SeqCst))
    }
    fn set_seal_mark(&self, sealed: bool) -> Result<(), Error> {
        self.0.marked.store(sealed, Ordering::SeqCst);
        Ok(())
    }
    fn membership(&self) -> Result<Option<Membership>, Error> {
        Ok(Some(Membership {
            node_id: self.0.node_id(),
            cluster_id: [7; 16],
            members: Vec::new(),
        }))
    }
    fn found(
        &self,
        _: [u8; 16],
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.begin(handler)
    }
    fn resume(
        &self,
        _: Membership,
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.begin(handler)
    }
    fn join(
        &self,
        _: Membership,
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.begin(handler)
    }
    fn ask(
        &self,
        _: &Map<String, Value>,
        _: &str,
        _: Map<String, Value>,
    ) -> BoxFuture<'_, Result<Map<String, Value>, Error>> {
        async { Err(Error::Unsupported("asking".into())) }.boxed()
    }
    fn scratch(&self) -> std::path::PathBuf {
        std::env::temp_dir()
    }
}

fn record(id: u64, key: &NodeKey) -> NodeRecord {
    NodeRecord {
        key_hash: key.key_hash(),
        name: format!("n{id}"),
        ..NodeRecord::default()
    }
}

struct Trio {
    log: Arc<Log>,
    cores: Vec<Arc<Core>>,
    registries: Vec<prometheus::Registry>,
    root: String,
    shares: Vec<String>,
}

impl Trio {
    /// Three members of which the first leads; all are open. Members do not open each other: who is sealed stays so.
    async fn open() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let stores: Vec<_> = (0..3).map(|_| Arc::new(MemoryStore::new())).collect();
        let locals = stores
            .iter()
            .map(|store| LocalReplica::open(store.clone(), clock.clone()).unwrap());
        let log = Arc::new(Log {
            locals: locals.collect(),
            stores: stores.clone(),
            clock,
            order: tokio::sync::Mutex::default(),
            handlers: Mutex::default(),
        });
        let keys: Vec<NodeKey> = (0..3).map(|_| NodeKey::generate().unwrap()).collect();
        let members: Vec<Member> = (1..).zip(&keys).map(|(id, key)| member(id, key)).collect();
        for member in &members {
            let node = member.record.clone();
            commit(&log, Op::RegisterNode { node }).await;
            let incarnation = Op::BeginIncarnation {
                node: member.id,
                incarnation: 1,
                instance: [1; 16],
                last_log_index: 0,
            };
            commit(&log, incarnation).await;
        }
        let mut trio = Self {
            log,
            cores: Vec::new(),
            registries: Vec::new(),
            root: String::new(),
            shares: Vec::new(),
        };
        for (at, key) in keys.into_iter().enumerate() {
            trio.start(at, key, &members);
            if at == 0 {
                trio.cores[0].resume().await.unwrap();
                trio.found().await;
            } else {
                trio.cores[at].resume().await.unwrap();
            }
        }
        for at in 0..3 {
            trio.unseal(at).await;
        }
        trio
    }

    fn start(&mut self, at: usize, key: NodeKey, members: &[Member]) {
        let status = Status {
            leader: Some(1),
            is_leader: at == 0,
            members: members.to_vec(),
            ..Status::default()
        };
        let member = Arc::new(Member3 {
            at,
            log: self.log.clone(),
            key,
            marked: AtomicBool::new(false),
            status: watch::channel(status).0,
        });
        let settings = Settings {
            peer_unseal: PeerUnseal::Off,
            unauthenticated_rekey: true,
            ..Settings::default()
        };
        let registry = prometheus::Registry::new();
        let engines = conclave_engines::secret_engines();
        let core = Core::new(settings, engines, Arc::new(Start(member)), &registry);
        self.cores.push(core.unwrap());
        self.registries.push(registry);
    }

    async fn found(&mut self) {
        let wish = json!({"secret_shares": 1, "secret_threshold": 1});
        let born = self.ask(0, Verb::Write, "sys/init", wish).await.unwrap();
        self.root = born["root_token"].as_str().unwrap().to_owned();
        self.shares.push(born["keys"][0].as_str().unwrap().to_owned());
    }

    async fn unseal(&self, at: usize) {
        let share = json!({"key": self.shares[0]});
        let status = self.ask(at, Verb::Write, "sys/unseal", share).await.unwrap();
        assert_eq!(status["sealed"], false, "node {at}");
    }

    async fn ask(&self, at: usize, verb: Verb, path: &str, data: Value) -> Result<Value, Error> {
        let mut request = Request::new(verb, path);
        request.token = Some(self.root.clone().into()).filter(|_| !self.root.is_empty());
        request.data = data.as_object().cloned().unwrap_or_default();
        let response = self.cores[at].handle(request).await?;
        Ok(match response.body {
            Body::Envelope(envelope) => Value::Object(envelope.data.unwrap_or_default()),
            Body::Plain(plain) => Value::Object(plain),
            Body::Health(health) => Value::Object(health.object),
            _ => Value::Null,
        })
    }

    async fn policies(&self, at: usize) -> Result<Value, Error> {
        self.ask(at, Verb::Read, "sys/policy", json!({})).await
    }

    /// Changes one byte of one row on one disk; gives the row as it was.
    fn rot(&self, at: usize) -> (Key, Row) {
        let view = self.log.locals[at].view().unwrap();
        let mut last = None;
        view.rows()
            .scan(&[], None, &mut |key, row| {
                // A sealed row, in the middle of the state.
                if row.term > 0 {
                    last = Some((Key::copy_from_slice(key), row));
                }
                Ok(true)
            })
            .unwrap();
        let (key, row) = last.expect("a sealed row");
        let mut value = row.value.to_vec();
        *value.last_mut().unwrap() ^= 1;
        self.write(
            at,
            &key,
            Row {
                value: value.into(),
                ..row.clone()
            },
        );
        (key, row)
    }

    fn write(&self, at: usize, key: &Key, row: Row) {
        let (applied, membership) = self.log.stores[at].applied().unwrap();
        let set = WriteSet {
            rows: vec![(key.clone(), Some(row))],
            applied,
            membership,
            ..WriteSet::default()
        };
        self.log.stores[at].write(set).unwrap();
    }

    async fn metric(&self, at: usize, name: &str) -> f64 {
        let families = self.registries[at].gather();
        let family = families.iter().find(|family| family.name() == name).expect(name);
        family.get_metric()[0].get_gauge().get_value()
    }
}

fn member(id: u64, key: &NodeKey) -> Member {
    Member {
        id,
        record: record(id, key),
        voter: true,
        matched_index: None,
        last_contact_ms: None,
    }
}

async fn commit(log: &Log, op: Op) {
    let command = Command {
        origin: log.locals[0].next_origin(),
        oldest_term: 0,
        now_used: log.locals[0].now(),
        expect: Vec::new(),
        ops: vec![op],
    };
    log.propose(command).await.unwrap();
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let tried = tokio::time::timeout(SOON, async {
        while !holds().await {
            // why: the clock is a paused one, which this moves on.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    tried.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_row_rots_is_named_and_serves_no_more_until_it_is_equal_again() {
    let trio = Trio::open().await;
    let equal = trio.cores[1].compare_states().await.unwrap();
    assert_eq!((equal.outcome, equal.differ.len()), (Outcome::Equal, 0));
    assert!(equal.members.iter().all(|(_, told)| told.is_ok()));

    let (key, row) = trio.rot(2);
    let found = trio
        .ask(1, Verb::Write, "sys/storage/raft/compare", json!({}))
        .await;
    let found = found.unwrap();
    assert_eq!(found["decided"], true);
    let differs: Vec<_> = (0..3).map(|at| found["members"][at]["differs"].clone()).collect();
    assert_eq!(differs, [json!(false), json!(false), json!(true)], "{found}");

    // It finds out by itself, through the log.
    let _jobs: Vec<_> = trio.cores.iter().map(|core| core.start_jobs()).collect();
    until("the node that differs is sealed", async || {
        trio.policies(2).await.is_err()
    })
    .await;
    for at in 0..3 {
        let health = trio.ask(at, Verb::Read, "sys/health", json!({})).await.unwrap();
        assert_eq!(health["diverged_nodes"], json!(["n3"]), "node {at}");
        assert_eq!(health["sealed"], at == 2);
        assert_eq!(
            trio.metric(at, "conclave_state_diverged").await,
            f64::from(u8::from(at == 2))
        );
    }
    assert!(trio.cores[2].readiness().unwrap_err().contains("differs"));
    trio.policies(0).await.unwrap();
    let status = trio.ask(0, Verb::Read, "sys/ha-status", json!({})).await.unwrap();
    let marked: Vec<_> = (0..3).map(|at| status["nodes"][at]["diverged"].clone()).collect();
    assert_eq!(marked, [Value::Null, Value::Null, json!(true)]);

    // Shares open it, and yet it does not serve what it holds.
    let share = json!({"key": trio.shares[0]});
    trio.ask(2, Verb::Write, "sys/unseal", share).await.unwrap();
    // Nor does it take part in ceremonies, or tell anybody of mounts.
    for path in ["sys/rekey/init", "sys/internal/ui/mounts"] {
        let answer = trio.cores[2].handle(Request::new(Verb::Read, path)).await;
        assert!(
            matches!(answer, Err(Error::Overloaded(_))),
            "{path}: {:?}",
            answer.err()
        );
        trio.cores[1]
            .handle(Request::new(Verb::Read, path))
            .await
            .unwrap();
    }
    // Nor does it let another node in.
    let asks = json!({"name": "n4", "cluster_addr": "h:1", "key_hash": "00".repeat(32)});
    for path in [
        "sys/storage/raft/bootstrap/challenge",
        "sys/storage/raft/bootstrap/admit",
    ] {
        let answer = trio.ask(2, Verb::Write, path, asks.clone()).await;
        assert!(matches!(answer, Err(Error::Overloaded(_))), "{path}: {answer:?}");
    }
    assert!(trio.policies(2).await.is_err());
    until("it is sealed again", async || {
        let health = trio.ask(2, Verb::Read, "sys/health", json!({})).await.unwrap();
        health["sealed"] == true
    })
    .await;

    trio.write(2, &key, row);
    let healed = trio.cores[0].compare_states().await.unwrap();
    assert_eq!(healed.outcome, Outcome::Equal);
    until("the verdict is lifted", async || {
        trio.cores[2].readiness().err() == Some("sealed\n")
    })
    .await;
    trio.unseal(2).await;
    trio.policies(2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_leader_compares_hourly_by_itself_and_steps_aside_if_it_is_the_one() {
    let trio = Trio::open().await;
    let _jobs: Vec<_> = trio.cores.iter().map(|core| core.start_jobs()).collect();
    trio.rot(0);
    // why: the clock is a paused one. The leader has looked at it by then, and an hour has not gone by.
    tokio::time::sleep(Duration::from_secs(60)).await;
    trio.policies(0).await.unwrap();
    trio.log.clock.advance(HOUR);
    until("the leader that differs is sealed", async || {
        trio.policies(0).await.is_err()
    })
    .await;
    trio.policies(1).await.unwrap();
    let health = trio.ask(1, Verb::Read, "sys/health", json!({})).await.unwrap();
    assert_eq!(health["diverged_nodes"], json!(["n1"]));
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_nobody_is_condemned() {
    let trio = Trio::open().await;
    trio.rot(1);
    trio.log.handlers.lock().remove(&3);
    let found = trio.cores[0].compare_states().await.unwrap();
    assert_eq!((found.outcome, found.differ.len()), (Outcome::Undecided, 0));
    assert!(found.members[2].1.is_err(), "it is down");
    for at in [0, 1] {
        trio.policies(at).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn stored_tokens_are_counted() {
    let trio = Trio::open().await;
    for _ in 0..3 {
        let made = trio.ask(0, Verb::Write, "auth/token/create", json!({"ttl": "1h"}));
        made.await.unwrap();
    }
    for at in 0..3 {
        trio.cores[at].count_leases().await.unwrap();
        assert_eq!(
            trio.metric(at, "conclave_leases").await,
            4.0,
            "the root token and three"
        );
    }
}
