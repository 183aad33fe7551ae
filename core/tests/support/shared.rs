//! Nodes over one replica that is handed in: several beside each other, or one whose commands are watched.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use conclave_core::leases::Targets;
use conclave_core::{Core, Error, Launcher, Membership};
use conclave_raft::net::{NodeKey, NodeSignature};
use conclave_raft::{NodeRecord, PeerHandler, Replica};

use super::Node;

/// A node on `replica`, with everything else as `like` has it. It belongs to no cluster before it founds or resumes one.
pub fn node_on(like: &Node, replica: &Arc<dyn Replica>) -> Node {
    let registry = prometheus::Registry::new();
    let core = Core::new(
        like.settings.clone(),
        conclave_engines::engines(),
        Arc::new(Shared(replica.clone(), like.targets.clone())),
        &registry,
    );
    Node {
        registry,
        core: core.unwrap(),
        clock: like.clock.clone(),
        store: like.store.clone(),
        settings: like.settings.clone(),
        root: like.root.clone(),
        shares: like.shares.clone(),
        targets: like.targets.clone(),
        couriers: Arc::new(conclave_core::audit::NoCouriers),
    }
}

/// Hands the same replica and the same targets to every node.
struct Shared(Arc<dyn Replica>, Arc<dyn Targets>);

impl Shared {
    fn replica(&self) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        async { Ok(self.0.clone()) }.boxed()
    }
}

impl Launcher for Shared {
    fn record(&self) -> NodeRecord {
        NodeRecord::default()
    }

    fn sign(&self, message: &[u8]) -> Result<NodeSignature, Error> {
        Ok(NodeKey::generate()?.sign(message)?)
    }

    fn targets(&self) -> Arc<dyn Targets> {
        self.1.clone()
    }

    fn seal_mark(&self) -> Result<bool, Error> {
        Ok(false)
    }

    fn set_seal_mark(&self, _: bool) -> Result<(), Error> {
        Ok(())
    }

    fn membership(&self) -> Result<Option<Membership>, Error> {
        Ok(Some(Membership {
            node_id: 1,
            cluster_id: [7; 16],
            members: Vec::new(),
        }))
    }

    fn found(&self, _: [u8; 16], _: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.replica()
    }

    fn resume(
        &self,
        _: Membership,
        _: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.replica()
    }

    fn join(&self, _: Membership, _: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        self.replica()
    }

    fn ask(
        &self,
        _: &Map<String, Value>,
        _: &str,
        _: Map<String, Value>,
    ) -> BoxFuture<'_, Result<Map<String, Value>, Error>> {
        async { Err(Error::Unsupported("asking over a shared replica".into())) }.boxed()
    }

    fn scratch(&self) -> std::path::PathBuf {
        std::env::temp_dir()
    }
}
