//! A node of a cluster, put together: data directory, identity, stores, transport between nodes, core, jobs. Listeners and
//! configuration files are others' business.

mod ask;
mod disk;
pub(crate) mod join;
mod launcher;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use conclave_core::{Core, Request, Response};
use conclave_raft::node::Timings;

use crate::error::Error;
use crate::handler::Handler;

pub use disk::DataDir;
pub use launcher::NodeLauncher;

/// What a node is made from.
pub struct NodeSettings {
    /// Where it keeps its data; `None` keeps everything in memory, for development servers.
    pub data: Option<PathBuf>,
    /// Where it listens for other nodes.
    pub cluster_listen: SocketAddr,
    /// Where other nodes reach it, `host:port`; empty takes the bound address.
    pub cluster_addr: String,
    /// URL under which clients reach it.
    pub api_addr: String,
    /// Its name for operators.
    pub name: String,
    /// Its failure zone.
    pub zone: String,
    /// Intervals of the protocol between nodes.
    pub timings: Timings,
    /// What core needs.
    pub core: conclave_core::Settings,
}

/// A running node.
pub struct Node {
    /// Answers requests.
    pub core: Arc<Core>,
    launcher: Arc<NodeLauncher>,
    jobs: tokio::task::JoinHandle<()>,
}

impl Node {
    /// Opens the data directory, takes part again in the cluster it remembers, and starts the jobs.
    pub async fn start(settings: NodeSettings, registry: &prometheus::Registry) -> Result<Self, Error> {
        crate::mutants::warn();
        let core_settings = settings.core.clone();
        let launcher = Arc::new(NodeLauncher::open(settings).await?);
        let core = Core::new(
            core_settings,
            conclave_engines::secret_engines(),
            launcher.clone(),
            registry,
        )?;
        core.resume().await?;
        let jobs = core.start_jobs();
        Ok(Self { core, launcher, jobs })
    }

    /// Hands leadership over and stops taking part.
    pub async fn stop(self) {
        self.jobs.abort();
        self.launcher.stop().await;
    }
}

/// Core as transports see it.
pub struct CoreHandler(pub Arc<Core>);

impl Handler for CoreHandler {
    fn handle(&self, request: Request) -> BoxFuture<'_, Result<Response, conclave_core::Error>> {
        Box::pin(self.0.handle(request))
    }

    fn admits<'h>(&'h self, request: &'h Request) -> BoxFuture<'h, Result<(), conclave_core::Error>> {
        Box::pin(self.0.admits(request))
    }

    fn observe(&self) {
        self.0.observe();
    }
}
