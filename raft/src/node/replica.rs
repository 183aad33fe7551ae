//! One running member: wires log, state machine, door and network together and offers them as a `Replica`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::codec::{encode_command, format_of};
use crate::command::{Command, Millis, NodeRecord, Op, Origin, Outcome};
use crate::door::Waiters;
use crate::door::desk::{self, Raft};
use crate::door::door::{self, Ask, Leadership, Read};
use crate::door::sessions::Sessions;
use crate::error::Error;
use crate::log::{Fatal, LogBackend, LogStore};
use crate::meter::{TRACES, Work};
use crate::mutant;
use crate::net::{self, Host, Lanes, Network, Peers, Start, Transport};
use crate::node::clock::{Clock, ClusterClock};
use crate::node::config::Config;
use crate::node::identity::Identity;
use crate::node::machine::StateMachine;
use crate::node::offload::{Offload, offload};
use crate::node::runtime::{seed_of, with_seed};
use crate::node::snapshots::{Snapshots, applied_log_id};
use crate::node::{observe, quorum, tend};
use crate::replica::{Change, PeerCall, PeerHandler, Replica, Status};
use crate::state::{Applied, Store, View, Views};

/// What a node is built from.
pub struct Parts {
    /// Where the log is kept.
    pub log: Arc<dyn LogBackend>,
    /// Where the state is kept.
    pub state: Arc<dyn Store>,
    /// How nodes are reached.
    pub transport: Arc<dyn Transport>,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// Who answers messages to this node.
    pub handler: Arc<dyn PeerHandler>,
    /// Called when the node must stop at once.
    pub fatal: Fatal,
    /// Where work runs that blocks on the disk.
    pub offload: Arc<dyn Offload>,
}

/// A running member of a cluster. Clones are handles to the same member; `shutdown` ends it.
#[derive(Clone)]
pub struct RaftReplica {
    node: Arc<Node>,
}

/// Everything a member's tasks share.
pub(crate) struct Node {
    pub config: Config,
    pub incarnation: u64,
    pub raft: Arc<ArcSwap<Raft>>,
    pub log: LogStore,
    pub machine: StateMachine,
    pub store: Arc<dyn Store>,
    pub waiters: Arc<Waiters>,
    pub clock: Arc<ClusterClock>,
    pub peers: Arc<Peers>,
    pub transport: Arc<dyn Transport>,
    pub network: Network,
    pub leadership: watch::Sender<Leadership>,
    pub status: watch::Sender<Status>,
    pub applied: watch::Receiver<Applied>,
    pub views: Views,
    pub fatal: Fatal,
    /// Whether the layers above want this node to stand for election.
    pub elect: AtomicBool,
    pub closing: AtomicBool,
    /// The Raft core is ended on purpose, to be replaced.
    pub replacing: AtomicBool,
    /// Counts Raft cores; a new one replaces one that hangs in a transfer.
    pub cores: watch::Sender<u64>,
    /// One membership change at a time.
    pub changing: tokio::sync::Mutex<()>,
    /// One Raft core is replaced at a time.
    pub restarting: tokio::sync::Mutex<()>,
    asks: mpsc::UnboundedSender<Ask>,
    /// What this node's desk was sent.
    asked: Arc<AtomicU64>,
    sequence: AtomicU64,
    runtime: Handle,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl RaftReplica {
    /// Starts a member on the current Tokio runtime, which it uses for all its tasks.
    ///
    /// A member with an empty log does nothing until `initialize` is called or a leader reaches it.
    ///
    /// # Errors
    /// `Error::Corrupt` when what is on disk cannot be trusted or belongs to another node, `Error::Storage` when the
    /// disk or the listener fails, `Error::Limit` when the intervals contradict each other.
    pub async fn start(config: Config, parts: Parts) -> Result<Self, Error> {
        let dir = &config.data_dir;
        std::fs::create_dir_all(dir).map_err(|e| Error::Storage(format!("{}: {e}", dir.display())))?;
        let identity = Identity::begin(dir, config.cluster_id, config.node_id)?;
        let snapshots = Arc::new(Snapshots::open(dir.join("snapshots"))?);
        let log = LogStore::open(Arc::clone(&parts.log), Arc::clone(&parts.fatal), &parts.offload)?;

        let (freed, freed_out) = mpsc::unbounded_channel();
        let waiters = Arc::new(Waiters::new(config.node_id, identity.incarnation, freed));
        let clock = Arc::new(ClusterClock::new(Arc::clone(&parts.clock)));
        let machine = StateMachine::open(
            Arc::clone(&parts.state),
            Arc::clone(&snapshots),
            Arc::clone(&waiters),
            Arc::clone(&clock),
            Arc::clone(&parts.fatal),
            Arc::clone(&parts.offload),
        )?;
        log.catch_up(applied_log_id(&machine.applied().borrow()))?;
        // A log that goes on behind all snapshots needs a new one: openraft makes it where there is none.
        snapshots.discard_before(log.purged());
        let (peers, network) = open_network(&config, &parts, identity.incarnation, &clock, &log);
        // What is applied now was durable before: a later start with less has lost something.
        let reached = machine.applied().borrow().index;
        let raft = open_first(&config, &parts, &network, &log, &machine).await?;

        let (asks, asked) = mpsc::unbounded_channel();
        let node = Arc::new(Node {
            incarnation: identity.incarnation,
            raft: Arc::new(ArcSwap::from_pointee(raft)),
            applied: machine.applied(),
            views: machine.views(),
            log,
            machine,
            store: Arc::clone(&parts.state),
            waiters,
            clock,
            peers,
            transport: Arc::clone(&parts.transport),
            network,
            leadership: watch::channel(Leadership::default()).0,
            status: watch::channel(Status::default()).0,
            fatal: Arc::clone(&parts.fatal),
            elect: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            replacing: AtomicBool::new(false),
            cores: watch::channel(0).0,
            changing: tokio::sync::Mutex::new(()),
            restarting: tokio::sync::Mutex::new(()),
            asks,
            asked: Arc::default(),
            sequence: AtomicU64::new(before_first(config.instance)),
            runtime: Handle::current(),
            tasks: Mutex::new(Vec::new()),
            config,
        });
        node.serve(parts, snapshots, asked, freed_out)?;
        node.spawn(observe::run(Arc::clone(&node)));
        node.spawn(tend::run(Arc::clone(&node)));
        node.spawn(quorum::run(Arc::clone(&node)));
        node.spawn(tend::register(Arc::clone(&node), reached));
        Ok(Self { node })
    }

    /// Makes this node the first and only voter of a new cluster and enters it into the register. Once in a
    /// cluster's life.
    ///
    /// # Errors
    /// `Error::Membership` when the node has a log already or the register allots it another id.
    pub async fn initialize(&self, record: NodeRecord) -> Result<(), Error> {
        let node = &self.node;
        let members = std::collections::BTreeMap::from([(node.config.node_id, record.clone())]);
        let started = node.raft.load_full().initialize(members).await;
        started.map_err(|e| Error::Membership(e.to_string()))?;
        let outcome = node.propose(vec![Op::RegisterNode { node: record }]).await?;
        match outcome {
            Outcome::Applied { node: id, .. } if id == node.config.node_id => Ok(()),
            other => Err(Error::Membership(format!(
                "the register did not take the first node: {other:?}"
            ))),
        }
    }

    /// Whether this node has a log or a state: false before `initialize` or a first message from a leader.
    pub fn initialized(&self) -> bool {
        self.node.log.last().is_some() || self.node.applied.borrow().index > 0
    }

    /// Whether this node stands for election when no leader is heard of. With `false` (a sealed node) it does so only
    /// after three election time-outs of silence, so that a cluster of sealed nodes still finds a caretaker.
    pub fn elect(&self, enabled: bool) {
        self.node.elect.store(enabled, Ordering::Relaxed);
        self.node.raft.load().runtime_config().elect(enabled);
    }

    /// This start's number.
    pub fn incarnation(&self) -> u64 {
        self.node.incarnation
    }

    /// Makes a snapshot now and lets the log before it go (as far as the policy says).
    ///
    /// # Errors
    /// `Error::Stopped` when the Raft core has ended.
    pub async fn snapshot(&self) -> Result<(), Error> {
        let raft = self.node.raft.load_full();
        raft.trigger()
            .snapshot()
            .await
            .map_err(|e| Error::Stopped(e.to_string()))
    }

    /// Bytes of the entries that this node's log holds, roughly.
    pub fn log_bytes(&self) -> u64 {
        self.node.log.bytes()
    }

    /// Hands leadership over if it can, then stops everything and makes the state durable.
    pub async fn shutdown(&self) {
        let node = &self.node;
        let leads = node.status.borrow().is_leader;
        if leads && let Err(error) = Box::pin(node.transfer(None)).await {
            tracing::info!(%error, "leadership is not handed over before the shutdown");
        }
        self.abort().await;
        if let Err(error) = node.log.sync().and_then(|()| node.store.flush()) {
            tracing::error!(%error, "the stores do not flush at the end");
        }
    }

    /// Ends everything at once, as a crash would, except that memory is given back.
    pub async fn abort(&self) {
        let node = &self.node;
        node.closing.store(true, Ordering::Release);
        // A core that is just being replaced is not the last.
        let _none_follows = node.restarting.lock().await;
        let raft = node.raft.load_full();
        // It has ended in any case; how it ended was reported where it happened.
        raft.shutdown().await.ok();
        let tasks = std::mem::take(&mut *node.tasks.lock());
        for task in tasks {
            task.abort();
            task.await.ok();
        }
    }
}

/// What the sequences of a start begin after: anywhere, with room for as many as anybody makes. Two starts from copies of one disk
/// have one incarnation, and the later would take what the log says of the earlier one's commands for word of its own.
fn before_first(instance: [u8; 16]) -> u64 {
    u64::try_from(u128::from_be_bytes(instance) >> 66).unwrap_or(0)
}

/// The directory of peers and the way to them, for this start of the node.
fn open_network(
    config: &Config,
    parts: &Parts,
    incarnation: u64,
    clock: &Arc<ClusterClock>,
    log: &LogStore,
) -> (Arc<Peers>, Network) {
    let start = Start {
        incarnation,
        instance: config.instance,
    };
    let peers = Peers::new(config.cluster_id, config.node_id, start, &config.contacts);
    let peers = Arc::new(peers);
    parts.transport.trust(peers.keys());
    let silence = config.timings.election_max;
    let fatal = Arc::clone(&parts.fatal);
    let lanes = Lanes::new(Arc::clone(&parts.transport), Arc::clone(&peers), silence, fatal);
    let network = Network::new(
        Arc::new(lanes),
        Arc::clone(clock),
        log.clone(),
        incarnation,
        silence,
        Arc::clone(&parts.offload),
    );
    (peers, network)
}

/// The first Raft core of a start, over a log that is whole. The log is read beside: the time after which a core stands for election
/// runs meanwhile, but nobody is voted for, heard or answered before the last entry was looked at.
async fn open_first(
    config: &Config,
    parts: &Parts,
    network: &Network,
    log: &LogStore,
    machine: &StateMachine,
) -> Result<Raft, Error> {
    let unread = log.clone();
    let verifying = offload(parts.offload.as_ref(), "reading the log", move || unread.verify());
    let (verified, raft) = tokio::join!(verifying, open_core(config, network, log, machine));
    // What is wrong with the log may be why there is no core.
    if let Err(error) = verified.and_then(|verified| verified) {
        if let Ok(raft) = raft {
            raft.shutdown().await.ok();
        }
        return Err(error);
    }
    let raft = raft?;
    raft.runtime_config().elect(true);
    Ok(raft)
}

/// A Raft core over the node's log and state machine, which does not stand for election yet.
pub(crate) async fn open_core(
    config: &Config,
    network: &Network,
    log: &LogStore,
    machine: &StateMachine,
) -> Result<Raft, Error> {
    let machine = machine.for_new_core();
    // Each core draws its waiting times anew.
    let seed = seed_of(config.instance, machine.core());
    let raft = Raft::new(
        config.node_id,
        config.raft()?,
        network.clone(),
        log.clone(),
        machine,
    );
    with_seed(seed, raft)
        .await
        .map_err(|e| Error::Storage(format!("Raft does not start: {e}")))
}

impl Node {
    /// Starts the door, the desk and the answering end of the network.
    fn serve(
        self: &Arc<Self>,
        parts: Parts,
        snapshots: Arc<Snapshots>,
        asks: mpsc::UnboundedReceiver<Ask>,
        freed: mpsc::UnboundedReceiver<Vec<u64>>,
    ) -> Result<(), Error> {
        let (desk, requests) = mpsc::unbounded_channel();
        let incoming = parts.transport.listen();
        let incoming = incoming.map_err(|e| Error::Storage(format!("node listener: {e}")))?;
        let host = Arc::new(Host {
            raft: Arc::clone(&self.raft),
            peers: Arc::clone(&self.peers),
            snapshots,
            log: self.log.clone(),
            desk: desk.clone(),
            sessions: Sessions::default(),
            handler: parts.handler,
            offload: parts.offload,
            clock: Arc::clone(&self.clock),
            leadership: self.leadership.subscribe(),
            incarnation: self.incarnation,
        });
        self.spawn(async move {
            if let Err(error) = net::serve(host, incoming).await {
                tracing::error!(%error, "node-to-node traffic is not served any more");
            }
        });
        self.spawn(desk::run(
            self.config.node_id,
            Arc::clone(&self.raft),
            Arc::clone(&self.clock),
            self.status.subscribe(),
            Arc::clone(&self.asked),
            requests,
        ));
        self.spawn(door::run(door::Parts {
            node: self.config.node_id,
            waiters: Arc::clone(&self.waiters),
            asks,
            freed,
            leadership: self.leadership.subscribe(),
            desk,
            links: Arc::new(self.network.clone()),
            applied: self.applied.clone(),
            views: self.views.clone(),
        }));
        Ok(())
    }

    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.runtime.spawn(task);
        self.tasks.lock().push(task);
    }

    pub fn next_origin(&self) -> Origin {
        Origin {
            node: self.config.node_id,
            incarnation: self.incarnation,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Proposes operations of this crate's own.
    pub async fn propose(&self, ops: Vec<Op>) -> Result<Outcome, Error> {
        let command = Command {
            origin: self.next_origin(),
            oldest_term: 0,
            now_used: self.clock.now(),
            expect: Vec::new(),
            ops,
        };
        self.submit(&command).await
    }

    async fn submit(&self, command: &Command) -> Result<Outcome, Error> {
        let origin = command.origin;
        if origin.node != self.config.node_id || origin.incarnation != self.incarnation {
            return Err(Error::Limit("proposals of this start of this node"));
        }
        let (needed, current) = (format_of(command), self.applied.borrow().cluster_version);
        if needed > current {
            return Err(Error::TooNew { needed, current });
        }
        let encoded = encode_command(command)?;
        let retry_until = Instant::now() + self.config.timings.retry;
        let answer = self.waiters.add(origin.sequence, encoded, retry_until)?;
        let mut waiting = Waiting {
            waiters: &self.waiters,
            sequence: Some(origin.sequence),
        };
        self.asks.send(Ask::Propose(origin.sequence)).map_err(stopped)?;
        match timeout(self.config.timings.outcome, answer).await {
            Ok(Ok(answer)) => {
                waiting.sequence = None;
                answer
            }
            _ => Err(self.waiters.give_up(origin.sequence)),
        }
    }

    pub async fn read(&self) -> Result<Arc<View>, Error> {
        let (answer, view) = oneshot::channel();
        let until = Instant::now() + self.config.timings.retry;
        self.asks
            .send(Ask::Read(Read { until, answer }))
            .map_err(stopped)?;
        match timeout(self.config.timings.retry + Duration::from_secs(1), view).await {
            Ok(Ok(view)) => view,
            Ok(Err(_)) => Err(stopped("the door has ended")),
            Err(_) => Err(Error::NoLeader),
        }
    }
}

/// Takes a command back when its caller goes away.
struct Waiting<'a> {
    waiters: &'a Waiters,
    sequence: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(sequence) = self.sequence {
            self.waiters.give_up(sequence);
        }
    }
}

fn stopped(error: impl std::fmt::Display) -> Error {
    Error::Stopped(error.to_string())
}

impl Replica for RaftReplica {
    fn node_id(&self) -> u64 {
        self.node.config.node_id
    }

    fn next_origin(&self) -> Origin {
        self.node.next_origin()
    }

    fn view(&self) -> Result<Arc<View>, Error> {
        self.node.views.latest()
    }

    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        // The mutant: what this node knows, though others may know more.
        if mutant::is("stale-read") {
            return Box::pin(std::future::ready(self.node.views.latest()));
        }
        let span = tracing::trace_span!(target: TRACES, "raft.read_index");
        Box::pin(self.node.read().instrument(span))
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Error>> {
        let span = tracing::trace_span!(target: TRACES, "raft.propose");
        Box::pin(async move { self.node.submit(&command).await }.instrument(span))
    }

    fn now(&self) -> Millis {
        self.node.clock.now()
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.node.status.subscribe()
    }

    fn call_peer(&self, node: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, Error>> {
        let network = self.node.network.clone();
        // On the node's own runtime, where its connections live.
        let calling = self
            .node
            .runtime
            .spawn(async move { network.call(node, call).await });
        Box::pin(async move { calling.await.unwrap_or(Err(Error::OutcomeUnknown)) })
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<(), Error>> {
        let node = Arc::clone(&self.node);
        // Finished even if the caller goes away: a half-done change is worse than an unwanted one.
        let changing = self.node.runtime.spawn(async move { node.change(change).await });
        Box::pin(async move { changing.await.unwrap_or(Err(Error::OutcomeUnknown)) })
    }

    fn mark(&self, origin: Origin) -> Result<(), Error> {
        self.node.machine.marks().want(origin)
    }

    fn marked(&self, origin: Origin) -> Result<Option<Arc<View>>, Error> {
        self.node.machine.marks().view(origin)
    }

    fn forget_mark(&self, origin: Origin) {
        self.node.machine.marks().forget(origin);
    }

    fn set_eligible(&self, eligible: bool) {
        self.elect(eligible);
    }

    fn work(&self) -> Work {
        Work {
            syncs: self.node.log.syncs(),
            log_bytes: self.node.log.bytes(),
            asked: self.node.asked.load(Ordering::Relaxed),
            ..self.node.machine.work()
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shutdown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_starts_with_one_incarnation_propose_under_different_names() {
        let instance = |last: u64| (u128::from(last) << 64 | 1).to_be_bytes();
        let apart = before_first(instance(5 << 40)).abs_diff(before_first(instance(6 << 40)));
        assert!(apart > 1 << 32, "{apart}");
        assert!(
            before_first([0xff; 16]) < u64::MAX / 2,
            "there is room behind the greatest"
        );
    }
}
