//! One simulated machine: its disk and clock outlive the process that runs on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use conclave_raft::node::{Config, Parts, RaftReplica};
use conclave_raft::state::Store;
use conclave_raft::{
    Change, Command, Error, NodeRecord, Op, Outcome, PeerCall, PeerHandler, Replica, Status,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::clock::SimClock;
use crate::disk::{Disk, SimLog, SimStore};
use crate::history::Action;
use crate::net::{PORT, SimTransport};
use crate::vault::{self, Deed};
use crate::wire::Wires;
use crate::workload::Client;
use crate::world::World;

pub struct Node {
    pub id: u64,
    pub host: String,
    pub record: NodeRecord,
    pub disk: Arc<Disk>,
    pub log: Arc<SimLog>,
    pub state: Arc<SimStore>,
    pub clock: Arc<SimClock>,
    pub handler: Arc<Handler>,
    pub contacts: Vec<(u64, NodeRecord)>,
    /// Why the process must end, if it must.
    pub fatal: Arc<Mutex<Option<String>>>,
    /// The process, while it runs.
    pub running: Mutex<Option<Running>>,
    /// Its streams, from its start on.
    pub wires: Mutex<Option<Arc<Wires>>>,
    pub dir: PathBuf,
    /// Its disk was set back: it must find out.
    pub set_back: AtomicBool,
    /// Whether a vault's node holds no keys, as it says itself.
    pub sealed: AtomicBool,
    /// Whether an operator sealed it: kept on its disk.
    pub marked: AtomicBool,
    starts: AtomicU64,
}

/// How the driver reaches a process.
pub struct Running {
    pub status: watch::Receiver<Status>,
    replica: RaftReplica,
    orders: mpsc::UnboundedSender<(Order, Reply)>,
}

/// What the driver tells a process to do.
#[derive(Debug, Clone)]
pub enum Order {
    Found,
    Register(NodeRecord),
    Change(Change),
    /// Take a removed node out of the register, as the layers above do.
    Forget(u64),
    Snapshot,
    Write(Action),
    /// A client of the node reads.
    Read,
    Eligible(bool),
    /// For a vault.
    Vault(Deed),
    Stop,
}

/// What became of an order: a node id where one was allotted.
pub type Reply = Arc<Mutex<Option<Result<u64, String>>>>;

/// Number of a node's client that only reads: more than any node has others.
const READER: u64 = 0xff;

#[derive(Default)]
pub struct Handler {
    pub unwilling: AtomicBool,
}

impl PeerHandler for Handler {
    fn handle(&self, _from: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move { Ok(call.payload) })
    }

    fn willing_to_lead(&self) -> bool {
        !self.unwilling.load(Ordering::Relaxed)
    }
}

/// The record of the machine with this number, before it has an id.
pub fn record(number: u64) -> NodeRecord {
    let mut key_hash = [0; 32];
    key_hash[..8].copy_from_slice(&number.to_be_bytes());
    NodeRecord {
        key_hash,
        name: format!("n{number}"),
        zone: format!("zone-{}", number % 3),
        cluster_addr: format!("n{number}:{PORT}"),
        api_addr: String::new(),
    }
}

impl Node {
    /// A machine that never ran.
    pub fn new(
        world: &Arc<World>,
        id: u64,
        record: NodeRecord,
        dir: PathBuf,
        contacts: Vec<(u64, NodeRecord)>,
    ) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        let mut dice = world.plan.dice().fork(1000 + id);
        let drift = i64::try_from(dice.below(world.plan.drift * 2 + 1)).unwrap();
        let drift = drift - i64::try_from(world.plan.drift).unwrap();
        let disk = Arc::new(Disk::new(dice.fork(1)));
        let log = Arc::new(SimLog::new(Arc::clone(world), id, Arc::clone(&disk)));
        let copies = dir.clone();
        let clock = Arc::new(SimClock::new(Arc::clone(world), drift));
        world.clocks.lock().push(Arc::clone(&clock));
        Self {
            id,
            host: record.name.clone(),
            record,
            state: Arc::new(SimStore::new(Arc::clone(world), id, Arc::clone(&log), copies)),
            clock,
            disk,
            log,
            handler: Arc::default(),
            contacts,
            fatal: Arc::default(),
            running: Mutex::new(None),
            wires: Mutex::new(None),
            dir,
            set_back: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            starts: AtomicU64::new(0),
        }
    }

    pub fn status(&self) -> Option<Status> {
        let running = self.running.lock();
        running.as_ref().map(|running| running.status.borrow().clone())
    }

    /// The cluster's time as this node has it.
    pub fn shows(&self) -> Option<u64> {
        self.running.lock().as_ref().map(|running| running.replica.now())
    }

    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    pub fn is_running(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Gives an order; without a process it is refused at once.
    pub fn order(&self, order: Order) -> Reply {
        let reply = Reply::default();
        let sent = match &*self.running.lock() {
            Some(running) => running.orders.send((order, Arc::clone(&reply))).is_ok(),
            None => false,
        };
        if !sent {
            *reply.lock() = Some(Err("it does not run".to_owned()));
        }
        reply
    }

    /// The process, from its start on.
    pub async fn run(self: Arc<Self>, world: Arc<World>) -> turmoil::Result {
        let start = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        world.note(format_args!("n{} starts, {start}", self.id));
        let wires = Wires::new(Arc::clone(&world), self.id);
        tokio::spawn(Arc::clone(&wires).run());
        *self.wires.lock() = Some(Arc::clone(&wires));
        let started = match world.plan.vault {
            true => vault::start(&self, &world, wires, start).await,
            false => {
                let handler = Arc::clone(&self.handler) as Arc<dyn PeerHandler>;
                let started = self.start(&world, wires, start, handler).await;
                started.map(|replica| (replica, None))
            }
        };
        let (replica, core) = match started {
            Ok(started) => started,
            Err(error) => {
                *self.fatal.lock() = Some(format!("it does not start: {error}"));
                return Ok(());
            }
        };
        // As the layers above do when they start sealed.
        if core.is_none() {
            replica.set_eligible(self.handler.willing_to_lead());
        }
        let (orders, mut inbox) = mpsc::unbounded_channel();
        *self.running.lock() = Some(Running {
            status: replica.status(),
            replica: replica.clone(),
            orders,
        });
        let vault = core.map(|core| vault::User::new(&world, &self, &core, &replica));
        for number in 1..=world.plan.clients {
            match &vault {
                Some(user) => drop(tokio::spawn(user.client(number).run())),
                None => drop(tokio::spawn(self.client(&replica, &world, number).run())),
            }
        }
        if vault.is_none() {
            drop(tokio::spawn(self.client(&replica, &world, READER).read_on()));
        }
        while let Some((order, reply)) = inbox.recv().await {
            let (node, replica, world) = (Arc::clone(&self), replica.clone(), Arc::clone(&world));
            let vault = vault.clone();
            tokio::spawn(async move {
                let done = match (&order, vault) {
                    (Order::Vault(deed), Some(user)) => user.obey(deed).await,
                    _ => node.obey(&replica, &world, order.clone()).await,
                };
                world.note(format_args!("n{} {order:?}: {done:?}", node.id));
                *reply.lock() = Some(done);
            });
        }
        Ok(())
    }

    /// Starts replication on this machine.
    pub async fn start(
        &self,
        world: &Arc<World>,
        wires: Arc<Wires>,
        start: u64,
        handler: Arc<dyn PeerHandler>,
    ) -> Result<RaftReplica, Error> {
        self.log.recovered();
        self.state.flush()?;
        let fatal = Arc::clone(&self.fatal);
        let parts = Parts {
            log: Arc::clone(&self.log) as _,
            state: Arc::clone(&self.state) as _,
            transport: Arc::new(SimTransport::new(wires, self.record.key_hash)),
            clock: Arc::clone(&self.clock) as _,
            handler,
            fatal: Arc::new(move |reason: &str| {
                fatal.lock().get_or_insert_with(|| reason.to_owned());
            }),
            offload: Arc::clone(&self.disk) as _,
        };
        let mut dice = world.plan.dice().fork(self.id << 16 | start);
        let instance = u128::from(dice.next()) << 64 | u128::from(dice.next());
        let config = Config {
            cluster_id: [7; 16],
            node_id: self.id,
            data_dir: self.dir.clone(),
            instance: instance.to_be_bytes(),
            contacts: self.contacts.clone(),
            timings: world.plan.timings,
            snapshots: world.plan.snapshots,
        };
        RaftReplica::start(config, parts).await
    }

    fn client(&self, replica: &RaftReplica, world: &Arc<World>, number: u64) -> Client {
        Client {
            world: Arc::clone(world),
            replica: replica.clone(),
            dice: world
                .plan
                .dice()
                .fork(self.id << 32 | self.starts() << 8 | number),
        }
    }

    async fn obey(&self, replica: &RaftReplica, world: &Arc<World>, order: Order) -> Result<u64, String> {
        let told = match order {
            Order::Found => replica.initialize(self.record.clone()).await.map(|()| self.id),
            Order::Register(node) => propose(replica, Op::RegisterNode { node }).await,
            Order::Forget(node) => propose(replica, Op::ForgetNode { node }).await,
            Order::Change(change) => replica.change(change).await.map(|()| 0),
            Order::Write(action) => {
                self.client(replica, world, 0).write(action).await;
                Ok(0)
            }
            Order::Read => {
                self.client(replica, world, 0).read().await;
                Ok(0)
            }
            Order::Snapshot => replica.snapshot().await.map(|()| 0),
            Order::Eligible(eligible) => {
                replica.set_eligible(eligible);
                Ok(0)
            }
            Order::Vault(_) => Err(Error::Limit("orders to a vault where there is none")),
            Order::Stop => {
                replica.shutdown().await;
                Ok(0)
            }
        };
        told.map_err(|error| error.to_string())
    }
}

/// One operation on the register; the id it is about.
async fn propose(replica: &RaftReplica, op: Op) -> Result<u64, Error> {
    let command = Command {
        origin: replica.next_origin(),
        oldest_term: 0,
        now_used: replica.now(),
        expect: Vec::new(),
        ops: vec![op],
    };
    match replica.propose(command).await? {
        Outcome::Applied { node, .. } => Ok(node),
        other => Err(Error::Membership(format!("{other:?}"))),
    }
}
