//! Starts the layers above replication on a simulated machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use conclave_core::leases::Targets;
use conclave_core::{Core, Error, Launcher, Membership, Settings};
use conclave_raft::net::{NodeKey, NodeSignature};
use conclave_raft::node::{Offload, RaftReplica};
use conclave_raft::{Error as RaftError, NodeRecord, PeerHandler, Replica};
use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::node::Node;
use crate::vault::target::Way;
use crate::wire::Wires;
use crate::world::World;

/// The running replica and what runs on it.
type Started = (RaftReplica, Option<Arc<Core>>);

/// Starts a node of a vault, which is sealed.
pub async fn start(
    node: &Arc<Node>,
    world: &Arc<World>,
    wires: Arc<Wires>,
    start: u64,
) -> Result<Started, RaftError> {
    node.sealed.store(true, Ordering::Relaxed);
    world.check(|all| {
        all.sealed.closed(node.id);
        Ok(())
    });
    let launcher = Arc::new(SimLauncher {
        node: Arc::clone(node),
        world: Arc::clone(world),
        wires,
        start,
        running: Mutex::default(),
    });
    let core = Core::new(
        Settings::default(),
        conclave_engines::secret_engines(),
        Arc::clone(&launcher) as Arc<dyn Launcher>,
        &prometheus::Registry::new(),
    );
    let core = core.map_err(|error| RaftError::Storage(error.to_string()))?;
    let resumed = core.resume().await;
    resumed.map_err(|error| RaftError::Storage(error.to_string()))?;
    core.start_jobs();
    let replica = launcher.running.lock().take();
    Ok((replica.expect("it resumed"), Some(core)))
}

struct SimLauncher {
    node: Arc<Node>,
    world: Arc<World>,
    wires: Arc<Wires>,
    start: u64,
    running: Mutex<Option<RaftReplica>>,
}

fn elsewhere<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    async { Err(Error::Unsupported("the simulation does this itself".to_owned())) }.boxed()
}

impl Launcher for SimLauncher {
    fn record(&self) -> NodeRecord {
        self.node.record.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<NodeSignature, Error> {
        Ok(NodeKey::generate()?.sign(message)?)
    }

    fn seal_mark(&self) -> Result<bool, Error> {
        Ok(self.node.marked.load(Ordering::Relaxed))
    }

    fn set_seal_mark(&self, sealed: bool) -> Result<(), Error> {
        self.node.marked.store(sealed, Ordering::Relaxed);
        Ok(())
    }

    fn membership(&self) -> Result<Option<Membership>, Error> {
        Ok(Some(Membership {
            node_id: self.node.id,
            cluster_id: [7; 16],
            members: self.node.contacts.clone(),
        }))
    }

    fn found(&self, _: [u8; 16], _: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        elsewhere()
    }

    fn resume(
        &self,
        _: Membership,
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        async move {
            let wires = Arc::clone(&self.wires);
            let replica = self.node.start(&self.world, wires, self.start, handler).await?;
            *self.running.lock() = Some(replica.clone());
            Ok(Arc::new(replica) as Arc<dyn Replica>)
        }
        .boxed()
    }

    fn join(&self, _: Membership, _: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        elsewhere()
    }

    fn ask(
        &self,
        _: &Map<String, Value>,
        _: &str,
        _: Map<String, Value>,
    ) -> BoxFuture<'_, Result<Map<String, Value>, Error>> {
        elsewhere()
    }

    fn targets(&self) -> Arc<dyn Targets> {
        let number = self.node.id << 8 | self.node.starts();
        Arc::new(Way {
            world: Arc::clone(&self.world),
            node: Arc::clone(&self.node),
            dice: Mutex::new(self.world.plan.dice().fork(number)),
        })
    }

    fn offload(&self) -> Arc<dyn Offload> {
        Arc::clone(&self.node.disk) as _
    }

    fn scratch(&self) -> PathBuf {
        self.node.dir.join("scratch")
    }
}
