//! From what the files say to what a server is started with: defaults that depend on each other, addresses, certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use conclave_raft::node::Timings;

use super::Config;
use super::listener::TcpListener;
use super::source::socket;
use super::storage::Storage;
use crate::error::Error;
use crate::node::NodeSettings;
use crate::serve::{ApiListener, ServeSettings};
use crate::tls::{Files, Made, ServerTls};

/// Where probes and metrics are served unless told otherwise.
const OPERATIONS: &str = "127.0.0.1:8202";

impl Config {
    /// What a server is started with. Makes a certificate for listeners that name none.
    pub fn into_settings(self) -> Result<ServeSettings, Error> {
        let first = self
            .listeners
            .first()
            .ok_or_else(|| Error::Settings("no listener".to_owned()))?;
        let api_addr = self.api_addr.clone().unwrap_or_else(|| api_addr(first));
        let cluster_listen = first.cluster_address();
        let core = self.core_settings();
        let operations = self.operations()?;
        let (data, name, min_free, retry_join) = match self.storage {
            Some(Storage::Raft {
                path,
                node_id,
                min_free,
                retry_join,
            }) => (Some(path), node_id, min_free, retry_join),
            _ => (None, None, 0, Vec::new()),
        };
        let mut listeners = Vec::new();
        for listener in self.listeners {
            let tls = files(&listener, data.as_deref(), &api_addr)?;
            let mut http = listener.http;
            http.timeouts.request = listener
                .max_request_duration
                .or(self.max_request_duration)
                .unwrap_or(http.timeouts.request);
            listeners.push(ApiListener {
                address: listener.address,
                tls,
                http,
            });
        }
        let cluster_addr = self
            .cluster_addr
            .as_deref()
            .map(host_and_port)
            .unwrap_or_default();
        Ok(ServeSettings {
            scratch: data.clone().unwrap_or_else(std::env::temp_dir).join("scratch"),
            node: NodeSettings {
                data,
                min_free,
                cluster_listen,
                cluster_addr: cluster_addr.to_owned(),
                api_addr,
                name: name.unwrap_or_else(host_name),
                zone: self.zone.unwrap_or_default(),
                timings: Timings::default(),
                log: None,
                core,
            },
            listeners,
            operations,
            vault_names: self.vault_names,
            otlp: self.otlp,
            retry_join,
            pid_file: self.pid_file,
        })
    }

    /// Whether certificates named by the files can be used.
    pub(super) fn check_files(&self) -> Result<(), Error> {
        self.operations()?;
        for listener in &self.listeners {
            if !listener.tls_disable && !listener.files.certificate.as_os_str().is_empty() {
                ServerTls::load(listener.files.clone())?;
            }
        }
        Ok(())
    }

    pub(super) fn operations(&self) -> Result<Option<SocketAddr>, Error> {
        let text = self.operations_address.as_deref().unwrap_or(OPERATIONS);
        if text.is_empty() {
            return Ok(None);
        }
        let address = socket(text);
        address
            .map(Some)
            .map_err(|message| Error::Settings(format!("operations_address: {message}")))
    }

    /// What a development server is told of this. Where files say nothing, audit files may lie among temporary files and where
    /// it was started.
    pub fn dev_settings(&self) -> conclave_core::Settings {
        let mut core = self.core_settings();
        core.storage_type = "inmem".to_owned();
        if core.audit_directories.is_empty() {
            core.audit_directories = std::env::current_dir().into_iter().collect();
            core.audit_directories.push(std::env::temp_dir());
        }
        if core.audit_targets.is_empty() {
            core.audit_targets.push("*".to_owned());
        }
        core
    }

    fn core_settings(&self) -> conclave_core::Settings {
        let mut core = conclave_core::Settings {
            shown: self.shown(),
            audit_directories: self.audit_directories.clone(),
            audit_targets: self.audit_targets.clone(),
            audit_devices: self.audit_devices.clone(),
            lockout: self.lockout.clone(),
            unauthenticated_rekey: self.unauthenticated_rekey,
            unauthenticated_generate_root: self.unauthenticated_generate_root,
            peer_unseal: self.peer_unseal.unwrap_or_default(),
            ..Default::default()
        };
        if let Some(every) = self.compare_interval {
            core.compare_every = every;
        }
        if let Some(name) = &self.cluster_name {
            core.cluster_name.clone_from(name);
        }
        if let Some(ttl) = self.max_lease_ttl {
            core.max_lease_ttl = millis(ttl);
        }
        let default = self.default_lease_ttl.map_or(core.default_lease_ttl, millis);
        core.default_lease_ttl = default.min(core.max_lease_ttl);
        if matches!(self.storage, Some(Storage::InMemory)) {
            core.storage_type = "inmem".to_owned();
        }
        core
    }
}

/// The listener's own URL; for one that listens on all addresses, under the machine's name.
fn api_addr(listener: &TcpListener) -> String {
    let scheme = if listener.tls_disable { "http" } else { "https" };
    if listener.address.ip().is_unspecified() {
        format!("{scheme}://{}:{}", host_name(), listener.address.port())
    } else {
        format!("{scheme}://{}", listener.address)
    }
}

/// `https://host:port` or `host:port` without what surrounds it.
fn host_and_port(address: &str) -> &str {
    let bare = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    bare.trim_end_matches('/')
}

fn files(listener: &TcpListener, data: Option<&Path>, api_addr: &str) -> Result<Option<Files>, Error> {
    if listener.tls_disable {
        return Ok(None);
    }
    if !listener.files.certificate.as_os_str().is_empty() {
        return Ok(Some(listener.files.clone()));
    }
    let dir = data.ok_or_else(|| {
        Error::Settings("a listener without tls_cert_file needs storage \"raft\"".to_owned())
    })?;
    let named = host_and_port(api_addr);
    let host = named
        .rsplit_once(':')
        .map_or(named, |(host, _)| host)
        .trim_matches(['[', ']']);
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let bound = listener.address.ip();
    let more = [
        (!bound.is_unspecified()).then(|| bound.to_string()),
        Some(host.to_owned()),
        Some(host_name()),
    ];
    for name in more.into_iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let made = Made {
        dir: dir.join("tls"),
        names,
    };
    let (issued, ca) = made.ensure()?;
    tracing::info!(ca = %ca.display(), "the listener's certificate was made here; give clients this authority");
    Ok(Some(Files {
        certificate: issued.certificate,
        key: issued.key,
        made: Some(made),
        ..listener.files.clone()
    }))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
