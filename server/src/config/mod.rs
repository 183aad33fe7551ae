//! Configuration of one node: HCL or JSON files with OpenBao's stanzas. Node settings only: what belongs to the cluster is
//! replicated state and is not read here.

mod audit;
pub mod duration;
mod keys;
mod listener;
mod lockout;
mod otlp;
mod settings;
mod shown;
mod source;
mod storage;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conclave_core::PeerUnseal;
use conclave_core::audit::Declared;
use conclave_core::auth::LockoutSettings;
use conclave_hcl::Body;

use crate::error::Error;
use crate::operations::logs;
use crate::tls::Files;

use listener::TcpListener;
use source::{Source, located};
use storage::Storage;

pub use otlp::Otlp;
pub(crate) use source::socket;
pub use storage::RetryJoin;

/// Prefixes of environment variables, in the order in which they count.
const PREFIXES: [&str; 3] = ["CONCLAVE", "BAO", "VAULT"];

/// Addresses that a node tells others.
pub(crate) struct Told {
    /// For clients.
    pub api: Option<String>,
    /// For nodes.
    pub cluster: Option<String>,
}

/// What is listened at.
pub(crate) struct Listened {
    /// For clients.
    pub address: SocketAddr,
    /// For nodes.
    pub cluster_address: SocketAddr,
    /// Whether it speaks plain HTTP.
    pub tls_disable: bool,
    /// Its certificate files, if the files name any.
    pub files: Option<Files>,
}

/// What the files of one node say.
#[derive(Debug, Clone, Default)]
pub struct Config {
    cluster_name: Option<String>,
    cluster_addr: Option<String>,
    api_addr: Option<String>,
    zone: Option<String>,
    operations_address: Option<String>,
    vault_names: bool,
    otlp: Option<Otlp>,
    audit_directories: Vec<PathBuf>,
    audit_targets: Vec<String>,
    audit_devices: Vec<Declared>,
    lockout: HashMap<String, LockoutSettings>,
    default_lease_ttl: Option<Duration>,
    max_lease_ttl: Option<Duration>,
    max_request_duration: Option<Duration>,
    compare_interval: Option<Duration>,
    log_level: Option<String>,
    log_format: Option<String>,
    pid_file: Option<PathBuf>,
    unauthenticated_rekey: bool,
    unauthenticated_generate_root: bool,
    peer_unseal: Option<PeerUnseal>,
    listeners: Vec<TcpListener>,
    storage: Option<Storage>,
}

/// Reads files and directories of files (`*.hcl`, `*.json`, in order of their names), merged: of a single value the last
/// counts, lists grow. Environment variables (`CONCLAVE_API_ADDR` and the like) count more. Also returns what to warn of.
pub fn load(paths: &[String]) -> Result<(Config, Vec<String>), Error> {
    let (mut config, warnings) = read(paths)?;
    config.overrule(|name| std::env::var(name).ok());
    config.check()?;
    Ok((config, warnings))
}

/// Reads files for a development server, which brings its own listener and storage: naming others is refused, for they would
/// not be used.
pub fn load_for_dev(paths: &[String]) -> Result<(Config, Vec<String>), Error> {
    if paths.is_empty() {
        return Ok(Default::default());
    }
    let (config, warnings) = read(paths)?;
    if !config.listeners.is_empty() || config.storage.is_some() {
        let message = "a development server brings its own listener and storage: leave those stanzas out";
        return Err(Error::Settings(message.to_owned()));
    }
    if config.otlp.is_some() {
        let message = "otlp_endpoint: a development server sends no traces";
        return Err(Error::Settings(message.to_owned()));
    }
    Ok((config, warnings))
}

/// Checks everything that can be checked without starting: keys, values, addresses, certificates. Returns what to warn of.
pub fn validate(paths: &[String]) -> Result<Vec<String>, Error> {
    let (config, warnings) = load(paths)?;
    config.check_files()?;
    Ok(warnings)
}

fn read(paths: &[String]) -> Result<(Config, Vec<String>), Error> {
    let mut config = Config::default();
    let mut warnings = Vec::new();
    for path in files_of(paths)? {
        let text = std::fs::read_to_string(&path).map_err(Error::file("cannot read", &path))?;
        let file = path.display().to_string();
        let body = conclave_hcl::parse(&text).map_err(|error| located(&file, &error))?;
        let mut source = Source {
            file,
            warnings: &mut warnings,
        };
        config.merge(&body, &mut source)?;
    }
    Ok((config, warnings))
}

fn files_of(paths: &[String]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths.iter().map(Path::new) {
        if path.as_os_str().is_empty() {
            return Err(Error::Settings(
                "the name of a configuration file is empty".to_owned(),
            ));
        }
        if !path.is_dir() {
            files.push(path.to_owned());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(Error::file("cannot read", path))?;
        let mut found = BTreeSet::new();
        for entry in entries {
            let path = entry.map_err(Error::file("cannot read", path))?.path();
            if path.extension().is_some_and(|end| end == "hcl" || end == "json") {
                found.insert(path);
            }
        }
        files.extend(found);
    }
    if files.is_empty() {
        return Err(Error::Settings("no configuration files found".to_owned()));
    }
    Ok(files)
}

impl Config {
    fn merge(&mut self, body: &Body, source: &mut Source<'_>) -> Result<(), Error> {
        source.check_keys(body, keys::TOP)?;
        let text = |key: &str| source.text(body, key);
        let texts = [
            (&mut self.cluster_name, "cluster_name"),
            (&mut self.cluster_addr, "cluster_addr"),
            (&mut self.api_addr, "api_addr"),
            (&mut self.zone, "zone"),
            (&mut self.operations_address, "operations_address"),
            (&mut self.log_level, "log_level"),
            (&mut self.log_format, "log_format"),
        ];
        for (slot, key) in texts {
            merge_into(slot, text(key)?);
        }
        merge_into(&mut self.pid_file, text("pid_file")?.map(PathBuf::from));
        let durations = [
            (&mut self.default_lease_ttl, "default_lease_ttl"),
            (&mut self.max_lease_ttl, "max_lease_ttl"),
            (&mut self.compare_interval, "compare_interval"),
            (&mut self.max_request_duration, "default_max_request_duration"),
        ];
        for (slot, key) in durations {
            merge_into(slot, source.duration(body, key)?);
        }
        let directories = source.texts(body, "audit_directories")?;
        self.audit_directories
            .extend(directories.into_iter().map(PathBuf::from));
        self.audit_targets.extend(source.texts(body, "audit_targets")?);
        for device in audit::read(body, source)? {
            if self.audit_devices.iter().any(|known| known.path == device.path) {
                let message = format!("audit device {:?} is declared twice", device.path);
                return Err(source.at(body.pos, message));
            }
            self.audit_devices.push(device);
        }
        self.lockout.extend(lockout::read(body, source)?);
        if let Some(text) = source.text(body, "peer_unseal")? {
            let setting = PeerUnseal::parse(&text).ok_or_else(|| {
                let message =
                    format!("peer_unseal: {text:?} is not known: use \"off\", \"ceremony\" or \"always\"");
                source.at_key(body, "peer_unseal", message)
            })?;
            self.peer_unseal = Some(setting);
        }
        self.merge_access(body, source)?;
        self.merge_blocks(body, source)
    }

    fn merge_access(&mut self, body: &Body, source: &mut Source<'_>) -> Result<(), Error> {
        let key = "enable_unauthenticated_access";
        for family in source.texts(body, key)? {
            match family.as_str() {
                "rekey" => self.unauthenticated_rekey = true,
                "generate-root" => self.unauthenticated_generate_root = true,
                _ => {
                    let message =
                        format!("{key}: {family:?} is not known: use \"rekey\" and \"generate-root\"");
                    return Err(source.at_key(body, key, message));
                }
            }
        }
        Ok(())
    }

    fn merge_blocks(&mut self, body: &Body, source: &mut Source<'_>) -> Result<(), Error> {
        for section in body
            .sections("listener", 1)
            .map_err(|error| source.wrong(error))?
        {
            let kind = section.labels.first().map_or("", |label| label.name.as_str());
            if kind != "tcp" {
                let message = format!("listener {kind:?} is not supported: use \"tcp\"");
                return Err(source.at(section.pos, message));
            }
            let listener = TcpListener::read(section.body, source)?;
            self.unauthenticated_rekey |= listener.unauthenticated_rekey;
            self.unauthenticated_generate_root |= listener.unauthenticated_generate_root;
            self.listeners.push(listener);
        }
        for name in ["storage", "backend"] {
            for section in body.sections(name, 1).map_err(|error| source.wrong(error))? {
                let kind = section.labels.first().map_or("", |label| label.name.as_str());
                let storage = Storage::read(kind, section.body, section.pos, source)?;
                if self.storage.replace(storage).is_some() {
                    return Err(source.at(section.pos, "storage is set twice"));
                }
            }
        }
        for section in body
            .sections("telemetry", 0)
            .map_err(|error| source.wrong(error))?
        {
            source.check_keys(section.body, keys::TELEMETRY)?;
            self.vault_names |= source.bool(section.body, "vault_names")?;
            merge_into(&mut self.otlp, otlp::read(section.body, source)?);
        }
        for section in body.sections("seal", 1).map_err(|error| source.wrong(error))? {
            let kind = section.labels.first().map_or("", |label| label.name.as_str());
            if kind != "shamir" {
                let message = format!("seal {kind:?} is not supported: this build has the Shamir seal");
                return Err(source.at(section.pos, message));
            }
        }
        Ok(())
    }

    /// Lets environment variables overrule the files, as OpenBao does.
    fn overrule(&mut self, variable: impl Fn(&str) -> Option<String>) {
        let named = |name: &str| {
            PREFIXES
                .iter()
                .find_map(|prefix| variable(&format!("{prefix}_{name}")))
                .filter(|value| !value.is_empty())
        };
        merge_into(&mut self.api_addr, named("API_ADDR"));
        merge_into(&mut self.cluster_addr, named("CLUSTER_ADDR"));
        merge_into(&mut self.zone, named("ZONE"));
        if let Some(Storage::Raft {
            path,
            node_id,
            retry_join,
            ..
        }) = &mut self.storage
        {
            // As in OpenBao, any value will do.
            if named("RAFT_RETRY_JOIN_AS_NON_VOTER").is_some() {
                retry_join.iter_mut().for_each(RetryJoin::without_a_vote);
            }
            if let Some(named) = named("RAFT_PATH") {
                *path = PathBuf::from(named);
            }
            merge_into(node_id, named("RAFT_NODE_ID"));
        }
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |text: &str| Err(Error::Settings(text.to_owned()));
        if self.listeners.is_empty() {
            return wrong("no listener: add listener \"tcp\" { address = \"127.0.0.1:8200\" }");
        }
        let Some(storage) = &self.storage else {
            return wrong("no storage: add storage \"raft\" { path = \"/var/lib/conclave\" }");
        };
        if matches!(storage, Storage::Raft { .. }) && self.cluster_addr.is_none() {
            return wrong("cluster_addr is required: https://HOST:PORT where other nodes reach this one");
        }
        if !self.audit_devices.is_empty() && self.audit_directories.is_empty() {
            return wrong(
                "audit devices need audit_directories: the directories in which their files may lie",
            );
        }
        logs::level(self.log_level())?;
        logs::format(self.log_format())?;
        if self.default_lease_ttl > self.max_lease_ttl && self.max_lease_ttl.is_some() {
            return wrong("default_lease_ttl is above max_lease_ttl");
        }
        Ok(())
    }

    /// Where the node keeps its data, unless it keeps it in memory.
    pub(crate) fn data_path(&self) -> Option<&Path> {
        match &self.storage {
            Some(Storage::Raft { path, .. }) => Some(path),
            Some(Storage::InMemory) | None => None,
        }
    }

    /// Directories in which audit files may lie.
    pub(crate) fn audit_directories(&self) -> &[PathBuf] {
        &self.audit_directories
    }

    /// Addresses that are told to others, as far as they are set.
    pub(crate) fn told_addresses(&self) -> Told {
        Told {
            api: self.api_addr.clone(),
            cluster: self.cluster_addr.clone(),
        }
    }

    /// What is listened at for clients and nodes.
    pub(crate) fn listened(&self) -> Vec<Listened> {
        let listeners = self.listeners.iter();
        listeners
            .map(|listener| Listened {
                address: listener.address,
                cluster_address: listener.cluster_address(),
                tls_disable: listener.tls_disable,
                files: Some(listener.files.clone()).filter(|files| !files.certificate.as_os_str().is_empty()),
            })
            .collect()
    }

    /// What is listened at for probes and metrics, if anything.
    pub(crate) fn operations_listened(&self) -> Option<SocketAddr> {
        self.operations().ok().flatten()
    }

    /// Audit devices that the files declare.
    pub fn audit_devices(&self) -> &[Declared] {
        &self.audit_devices
    }

    /// Level of the log.
    pub fn log_level(&self) -> &str {
        self.log_level.as_deref().unwrap_or("info")
    }

    /// Where traces of requests go, if anywhere.
    pub fn otlp(&self) -> Option<&Otlp> {
        self.otlp.as_ref()
    }

    /// Form of the log.
    pub fn log_format(&self) -> &str {
        self.log_format.as_deref().unwrap_or("standard")
    }
}

fn merge_into<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
