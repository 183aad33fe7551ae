//! One server from its settings to its end: hardening, node, listeners, signals, shutdown. Reads top-down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::grpc;
use crate::handler::Handler;
use crate::http::{self, Service, Surroundings};
use crate::node::{CoreHandler, Node, NodeSettings};
use crate::operations::{HttpMetrics, Probes};
use crate::tls::{Files, ServerTls};

/// How long requests under way may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Everything a server is told.
pub struct ServeSettings {
    /// The node.
    pub node: NodeSettings,
    /// Where clients are served.
    pub listeners: Vec<ApiListener>,
    /// Where probes and metrics are served, if anywhere.
    pub operations: Option<SocketAddr>,
    /// Where request bodies too large for memory go.
    pub scratch: PathBuf,
}

/// One address for clients.
pub struct ApiListener {
    /// Where.
    pub address: SocketAddr,
    /// Certificate files; `None` is plain HTTP.
    pub tls: Option<Files>,
    /// Bounds and trust.
    pub http: http::Settings,
}

/// A server that is up.
pub struct Server {
    /// The node behind it.
    pub node: Node,
    /// Addresses clients can reach, in the order of the settings.
    pub addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Server {
    /// Brings everything up; clients are served when this returns.
    pub async fn start(settings: ServeSettings) -> Result<Self, Error> {
        let registry = prometheus::Registry::new();
        let metrics = Arc::new(HttpMetrics::new(&registry)?);
        let stop = CancellationToken::new();
        let mut bound = Vec::new();
        let mut tasks = Vec::new();
        for listener in settings.listeners {
            let tls = listener.tls.map(ServerTls::load).transpose()?;
            if let Some(tls) = &tls {
                metrics.certificate_ends(tls.not_after()?);
                tasks.push(tokio::spawn(tls.clone().watch(stop.clone())));
            }
            bound.push(http::listen(listener.address, tls, listener.http)?);
        }
        let node = Node::start(settings.node, &registry).await?;
        let handler: Arc<dyn Handler> = Arc::new(CoreHandler(node.core.clone()));
        let core = node.core.clone();
        let ready = Arc::new(move || core.readiness().is_ok());
        let service = Service::new(Surroundings {
            grpc: Some(grpc::routes(handler.clone(), ready, stop.clone())?),
            handler,
            metrics: metrics.clone(),
            scratch: settings.scratch,
        });
        let mut addresses = Vec::new();
        for listener in bound {
            let address = listener.address().map_err(|source| Error::Listen {
                address: String::new(),
                source,
            })?;
            addresses.push(address);
            tasks.push(tokio::spawn(listener.serve(service.clone(), stop.clone(), GRACE)));
        }
        if let Some(address) = settings.operations {
            let probes = Probes::bind(address, node.core.clone(), metrics).await?;
            tasks.push(tokio::spawn(probes.serve(stop.clone())));
        }
        Ok(Self {
            node,
            addresses,
            stop,
            tasks,
        })
    }

    /// Serves until the process is told to stop, then stops in order.
    pub async fn run(self) -> Result<(), Error> {
        // Ready: a supervisor that waits for it may go on. Without one this does nothing.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        told_to_stop().await?;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.stop().await;
        Ok(())
    }

    /// Takes no more requests, lets those under way end, hands leadership over, stops the node.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.stop.cancel();
        join_all(self.tasks).await;
        self.node.stop().await;
        tracing::info!("stopped");
    }
}

async fn told_to_stop() -> Result<(), Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::Settings(format!("signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
