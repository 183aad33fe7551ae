//! What core needs from the process around it to belong to a cluster: a node identity on disk, a replica over real
//! transports, a way to ask a member for admission. Implemented by the server; core must not know how.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use conclave_raft::net::NodeSignature;
use conclave_raft::node::{Offload, Threads};
use conclave_raft::{NodeRecord, PeerHandler, Replica};

use crate::audit::{Couriers, NoCouriers};
use crate::error::Error;
use crate::leases::{NoTargets, Targets};
use crate::logs::{Logs, NoLogs};

/// The cluster a node belongs to. Kept on its disk in the clear: a sealed node must rejoin by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// This node's id.
    pub node_id: u64,
    /// Names the cluster to its members; new when a snapshot is restored into a new cluster.
    pub cluster_id: [u8; 16],
    /// Members known when joining, so that the first contact can be authenticated.
    pub members: Vec<(u64, NodeRecord)>,
}

/// Starts replication for core.
pub trait Launcher: Send + Sync + 'static {
    /// How this node enters the register: key hash, name, zone, addresses.
    fn record(&self) -> NodeRecord;

    /// Signs with the node's key. The message begins with what no other use of the key begins with.
    fn sign(&self, message: &[u8]) -> Result<NodeSignature, Error>;

    /// Whether an operator sealed this node: kept on its disk.
    fn seal_mark(&self) -> Result<bool, Error>;

    /// Sets or lifts the mark of an operator's seal, durably.
    fn set_seal_mark(&self, sealed: bool) -> Result<(), Error>;

    /// The cluster this node belonged to when it last ran.
    fn membership(&self) -> Result<Option<Membership>, Error>;

    /// Founds a cluster with this node as its only voter and id 1, and remembers the membership durably.
    fn found(
        &self,
        cluster_id: [u8; 16],
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>>;

    /// Takes part in the remembered cluster again.
    fn resume(
        &self,
        membership: Membership,
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>>;

    /// Enters a cluster that has admitted this node, and remembers the membership durably.
    fn join(
        &self,
        membership: Membership,
        handler: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>>;

    /// Posts `body` to `/v1/<path>` of another node's API and returns the `data` of its answer. `target` is what
    /// `raft join` was given: `leader_api_addr`, `leader_ca_cert` and the like.
    fn ask(
        &self,
        target: &Map<String, Value>,
        path: &str,
        body: Map<String, Value>,
    ) -> BoxFuture<'_, Result<Map<String, Value>, Error>>;

    /// Who carries out plans outside the cluster.
    fn targets(&self) -> Arc<dyn Targets> {
        Arc::new(NoTargets)
    }

    /// Who takes audit records to targets outside.
    fn couriers(&self) -> Arc<dyn Couriers> {
        Arc::new(NoCouriers)
    }

    /// The log of this process.
    fn logs(&self) -> Arc<dyn Logs> {
        Arc::new(NoLogs)
    }

    /// Where work runs that blocks: on threads of its own, unless a simulation has a place for it.
    fn offload(&self) -> Arc<dyn Offload> {
        Arc::new(Threads)
    }

    /// A directory for files on their way in or out (snapshots), on the data disk.
    fn scratch(&self) -> std::path::PathBuf;
}
