//! Two members that may open each other, over one state and a wire that can be listened to: who gets the root key, and who
//! does not, whatever is sent again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use conclave_core::audit::Declared;
use conclave_core::{Body, Core, Error, Launcher, Membership, PeerUnseal, Request, Settings, Verb};
use conclave_raft::local::{LocalReplica, ManualClock};
use conclave_raft::net::{NodeKey, NodeSignature};
use conclave_raft::{
    Change, Command, Error as RaftError, Member, Millis, NodeRecord, Op, Origin, Outcome, PeerCall,
    PeerHandler, Replica, Status, View,
};

const SHARE: u16 = 2;
const GREET: u16 = 6;
const OFFER: u16 = 7;
const ASK: u16 = 8;
/// Longer than anything that happens by itself; the clock is a paused one.
const SETTLED: Duration = Duration::from_secs(30);

/// What two members send each other.
#[derive(Default)]
struct Wire {
    handlers: Mutex<BTreeMap<u64, Arc<dyn PeerHandler>>>,
    /// Messages of these kinds are lost.
    lost: Mutex<Vec<u16>>,
    /// Everything that was sent, lost or not: receiver, kind, payload.
    heard: Mutex<Vec<(u64, u16, Bytes)>>,
}

impl Wire {
    async fn carry(&self, from: u64, to: u64, call: PeerCall) -> Result<Bytes, RaftError> {
        self.heard.lock().push((to, call.kind, call.payload.clone()));
        let handler = self.handlers.lock().get(&to).cloned();
        let lost = self.lost.lock().contains(&call.kind);
        match handler.filter(|_| !lost) {
            Some(handler) => handler.handle(from, call).await,
            None => Err(RaftError::Peer {
                node: to,
                detail: "lost".to_owned(),
            }),
        }
    }

    fn last(&self, kind: u16) -> Bytes {
        let heard = self.heard.lock();
        let found = heard.iter().rev().find(|(_, sent, _)| *sent == kind);
        found.expect("such a message was sent").2.clone()
    }

    async fn say(&self, from: u64, to: u64, kind: u16, payload: Bytes) -> Result<Bytes, RaftError> {
        self.carry(from, to, PeerCall { kind, payload }).await
    }
}

/// One member's view of the state both share.
struct Linked {
    id: u64,
    incarnation: u64,
    state: Arc<LocalReplica>,
    wire: Arc<Wire>,
    status: watch::Sender<Status>,
    sequence: AtomicU64,
}

impl Replica for Linked {
    fn node_id(&self) -> u64 {
        self.id
    }
    fn next_origin(&self) -> Origin {
        Origin {
            node: self.id,
            incarnation: self.incarnation,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
        }
    }
    fn view(&self) -> Result<Arc<View>, RaftError> {
        self.state.view()
    }
    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, RaftError>> {
        self.state.read()
    }
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, RaftError>> {
        self.state.propose(command)
    }
    fn now(&self) -> Millis {
        self.state.now()
    }
    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
    fn call_peer(&self, node: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, RaftError>> {
        self.wire.carry(self.id, node, call).boxed()
    }
    fn change(&self, _: Change) -> BoxFuture<'_, Result<(), RaftError>> {
        async { Err(RaftError::NoLeader) }.boxed()
    }
}

/// What lies on a member's disk.
struct Disk {
    key: NodeKey,
    marked: AtomicBool,
}

struct Start {
    id: u64,
    disk: Arc<Disk>,
    replica: Arc<dyn Replica>,
    wire: Arc<Wire>,
}

impl Start {
    fn begin(&self, handler: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.wire.handlers.lock().insert(self.id, handler);
        async { Ok(self.replica.clone()) }.boxed()
    }
}

impl Launcher for Start {
    fn record(&self) -> NodeRecord {
        record(self.id, &self.disk)
    }
    fn sign(&self, message: &[u8]) -> Result<NodeSignature, Error> {
        Ok(self.disk.key.sign(message)?)
    }
    fn seal_mark(&self) -> Result<bool, Error> {
        Ok(self.disk.marked.load(Ordering::SeqCst))
    }
    fn set_seal_mark(&self, sealed: bool) -> Result<(), Error> {
        self.disk.marked.store(sealed, Ordering::SeqCst);
        Ok(())
    }
    fn membership(&self) -> Result<Option<Membership>, Error> {
        Ok(Some(Membership {
            node_id: self.id,
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

fn record(id: u64, disk: &Disk) -> NodeRecord {
    NodeRecord {
        key_hash: disk.key.key_hash(),
        name: format!("n{id}"),
        ..NodeRecord::default()
    }
}

/// Two members; the first was given shares, the second is sealed.
struct Pair {
    state: Arc<LocalReplica>,
    wire: Arc<Wire>,
    disks: [Arc<Disk>; 2],
    starts: [u64; 2],
    settings: [PeerUnseal; 2],
    cores: Vec<Arc<Core>>,
    shares: Vec<String>,
    root: String,
    /// Where the second, and only it, keeps audit records.
    audit: tempfile::TempDir,
}

impl Pair {
    /// The second misses the shares that are handed on, and has what `lost` lets through.
    async fn born(settings: [PeerUnseal; 2], lost: &[u16]) -> Self {
        let clock = Arc::new(ManualClock::new(1_767_225_600_000));
        let disk = || {
            Arc::new(Disk {
                key: NodeKey::generate().unwrap(),
                marked: AtomicBool::new(false),
            })
        };
        let mut pair = Self {
            state: Arc::new(LocalReplica::in_memory(clock).unwrap()),
            wire: Arc::default(),
            disks: [disk(), disk()],
            starts: [0, 0],
            settings,
            cores: Vec::new(),
            shares: Vec::new(),
            root: String::new(),
            audit: tempfile::tempdir().unwrap(),
        };
        for (at, disk) in pair.disks.iter().enumerate() {
            let node = record(at as u64 + 1, disk);
            pair.commit(Op::RegisterNode { node }).await;
        }
        let first = pair.start(0).await;
        let born = ask(
            &first,
            "",
            "sys/init",
            json!({"secret_shares": 2, "secret_threshold": 2}),
        )
        .await
        .unwrap();
        pair.shares = born["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap().to_owned())
            .collect();
        pair.root = born["root_token"].as_str().unwrap().to_owned();
        let second = pair.start(1).await;
        pair.cores = vec![first, second];
        pair.wire.lost.lock().extend([SHARE].iter().chain(lost));
        pair.give_shares().await;
        pair
    }

    async fn commit(&self, op: Op) {
        let command = Command {
            origin: self.state.next_origin(),
            oldest_term: 0,
            now_used: self.state.now(),
            expect: Vec::new(),
            ops: vec![op],
        };
        let outcome = self.state.propose(command).await.unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }

    /// Starts a member once more and registers the start.
    async fn start(&mut self, at: usize) -> Arc<Core> {
        let core = self.start_unregistered(at).await;
        self.register(at).await;
        core
    }

    async fn register(&self, at: usize) {
        self.commit(Op::BeginIncarnation {
            node: at as u64 + 1,
            incarnation: self.starts[at],
            instance: [u8::try_from(self.starts[at]).unwrap(); 16],
            last_log_index: 0,
        })
        .await;
    }

    async fn start_unregistered(&mut self, at: usize) -> Arc<Core> {
        self.starts[at] += 1;
        let members = self.disks.iter().enumerate().map(|(at, disk)| Member {
            id: at as u64 + 1,
            record: record(at as u64 + 1, disk),
            voter: true,
            matched_index: None,
            last_contact_ms: None,
        });
        let status = Status {
            leader: Some(9),
            members: members.collect(),
            ..Status::default()
        };
        let id = at as u64 + 1;
        let replica = Arc::new(Linked {
            id,
            incarnation: self.starts[at],
            state: self.state.clone(),
            wire: self.wire.clone(),
            status: watch::channel(status).0,
            sequence: AtomicU64::new(0),
        });
        let launcher = Arc::new(Start {
            id,
            disk: self.disks[at].clone(),
            replica,
            wire: self.wire.clone(),
        });
        let file = self.audit.path().join("records").to_string_lossy().into_owned();
        let device = Declared {
            path: "own/".to_owned(),
            kind: "file".to_owned(),
            description: String::new(),
            options: [("file_path".to_owned(), file)].into(),
        };
        let settings = Settings {
            peer_unseal: self.settings[at],
            audit_directories: vec![self.audit.path().to_owned()],
            audit_devices: Vec::from_iter((at == 1).then_some(device)),
            ..Settings::default()
        };
        let core = Core::new(
            settings,
            conclave_engines::engines(),
            launcher,
            &prometheus::Registry::new(),
        );
        let core = core.unwrap();
        core.resume().await.unwrap();
        core
    }

    async fn give_shares(&self) {
        for share in &self.shares {
            ask(&self.cores[0], "", "sys/unseal", json!({"key": share}))
                .await
                .unwrap();
        }
        settled().await;
        assert!(!is_sealed(&self.cores[0]).await);
    }

    /// What the second recorded about one path.
    fn recorded(&self, path: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit.path().join("records")).unwrap_or_default();
        let records = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        records
            .filter(|record| record["request"]["path"] == path)
            .collect()
    }

    async fn seal(&self, at: usize, body: Value) {
        ask(&self.cores[at], &self.root, "sys/seal", body).await.unwrap();
    }
}

async fn ask(core: &Arc<Core>, token: &str, path: &str, body: Value) -> Result<Map<String, Value>, Error> {
    let mut request = Request::new(Verb::Write, path);
    request.data = body.as_object().cloned().unwrap();
    if !token.is_empty() {
        request.token = Some(token.to_owned().into());
    }
    Ok(match core.handle(request).await?.body {
        Body::Plain(plain) => plain,
        _ => Map::new(),
    })
}

async fn is_sealed(core: &Arc<Core>) -> bool {
    let answer = core
        .handle(Request::new(Verb::Read, "sys/seal-status"))
        .await
        .unwrap();
    let Body::Plain(status) = answer.body else {
        panic!("no status")
    };
    status["sealed"] == true
}

/// Lets everything happen that happens by itself.
async fn settled() {
    // why: the clock is a paused one, which jumps there once nobody has anything left to do
    tokio::time::sleep(SETTLED).await;
}

use PeerUnseal::{Always, Ceremony, Off};

#[tokio::test(start_paused = true)]
async fn a_ceremony_opens_starts_that_were_registered_before_its_last_share() {
    let mut pair = Pair::born([Ceremony, Ceremony], &[]).await;
    assert!(
        !is_sealed(&pair.cores[1]).await,
        "it missed the shares and was reached"
    );

    pair.cores[1] = pair.start(1).await;
    settled().await;
    assert!(is_sealed(&pair.cores[1]).await, "nobody asks, nobody offers");
    let refused = pair.wire.say(2, 1, ASK, pair.wire.last(OFFER)).await;
    assert!(refused.is_err(), "an offer is no introduction");

    // A start that is not registered is not the member the register knows.
    pair.cores[1] = pair.start_unregistered(1).await;
    pair.give_shares().await;
    assert!(is_sealed(&pair.cores[1]).await);
    pair.register(1).await;
    settled().await;
    assert!(is_sealed(&pair.cores[1]).await, "registered after the last share");
    pair.give_shares().await;
    assert!(!is_sealed(&pair.cores[1]).await);
}

#[tokio::test(start_paused = true)]
async fn the_stricter_of_two_settings_counts() {
    for settings in [[Off, Always], [Always, Off], [Off, Off]] {
        let pair = Pair::born(settings, &[]).await;
        assert!(is_sealed(&pair.cores[1]).await, "{settings:?}");
        assert!(
            !pair.wire.heard.lock().iter().any(|(_, kind, _)| *kind == OFFER),
            "{settings:?}"
        );
    }
    let mut pair = Pair::born([Always, Ceremony], &[]).await;
    pair.cores[1] = pair.start(1).await;
    settled().await;
    assert!(is_sealed(&pair.cores[1]).await);
}

#[tokio::test(start_paused = true)]
async fn under_always_a_restarted_member_is_opened_unless_an_operator_sealed_it() {
    let mut pair = Pair::born([Always, Always], &[]).await;
    pair.cores[1] = pair.start(1).await;
    settled().await;
    assert!(!is_sealed(&pair.cores[1]).await);

    let asked = pair.wire.last(ASK);
    pair.seal(1, json!({})).await;
    for _ in 0..2 {
        settled().await;
        assert!(is_sealed(&pair.cores[1]).await, "only shares open it");
        pair.cores[1] = pair.start(1).await;
    }
    let offered = pair.wire.say(2, 1, ASK, asked).await;
    assert!(offered.is_err(), "of an earlier start: {offered:?}");

    // The shares themselves reach it now, and lift the mark.
    pair.wire.lost.lock().clear();
    pair.give_shares().await;
    assert!(!is_sealed(&pair.cores[1]).await);
    pair.cores[1] = pair.start(1).await;
    settled().await;
    assert!(!is_sealed(&pair.cores[1]).await);
}

#[tokio::test(start_paused = true)]
async fn a_share_waits_a_while_for_a_member_that_does_not_answer() {
    let pair = Pair::born([Off, Off], &[GREET]).await;
    let give = async |share: usize| {
        let body = json!({"key": pair.shares[share]});
        ask(&pair.cores[0], "", "sys/unseal", body).await.unwrap()["progress"].clone()
    };
    assert_eq!(give(0).await, 1, "it may be sealed");
    for _ in 0..20 {
        settled().await;
    }
    assert_eq!(give(1).await, 1, "the first is forgotten");
    pair.wire.lost.lock().clear();
    assert_eq!(give(0).await, 0);
    assert!(!is_sealed(&pair.cores[1]).await);
    assert_eq!(give(0).await, 0, "nobody needs it");
}

#[tokio::test(start_paused = true)]
async fn an_offer_is_for_one_start_and_for_one_epoch() {
    let mut pair = Pair::born([Ceremony, Ceremony], &[OFFER]).await;
    let held_back = pair.wire.last(OFFER);
    assert!(is_sealed(&pair.cores[1]).await);
    pair.wire.lost.lock().clear();

    let altered = [
        &held_back[..held_back.len() - 1],
        &[!held_back[held_back.len() - 1]],
    ]
    .concat();
    assert!(pair.wire.say(1, 2, OFFER, altered.into()).await.is_err());
    assert!(
        pair.wire.say(3, 2, OFFER, held_back.clone()).await.is_err(),
        "of another member"
    );

    pair.seal(0, json!({"cluster": true})).await;
    let late = pair.wire.say(1, 2, OFFER, held_back.clone()).await;
    assert!(
        late.unwrap_err().to_string().contains("sealed after"),
        "made before the cluster was sealed"
    );
    assert!(is_sealed(&pair.cores[0]).await && is_sealed(&pair.cores[1]).await);

    pair.wire.lost.lock().extend([SHARE, OFFER]);
    pair.give_shares().await;
    let fresh = pair.wire.last(OFFER);
    assert_ne!(fresh, held_back);
    pair.wire.lost.lock().clear();
    pair.cores[1] = pair.start(1).await;
    assert!(
        pair.wire.say(1, 2, OFFER, fresh).await.is_err(),
        "made for an earlier start"
    );
    assert!(is_sealed(&pair.cores[1]).await);
}

#[tokio::test(start_paused = true)]
async fn keys_are_dropped_where_the_seal_of_the_cluster_is_heard_of() {
    let pair = Pair::born([Ceremony, Ceremony], &[]).await;
    assert!(!is_sealed(&pair.cores[1]).await);
    pair.seal(0, json!({"cluster": true})).await;
    // The other has not looked yet: a request finds out, and is not served.
    let read = ask(&pair.cores[1], &pair.root, "sys/mounts/x", json!({"type": "kv"})).await;
    assert!(matches!(read, Err(Error::Sealed)), "{read:?}");
    assert!(is_sealed(&pair.cores[1]).await);
    settled().await;
    assert!(is_sealed(&pair.cores[0]).await && is_sealed(&pair.cores[1]).await);
}

#[tokio::test(start_paused = true)]
async fn a_member_records_each_share_handed_on_that_it_counts() {
    let pair = Pair::born([Off, Off], &[]).await;
    assert!(is_sealed(&pair.cores[1]).await);
    const PATH: &str = "sys/unseal/share/from-node/1";
    assert_eq!(pair.recorded(PATH), [] as [Value; 0], "they were lost");

    // Without a device that takes the record no share counts.
    std::fs::remove_file(pair.audit.path().join("records")).ok();
    let away = pair.audit.path().with_extension("away");
    std::fs::rename(pair.audit.path(), &away).unwrap();
    pair.wire.lost.lock().clear();
    pair.give_shares().await;
    assert!(is_sealed(&pair.cores[1]).await);
    std::fs::rename(&away, pair.audit.path()).unwrap();

    // All shares of a ceremony are handed on with each that is given: each is recorded once.
    pair.give_shares().await;
    assert!(!is_sealed(&pair.cores[1]).await);
    let records = pair.recorded(PATH);
    let told: Vec<(&Value, &Value)> = records
        .iter()
        .map(|record| (&record["type"], &record["response"]["data"]["progress"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("request"), &Value::Null),
            (&json!("response"), &json!(1)),
            (&json!("request"), &Value::Null),
            (&json!("response"), &json!(0)),
        ],
        "{records:?}"
    );
    assert_eq!(records[3]["response"]["data"]["sealed"], false);
    assert!(
        records
            .iter()
            .all(|record| record["request"].get("data").is_none())
    );
    let text = json!(records).to_string();
    assert!(pair.shares.iter().all(|share| !text.contains(share.as_str())));
}

const RING_SHARE: u16 = 16;
const RING_ASK: u16 = 18;
const RING_FOLLOW: u16 = 19;

/// A request of root's in a namespace.
async fn within(
    core: &Arc<Core>,
    root: &str,
    (namespace, verb, path): (&str, Verb, &str),
    body: Value,
) -> Result<Value, Error> {
    let mut request = Request::new(verb, path);
    request.namespace = Some(namespace.to_owned());
    request.token = Some(root.to_owned().into());
    request.data = body.as_object().cloned().unwrap_or_default();
    Ok(match core.handle(request).await?.body {
        Body::Envelope(envelope) => serde_json::to_value(&envelope.data).unwrap(),
        _ => Value::Null,
    })
}

/// The second of two members restarts, then both: `asked` is what the second asked with before.
async fn members_restart(pair: &mut Pair, asked: Bytes) {
    let root = pair.root.clone();
    let read = async |core: &Arc<Core>| within(core, &root, ("t", Verb::Read, "kv/a"), Value::Null).await;
    let is_shut = |answer: &Result<Value, Error>| matches!(answer, Err(Error::NamespaceSealed { .. }));
    // One that has restarted gets nothing while it is sealed, and the keys back when it is open.
    pair.cores[1] = pair.start(1).await;
    let replayed = pair.wire.say(2, 1, RING_ASK, asked).await;
    assert!(replayed.is_err(), "of an earlier start: {replayed:?}");
    settled().await;
    assert!(matches!(read(&pair.cores[1]).await, Err(Error::Sealed)));
    pair.give_shares().await;
    assert_eq!(read(&pair.cores[1]).await.unwrap()["k"], "v");

    // Where nobody has them any more, the shares are needed again.
    pair.cores[0] = pair.start(0).await;
    pair.cores[1] = pair.start(1).await;
    pair.give_shares().await;
    assert!(is_shut(&read(&pair.cores[0]).await) && is_shut(&read(&pair.cores[1]).await));
}

/// The keys of a namespace with a seal of its own, in a cluster of two open members.
#[tokio::test(start_paused = true)]
async fn keys_of_a_namespace_go_to_open_members_alone_and_all_drop_them() {
    let mut pair = Pair::born([Ceremony, Ceremony], &[]).await;
    let (root, cores) = (pair.root.clone(), pair.cores.clone());
    let seal = json!({"seal": "seal \"shamir\" {\n shares = 3\n threshold = 2\n}"});
    let made = within(&cores[0], &root, ("", Verb::Write, "sys/namespaces/t"), seal)
        .await
        .unwrap();
    let shares: Vec<Value> = made["key_shares"].as_array().unwrap().clone();
    let give = async |at: usize, share: usize| {
        let body = json!({"key": shares[share]});
        within(
            &cores[at],
            &root,
            ("", Verb::Write, "sys/namespaces/t/unseal"),
            body,
        )
        .await
        .unwrap()
    };
    let read = async |core: &Arc<Core>| within(core, &root, ("t", Verb::Read, "kv/a"), Value::Null).await;
    let is_shut = |answer: &Result<Value, Error>| matches!(answer, Err(Error::NamespaceSealed { .. }));

    // Whichever member is given a share, it counts.
    assert_eq!(give(0, 0).await["progress"], 1);
    assert_eq!(give(1, 2).await["sealed"], false);
    within(
        &cores[0],
        &root,
        ("t", Verb::Write, "sys/mounts/kv"),
        json!({"type": "kv"}),
    )
    .await
    .unwrap();
    within(&cores[1], &root, ("t", Verb::Write, "kv/a"), json!({"k": "v"}))
        .await
        .unwrap();
    assert!(
        !pair
            .wire
            .heard
            .lock()
            .iter()
            .any(|(_, kind, _)| *kind == RING_ASK)
    );

    within(
        &cores[1],
        &root,
        ("", Verb::Write, "sys/namespaces/t/seal"),
        Value::Null,
    )
    .await
    .unwrap();
    for core in &cores {
        assert!(is_shut(&read(core).await));
    }
    settled().await;
    assert!(is_shut(&read(&cores[0]).await), "nobody has the keys to give");

    // A member that missed the shares asks for the keys when it is asked for something.
    pair.wire.lost.lock().push(RING_SHARE);
    give(0, 1).await;
    give(0, 2).await;
    assert_eq!(read(&cores[0]).await.unwrap()["k"], "v");
    assert_eq!(read(&cores[1]).await.unwrap()["k"], "v");
    let id = made["id"].as_str().unwrap();
    assert!(
        !pair
            .recorded(&format!("sys/namespaces/{id}/unseal/offer/from-node/1"))
            .is_empty()
    );
    let asked = pair.wire.last(RING_ASK);

    members_restart(&mut pair, asked).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_gives_no_keys_gives_none_of_a_namespace() {
    let mut pair = Pair::born([Off, Off], &[RING_SHARE]).await;
    let root = pair.root.clone();
    for share in pair.shares.clone() {
        ask(&pair.cores[1], "", "sys/unseal", json!({"key": share}))
            .await
            .unwrap();
    }
    let seal = json!({"seal": "seal \"shamir\" {\n shares = 1\n threshold = 1\n}"});
    let made = within(&pair.cores[0], &root, ("", Verb::Write, "sys/namespaces/t"), seal)
        .await
        .unwrap();
    let body = json!({"key": made["key_shares"][0]});
    let unseal = ("", Verb::Write, "sys/namespaces/t/unseal");
    within(&pair.cores[0], &root, unseal, body.clone()).await.unwrap();
    let mounts = ("t", Verb::Read, "sys/mounts");
    assert!(within(&pair.cores[0], &root, mounts, Value::Null).await.is_ok());
    settled().await;
    let shut = within(&pair.cores[1], &root, mounts, Value::Null).await;
    assert!(matches!(shut, Err(Error::NamespaceSealed { .. })));
    assert!(
        !pair
            .wire
            .heard
            .lock()
            .iter()
            .any(|(_, kind, _)| *kind == RING_ASK)
    );
    within(&pair.cores[1], &root, unseal, body).await.unwrap();
    assert!(within(&pair.cores[1], &root, mounts, Value::Null).await.is_ok());
    pair.cores.clear();
}

/// Whether a new root key of the first namespace with a seal of its own is on offer.
fn is_on_offer(pair: &Pair) -> bool {
    let mut found = false;
    let view = pair.state.view().unwrap();
    view.rows()
        .scan(&[], None, &mut |key, _| {
            found |= key.ends_with(b"handover-1");
            Ok(true)
        })
        .unwrap();
    found
}

#[tokio::test(start_paused = true)]
async fn a_new_root_key_of_a_namespace_is_on_offer_until_every_member_has_said_that_it_follows() {
    let pair = Pair::born([Ceremony, Ceremony], &[]).await;
    let (root, cores) = (pair.root.clone(), pair.cores.clone());
    let asked = async |at: usize, namespace: &str, verb: Verb, path: &str, body: Value| {
        within(&cores[at], &root, (namespace, verb, path), body)
            .await
            .unwrap()
    };
    let seal = json!({"seal": "seal \"shamir\" {\n shares = 1\n threshold = 1\n}"});
    let made = asked(0, "", Verb::Write, "sys/namespaces/t", seal).await;
    let share = made["key_shares"][0].clone();
    let key = json!({"key": share});
    asked(0, "", Verb::Write, "sys/namespaces/t/unseal", key).await;
    let one = json!({"secret_shares": 1, "secret_threshold": 1});
    let begun = asked(1, "t", Verb::Write, "sys/rotate/root/init", one).await;
    let given = json!({"nonce": begun["nonce"], "key": share});
    asked(1, "t", Verb::Write, "sys/rotate/root/update", given).await;

    pair.wire.lost.lock().push(RING_FOLLOW);
    cores[0].drop_handover_once().await.unwrap();
    assert!(is_on_offer(&pair), "one said nothing");
    pair.wire.lost.lock().retain(|kind| *kind != RING_FOLLOW);
    let mut of_later = vec![0, 1];
    of_later.extend_from_slice(&99_u64.to_be_bytes());
    let lags = pair.wire.say(1, 2, RING_FOLLOW, of_later.into()).await.unwrap();
    assert_eq!(lags, [0][..], "it has the keys of an earlier generation");
    assert!(
        pair.wire
            .say(1, 2, RING_FOLLOW, Bytes::from_static(b"x"))
            .await
            .is_err()
    );

    // Whoever looks at the state follows; nobody had to ask anybody for keys.
    for at in [0, 1] {
        asked(at, "t", Verb::Read, "sys/mounts", Value::Null).await;
    }
    cores[0].drop_handover_once().await.unwrap();
    assert!(!is_on_offer(&pair));
    let heard = pair.wire.heard.lock();
    assert!(!heard.iter().any(|(_, kind, _)| *kind == RING_ASK));
}
