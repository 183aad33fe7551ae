//! Starts replication for core over real disks and sockets, on threads of its own: a long request must not make a
//! heartbeat late.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use conclave_core::audit::Couriers;
use conclave_core::leases::Targets;
use conclave_core::logs::{Logs, NoLogs};
use conclave_core::{Error as CoreError, Launcher, Membership};
use conclave_raft::log::{Fatal, LogBackend, MemoryLog, RocksLog};
use conclave_raft::net::{NodeKey, NodeSignature, TlsTransport};
use conclave_raft::node::{Config, Parts, RaftReplica, SnapshotPolicy, SystemClock, Threads};
use conclave_raft::state::{MemoryStore, RocksStore, Store};
use conclave_raft::{NodeRecord, PeerHandler, Replica};

use crate::couriers::NetCouriers;
use crate::error::Error;
use crate::node::disk::advised;
use crate::node::targets::Drivers;
use crate::node::{DataDir, NodeSettings, ask};
use crate::temporary::Temporary;

/// Where the log and the state are kept.
type Stores = (Arc<dyn LogBackend>, Arc<dyn Store>);

/// Threads that replication runs on.
const THREADS: usize = 2;

/// The `Launcher` of a real node.
pub struct NodeLauncher {
    dir: DataDir,
    scratch: PathBuf,
    in_memory: bool,
    /// Keeps the directory of an in-memory node alive.
    _temporary: Option<Temporary>,
    key: NodeKey,
    record: NodeRecord,
    settings: NodeSettings,
    transport: Mutex<Option<Arc<TlsTransport>>>,
    running: Mutex<Option<RaftReplica>>,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    handle: tokio::runtime::Handle,
}

impl NodeLauncher {
    /// Opens the data directory and binds the address for other nodes.
    pub async fn open(mut settings: NodeSettings) -> Result<Self, Error> {
        let temporary = if settings.data.is_none() {
            Some(Temporary::make("conclave-dev")?)
        } else {
            None
        };
        let in_memory = temporary.is_some();
        let path = temporary
            .as_ref()
            .map(|temporary| temporary.path().to_owned())
            .or_else(|| settings.data.take());
        let path = path.ok_or_else(|| Error::Settings("no data directory".to_owned()))?;
        let dir = DataDir::open(&path)?;
        let scratch = dir.empty_scratch()?;
        let key = dir.node_key()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("replication")
            .enable_all()
            .build()
            .map_err(Error::file("start threads for", &path))?;
        let handle = runtime.handle().clone();
        let (listen, bind_key) = (settings.cluster_listen, dir.node_key()?);
        let bound = handle.spawn(TlsTransport::bind(listen, bind_key)).await;
        let bound = bound
            .map_err(|error| Error::Settings(error.to_string()))
            .and_then(|bound| {
                let address = listen.to_string();
                bound.map_err(|source| Error::Listen { address, source })
            });
        let transport = match bound {
            Ok(transport) => transport,
            Err(error) => {
                // A runtime must not be dropped where tasks run; this only lets it go.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        if settings.cluster_addr.is_empty() {
            settings.cluster_addr = transport.local_addr().to_string();
        }
        let record = NodeRecord {
            key_hash: key.key_hash(),
            name: settings.name.clone(),
            zone: settings.zone.clone(),
            cluster_addr: settings.cluster_addr.clone(),
            api_addr: settings.api_addr.clone(),
        };
        Ok(Self {
            dir,
            scratch,
            in_memory,
            _temporary: temporary,
            key,
            record,
            settings,
            transport: Mutex::new(Some(Arc::new(transport))),
            running: Mutex::new(None),
            runtime: Mutex::new(Some(runtime)),
            handle,
        })
    }

    /// The node's identity.
    pub fn key_hash(&self) -> [u8; 32] {
        self.key.key_hash()
    }

    /// The threads that replication runs on.
    pub fn threads(&self) -> tokio::runtime::Handle {
        self.handle.clone()
    }

    /// Hands leadership over, ends replication and its threads.
    pub async fn stop(&self) {
        let running = self.running.lock().take();
        if let Some(replica) = running {
            let stopped = self.handle.spawn(async move { replica.shutdown().await }).await;
            if let Err(error) = stopped {
                tracing::error!(%error, "replication did not stop in order");
            }
        }
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    async fn start(
        &self,
        membership: Membership,
        handler: Arc<dyn PeerHandler>,
        founds: bool,
    ) -> Result<Arc<dyn Replica>, CoreError> {
        let transport = self.transport.lock().take();
        let transport = transport.ok_or_else(|| CoreError::internal("replication was started before"))?;
        let config = Config {
            cluster_id: membership.cluster_id,
            node_id: membership.node_id,
            data_dir: self.dir.path().to_owned(),
            instance: random_instance()?,
            contacts: membership.members,
            timings: self.settings.timings,
            snapshots: SnapshotPolicy::default(),
        };
        let (log, state) = self.stores().map_err(damaged)?;
        let clock = Arc::new(SystemClock);
        let parts = Parts {
            log,
            state,
            transport,
            clock,
            handler,
            fatal: fatal(),
            offload: Arc::new(Threads),
        };
        let record = self.record.clone();
        let started = self.handle.spawn(async move {
            let replica = RaftReplica::start(config, parts).await?;
            if founds {
                replica.initialize(record).await?;
            }
            Ok::<_, conclave_raft::Error>(replica)
        });
        let replica = started
            .await
            .map_err(|error| CoreError::internal(error.to_string()))?
            .map_err(damaged)?;
        *self.running.lock() = Some(replica.clone());
        Ok(Arc::new(replica))
    }

    fn stores(&self) -> Result<Stores, conclave_raft::Error> {
        if self.in_memory {
            return Ok((Arc::new(MemoryLog::default()), Arc::new(MemoryStore::default())));
        }
        let (log, state) = (self.dir.path().join("log"), self.dir.path().join("state"));
        // Side by side: each replays what it wrote last and waits for the disk.
        let (log, state) = std::thread::scope(|scope| {
            let log = scope.spawn(|| RocksLog::open(&log));
            let state = RocksStore::open(&state);
            (log.join(), state)
        });
        let log = log.map_err(|_| conclave_raft::Error::Stopped("opening the log panicked".to_owned()))?;
        Ok((Arc::new(log?), Arc::new(state?)))
    }

    fn remember(&self, membership: &Membership) -> Result<(), CoreError> {
        self.dir
            .remember(membership)
            .map_err(|error| CoreError::internal(error.to_string()))
    }
}

impl Drop for NodeLauncher {
    fn drop(&mut self) {
        // A runtime must not be dropped where tasks run; this only lets it go.
        if let Some(runtime) = self.runtime.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}

impl Launcher for NodeLauncher {
    fn record(&self) -> NodeRecord {
        self.record.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<NodeSignature, CoreError> {
        Ok(self.key.sign(message)?)
    }

    fn targets(&self) -> Arc<dyn Targets> {
        Arc::new(Drivers::default())
    }

    fn couriers(&self) -> Arc<dyn Couriers> {
        Arc::new(NetCouriers::new(&self.record.name))
    }

    fn logs(&self) -> Arc<dyn Logs> {
        match &self.settings.log {
            Some(log) => Arc::new(log.clone()),
            None => Arc::new(NoLogs),
        }
    }

    fn seal_mark(&self) -> Result<bool, CoreError> {
        let mark = self.dir.seal_mark();
        mark.map_err(|error| CoreError::internal(error.to_string()))
    }

    fn set_seal_mark(&self, sealed: bool) -> Result<(), CoreError> {
        let set = self.dir.set_seal_mark(sealed);
        set.map_err(|error| CoreError::internal(error.to_string()))
    }

    fn membership(&self) -> Result<Option<Membership>, CoreError> {
        self.dir
            .membership()
            .map_err(|error| CoreError::internal(error.to_string()))
    }

    fn found(
        &self,
        cluster_id: [u8; 16],
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, CoreError>> {
        async move {
            let membership = Membership {
                node_id: 1,
                cluster_id,
                members: vec![(1, self.record.clone())],
            };
            self.remember(&membership)?;
            self.start(membership, handler, true).await
        }
        .boxed()
    }

    fn resume(
        &self,
        membership: Membership,
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, CoreError>> {
        async move { self.start(membership, handler, false).await }.boxed()
    }

    fn join(
        &self,
        membership: Membership,
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, CoreError>> {
        async move {
            self.remember(&membership)?;
            self.start(membership, handler, false).await
        }
        .boxed()
    }

    fn ask(
        &self,
        target: &Map<String, Value>,
        path: &str,
        body: Map<String, Value>,
    ) -> BoxFuture<'_, Result<Map<String, Value>, CoreError>> {
        ask::post(target.clone(), path.to_owned(), body).boxed()
    }

    fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }
}

/// What keeps a node from starting, with what to do about it.
fn damaged(error: conclave_raft::Error) -> CoreError {
    match error {
        conclave_raft::Error::Corrupt { .. } => CoreError::internal(advised(&error)),
        other => other.into(),
    }
}

/// Ends the process at once with one clear line: a disk that failed once cannot be trusted to have kept what was
/// acknowledged. Several threads may find out at the same time; the first one speaks.
fn fatal() -> Fatal {
    let spoken = AtomicBool::new(false);
    Arc::new(move |reason| {
        while spoken.swap(true, Ordering::SeqCst) {
            std::thread::park();
        }
        tracing::error!("this node stops: {reason}");
        std::process::abort();
    })
}

fn random_instance() -> Result<[u8; 16], CoreError> {
    let mut instance = [0u8; 16];
    let got = rustix::rand::getrandom(&mut instance, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(16) => Ok(instance),
        _ => Err(CoreError::internal("the system gives no random bytes")),
    }
}
