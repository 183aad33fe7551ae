//! A node of a cluster, put together: data directory, identity, stores, transport between nodes, core, jobs. Listeners and
//! configuration files are others' business.

mod ask;
mod disk;
pub(crate) mod join;
mod launcher;
mod space;
mod targets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use conclave_core::{Browsers, Core, Launcher as _, Request, Response};
use conclave_raft::meter::TRACES;
use conclave_raft::node::Timings;
use tracing::Instrument;

use crate::error::Error;
use crate::handler::Handler;
use crate::operations::logs::Log;

pub use disk::DataDir;
pub use launcher::NodeLauncher;

/// What a node is made from.
pub struct NodeSettings {
    /// Where it keeps its data; `None` keeps everything in memory, for development servers.
    pub data: Option<PathBuf>,
    /// Bytes that must be free there for the node to take writes; 0 is no bound.
    pub min_free: u64,
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
    /// The log of this process, if it is this node's.
    pub log: Option<Log>,
    /// What core needs.
    pub core: conclave_core::Settings,
}

/// A running node.
pub struct Node {
    /// Answers requests.
    pub core: Arc<Core>,
    launcher: Arc<NodeLauncher>,
    jobs: tokio::task::JoinHandle<()>,
    space: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    /// Opens the data directory, takes part again in the cluster it remembers, and starts the jobs.
    pub async fn start(settings: NodeSettings, registry: &prometheus::Registry) -> Result<Self, Error> {
        crate::mutants::warn();
        let core_settings = settings.core.clone();
        let measured = settings.data.clone().map(|data| (data, settings.min_free));
        let launcher = Arc::new(NodeLauncher::open(settings).await?);
        let core = Core::new(
            core_settings,
            conclave_engines::engines(),
            launcher.clone(),
            registry,
        )?;
        core.resume().await?;
        if launcher.membership().is_ok_and(|known| known.is_none()) {
            tracing::info!(
                fingerprint = core.fingerprint(),
                "this node belongs to no cluster yet"
            );
        }
        let jobs = core.start_jobs();
        let space = measured.map(|(data, min_free)| {
            let core = core.clone();
            tokio::spawn(async move { space::watch(core, &data, min_free).await })
        });
        Ok(Self {
            core,
            launcher,
            jobs,
            space,
        })
    }

    /// The threads that replication runs on.
    pub fn replication_threads(&self) -> tokio::runtime::Handle {
        self.launcher.threads()
    }

    /// Hands leadership over and stops taking part.
    pub async fn stop(self) {
        self.core.prepare_to_end().await;
        self.jobs.abort();
        if let Some(space) = &self.space {
            space.abort();
        }
        self.launcher.stop().await;
    }
}

/// Core as transports see it.
pub struct CoreHandler(pub Arc<Core>);

impl Handler for CoreHandler {
    fn handle(&self, request: Request) -> BoxFuture<'_, Result<Response, conclave_core::Error>> {
        let span = tracing::trace_span!(
            target: TRACES,
            "core.request",
            operation = request.verb.name(),
            mount_type = tracing::field::Empty,
        );
        Box::pin(self.0.handle(request).instrument(span))
    }

    fn admits<'h>(&'h self, request: &'h Request) -> BoxFuture<'h, Result<(), conclave_core::Error>> {
        Box::pin(self.0.admits(request))
    }

    fn browsers(&self) -> Option<Arc<Browsers>> {
        self.0.browsers()
    }

    fn observe(&self) {
        self.0.observe();
    }
}
