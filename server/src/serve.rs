//! One server from its settings to its end: hardening, node, listeners, signals, shutdown. Reads top-down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, RetryJoin};
use crate::error::Error;
use crate::grpc;
use crate::handler::Handler;
use crate::hardening;
use crate::http::{self, Service, Surroundings};
use crate::node::{CoreHandler, Node, NodeSettings, join};
use crate::operations::{HttpMetrics, Probes, logs};
use crate::orphan;
use crate::tls::{Files, ServerTls};
use crate::wiping;

/// How long requests under way may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What the command line says about a server.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Configuration files and directories of them, in order.
    pub config: Vec<String>,
    /// Least level that is logged; empty for the configuration's.
    pub log_level: String,
    /// Form of the log, `standard` or `json`; empty for the configuration's.
    pub log_format: String,
    /// The process with which this one ends, for throw-away nodes.
    pub parent: Option<i32>,
}

/// Runs a server from its configuration files to its end.
pub async fn run(options: ServeOptions) -> Result<(), Error> {
    let (config, warnings) = config::load(&options.config)?;
    let or = |given: &str, configured: &str| if given.is_empty() { configured } else { given }.to_owned();
    let (taken, traces) = traces(&config);
    let log = logs::start(
        logs::level(&or(&options.log_level, config.log_level()))?,
        logs::format(&or(&options.log_format, config.log_format()))?,
        taken,
    )?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    hardening::harden()?;
    let mut settings = config.into_settings()?;
    settings.node.log = Some(log.clone());
    if let Some(send) = traces {
        tokio::spawn(send(settings.node.name.clone()));
    }
    let server = Server::start(settings).await?;
    let (parent, core) = (options.parent, server.node.core.clone());
    // As in Vault, the files' level counts from then on, and audit files are opened again under their names.
    let reload = move || {
        let read = config::load(&options.config).and_then(|(config, _)| {
            core.declare_audit_devices(config.audit_devices())?;
            logs::level(config.log_level())
        });
        core.reopen_audit_files();
        match read {
            Ok(wanted) => {
                if let Err(error) = log.configure(wanted) {
                    tracing::warn!(%error, "the level of the log stays as it was");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the configuration is not usable; what was read at start stays");
            }
        }
    };
    let server = server.on_hang_up(reload);
    match parent {
        Some(parent) => server.run_until(orphan::orphaned(parent)).await,
        None => server.run().await,
    }
}

/// What sends the traces of a node of this name.
type Traces = Box<dyn FnOnce(String) -> BoxFuture<'static, ()> + Send>;

/// What takes spans, and what sends them, if the files want that.
#[cfg(feature = "otlp")]
fn traces(config: &config::Config) -> (Option<logs::More>, Option<Traces>) {
    use crate::operations::traces::{Collector, Speaker, send, start};
    let Some(otlp) = config.otlp().cloned() else {
        return (None, None);
    };
    let (layer, ended) = start();
    let collector = Collector {
        host: otlp.host,
        port: otlp.port,
        tls: otlp.tls,
        path: otlp.path,
        ca_cert: otlp.ca_cert,
    };
    let traces: Traces = Box::new(move |node| Box::pin(send(collector, Speaker { node }, ended)));
    (Some(layer), Some(traces))
}

/// This build sends none, and its configuration refuses to.
#[cfg(not(feature = "otlp"))]
fn traces(_: &config::Config) -> (Option<logs::More>, Option<Traces>) {
    (None, None)
}

/// Everything a server is told.
pub struct ServeSettings {
    /// The node.
    pub node: NodeSettings,
    /// Where clients are served.
    pub listeners: Vec<ApiListener>,
    /// Where probes and metrics are served, if anywhere.
    pub operations: Option<SocketAddr>,
    /// Whether numbers are told under Vault's names too.
    pub vault_names: bool,
    /// Where traces of requests go, if anywhere.
    pub otlp: Option<config::Otlp>,
    /// Whom to ask for admission while the node belongs to no cluster.
    pub retry_join: Vec<RetryJoin>,
    /// Where to write the number of this process while it serves.
    pub pid_file: Option<PathBuf>,
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
    certificates: Vec<Arc<ServerTls>>,
    log: Option<logs::Log>,
    reload: Box<dyn FnMut() + Send>,
    _pid_file: Option<PidFile>,
}

impl Server {
    /// Brings everything up; clients are served when this returns.
    pub async fn start(settings: ServeSettings) -> Result<Self, Error> {
        let registry = prometheus::Registry::new();
        let metrics = Arc::new(HttpMetrics::new(&registry, settings.vault_names)?);
        let stop = CancellationToken::new();
        let mut bound = Vec::new();
        let mut certificates = Vec::new();
        let mut tasks = Vec::new();
        // Clients take half of the files at most: a store that may open none would end the process.
        let room = hardening::max_files() / 2 / settings.listeners.len().max(1);
        for (number, mut listener) in settings.listeners.into_iter().enumerate() {
            listener.http.max_connections = listener.http.max_connections.min(room);
            let tls = listener.tls.map(ServerTls::load).transpose()?;
            if let Some(tls) = &tls {
                let metrics = metrics.clone();
                let ends = move |end| metrics.certificate_ends(number, end);
                tasks.push(tokio::spawn(tls.clone().watch(stop.clone(), ends)));
                certificates.push(tls.clone());
            }
            bound.push(http::listen(listener.address, tls, listener.http)?);
        }
        let log = settings.node.log.clone();
        let node = Node::start(settings.node, &registry).await?;
        let handler: Arc<dyn Handler> = Arc::new(CoreHandler(node.core.clone()));
        let core = node.core.clone();
        let ready = Arc::new(move || core.readiness().is_ok());
        let service = Service::new(Surroundings {
            grpc: Some(grpc::routes(handler.clone(), ready, stop.clone())?),
            handler,
            metrics: metrics.clone(),
            scratch: settings.scratch,
            seals: node.core.seals(),
            traces: settings.otlp.as_ref().map(|otlp| otlp.one_in),
        });
        let threads = vec![tokio::runtime::Handle::current(), node.replication_threads()];
        tasks.push(tokio::spawn(wiping::after_seals(
            node.core.seals(),
            threads,
            stop.clone(),
        )));
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
        if !settings.retry_join.is_empty() {
            let asking = join::until_admitted(node.core.clone(), settings.retry_join, stop.clone());
            tasks.push(tokio::spawn(asking));
        }
        let pid_file = settings.pid_file.map(PidFile::write).transpose()?;
        Ok(Self {
            node,
            addresses,
            stop,
            tasks,
            certificates,
            log,
            reload: Box::new(|| {}),
            _pid_file: pid_file,
        })
    }

    /// What else to do when the process is told to read its files again (SIGHUP).
    #[must_use]
    pub fn on_hang_up(self, reload: impl FnMut() + Send + 'static) -> Self {
        Self {
            reload: Box::new(reload),
            ..self
        }
    }

    /// Serves until the process is told to stop, then stops in order.
    pub async fn run(self) -> Result<(), Error> {
        self.run_until(std::future::pending()).await
    }

    /// [`Server::run`], or until `end`.
    pub async fn run_until(mut self, end: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::pin!(end);
        let listen = |kind| signal(kind).map_err(|error| Error::Settings(format!("signals: {error}")));
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let mut watchdog = watchdog();
        let mut seals = self.node.core.seals();
        // Ready: a supervisor that waits for it may go on. Without one this does nothing.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = &mut end => break,
                _ = hang_up.recv() => {
                    self.reload_certificates();
                    (self.reload)();
                }
                // This thread is none of the runtime's.
                Ok(()) = seals.changed() => wiping::wipe_own(),
                _ = watchdog.tick() => {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.stop().await;
        Ok(())
    }

    fn reload_certificates(&self) {
        for certificate in &self.certificates {
            match certificate.reload() {
                Ok(()) => tracing::info!("the listener's certificate was read again"),
                Err(error) => {
                    tracing::warn!(%error, "the listener's certificate is not usable; the old one stays")
                }
            }
        }
    }

    /// Takes no more requests, lets those under way end, hands leadership over, stops the node.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.stop.cancel();
        if let Some(log) = &self.log {
            log.end_following();
        }
        join_all(self.tasks).await;
        self.node.stop().await;
        tracing::info!("stopped");
    }
}

/// Ticks twice as often as the supervisor asks to hear of us; without one that asks, hardly ever.
fn watchdog() -> tokio::time::Interval {
    const NEVER: Duration = Duration::from_secs(3600);
    let asked = sd_notify::watchdog_enabled().filter(|asked| !asked.is_zero());
    tokio::time::interval(asked.map_or(NEVER, |asked| asked / 2))
}

/// A file with the number of this process; removed when dropped.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: PathBuf) -> Result<Self, Error> {
        std::fs::write(&path, format!("{}\n", std::process::id()))
            .map_err(Error::file("cannot write", &path))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the pid file");
        }
    }
}
