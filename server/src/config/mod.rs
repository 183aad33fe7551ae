//! Configuration of one node: HCL or JSON files with OpenBao's stanzas. Node settings only: what belongs to the cluster is
//! replicated state and is not read here.

pub mod duration;
mod keys;
mod listener;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use conclave_hcl::{Body, Pos};
use conclave_raft::node::Timings;

use crate::error::Error;
use crate::node::NodeSettings;
use crate::serve::{ApiListener, ServeSettings};
use crate::tls::{Files, ensure_listener_cert};

use keys::{Fate, fate, nearest};
use listener::TcpListener;

/// Where probes and metrics are served unless told otherwise.
const OPERATIONS: &str = "127.0.0.1:8202";

/// What the files of one node say.
#[derive(Debug, Clone, Default)]
pub struct Config {
    cluster_name: Option<String>,
    cluster_addr: Option<String>,
    api_addr: Option<String>,
    zone: Option<String>,
    operations_address: Option<String>,
    audit_directories: Vec<PathBuf>,
    default_lease_ttl: Option<Duration>,
    max_lease_ttl: Option<Duration>,
    log_level: Option<String>,
    log_format: Option<String>,
    listeners: Vec<TcpListener>,
    storage: Option<Storage>,
}

#[derive(Debug, Clone)]
enum Storage {
    Raft { path: PathBuf, node_id: Option<String> },
    InMemory,
}

/// Reads files and directories of files (`*.hcl`, `*.json`, in order of their names), merged. Also returns what to warn of.
pub fn load(paths: &[String]) -> Result<(Config, Vec<String>), Error> {
    let mut config = Config::default();
    let mut warnings = Vec::new();
    for path in files_of(paths)? {
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let file = path.display().to_string();
        let body = conclave_hcl::parse(&text).map_err(|error| located(&file, &error))?;
        let mut source = Source {
            file,
            warnings: &mut warnings,
        };
        config.merge(&body, &mut source)?;
    }
    config.check()?;
    Ok((config, warnings))
}

fn files_of(paths: &[String]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths.iter().map(Path::new) {
        if !path.is_dir() {
            files.push(path.to_owned());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(Error::file("read", path))?;
        let found: BTreeSet<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "hcl" || end == "json"))
            .collect();
        files.extend(found);
    }
    if files.is_empty() {
        return Err(Error::Settings("no configuration files found".to_owned()));
    }
    Ok(files)
}

fn located(file: &str, error: &conclave_hcl::Error) -> Error {
    Error::Config {
        file: file.to_owned(),
        line: error.line,
        column: error.column,
        message: error.message.clone(),
    }
}

/// The file being read, for messages.
pub(crate) struct Source<'w> {
    file: String,
    warnings: &'w mut Vec<String>,
}

impl Source<'_> {
    /// An error at a place of this file.
    pub(crate) fn at(&self, pos: Pos, message: impl Into<String>) -> Error {
        Error::Config {
            file: self.file.clone(),
            line: pos.line,
            column: pos.column,
            message: message.into(),
        }
    }

    /// For errors of the parser's accessors.
    pub(crate) fn wrong(&self, error: conclave_hcl::Error) -> Error {
        located(&self.file, &error)
    }

    /// Refuses what is refused or unknown in a body, warns of what has no effect.
    pub(crate) fn check_keys(&mut self, body: &Body, table: &[(&str, Fate)]) -> Result<(), Error> {
        for item in &body.items {
            let key = item.key();
            match fate(table, &key.name) {
                Some(Fate::Honoured) => {}
                Some(Fate::Ignored(why)) => {
                    self.warnings.push(format!(
                        "{}:{}: {} has no effect: {why}",
                        self.file, key.pos.line, key.name
                    ));
                }
                Some(Fate::Refused(why)) => {
                    return Err(self.at(key.pos, format!("{} is not supported: {why}", key.name)));
                }
                None => {
                    let hint = nearest(table, &key.name).map(|known| format!("; did you mean {known}?"));
                    let hint = hint.unwrap_or_default();
                    return Err(self.at(key.pos, format!("unknown key {:?}{hint}", key.name)));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn text(&self, body: &Body, key: &str) -> Result<Option<String>, Error> {
        let value = body.value(key).map_err(|error| self.wrong(error))?;
        value
            .map(|value| value.text().map_err(|error| self.wrong(error)))
            .transpose()
    }

    pub(crate) fn bool(&self, body: &Body, key: &str) -> Result<bool, Error> {
        match self.text(body, key)?.as_deref() {
            None | Some("false" | "0" | "") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(self.at(body.pos, format!("{key} must be true or false"))),
        }
    }

    pub(crate) fn duration(&self, body: &Body, key: &str) -> Result<Option<Duration>, Error> {
        let Some(text) = self.text(body, key)? else {
            return Ok(None);
        };
        let parsed = duration::parse(&text);
        parsed
            .map(Some)
            .ok_or_else(|| self.at(body.pos, format!("{key} must be a duration such as 90s or 1h30m")))
    }

    pub(crate) fn texts(&self, body: &Body, key: &str) -> Result<Vec<String>, Error> {
        let value = body.value(key).map_err(|error| self.wrong(error))?;
        let Some(value) = value else { return Ok(Vec::new()) };
        match value.texts() {
            Ok(texts) => Ok(texts),
            Err(_) => {
                let text = value.text().map_err(|error| self.wrong(error))?;
                Ok(text
                    .split(',')
                    .map(|part| part.trim().to_owned())
                    .filter(|part| !part.is_empty())
                    .collect())
            }
        }
    }
}

impl Config {
    fn merge(&mut self, body: &Body, source: &mut Source<'_>) -> Result<(), Error> {
        source.check_keys(body, keys::TOP)?;
        merge_into(&mut self.cluster_name, source.text(body, "cluster_name")?);
        merge_into(&mut self.cluster_addr, source.text(body, "cluster_addr")?);
        merge_into(&mut self.api_addr, source.text(body, "api_addr")?);
        merge_into(&mut self.zone, source.text(body, "zone")?);
        merge_into(
            &mut self.operations_address,
            source.text(body, "operations_address")?,
        );
        merge_into(
            &mut self.default_lease_ttl,
            source.duration(body, "default_lease_ttl")?,
        );
        merge_into(&mut self.max_lease_ttl, source.duration(body, "max_lease_ttl")?);
        merge_into(&mut self.log_level, source.text(body, "log_level")?);
        merge_into(&mut self.log_format, source.text(body, "log_format")?);
        self.audit_directories.extend(
            source
                .texts(body, "audit_directories")?
                .into_iter()
                .map(PathBuf::from),
        );
        for section in body
            .sections("listener", 1)
            .map_err(|error| source.wrong(error))?
        {
            let kind = section.labels.first().map_or("", |label| label.name.as_str());
            if kind != "tcp" {
                return Err(source.at(
                    section.pos,
                    format!("listener {kind:?} is not supported: use \"tcp\""),
                ));
            }
            source.check_keys(section.body, keys::LISTENER)?;
            self.listeners.push(TcpListener::read(section.body, source)?);
        }
        for name in ["storage", "backend"] {
            for section in body.sections(name, 1).map_err(|error| source.wrong(error))? {
                let kind = section.labels.first().map_or("", |label| label.name.as_str());
                let storage = read_storage(kind, section.body, section.pos, source)?;
                if self.storage.replace(storage).is_some() {
                    return Err(source.at(section.pos, "storage is set twice"));
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.listeners.is_empty() {
            return Err(Error::Settings(
                "no listener: add listener \"tcp\" { address = \"127.0.0.1:8200\" }".to_owned(),
            ));
        }
        let Some(storage) = &self.storage else {
            return Err(Error::Settings(
                "no storage: add storage \"raft\" { path = \"/var/lib/conclave\" }".to_owned(),
            ));
        };
        if matches!(storage, Storage::Raft { .. }) && self.cluster_addr.is_none() {
            return Err(Error::Settings(
                "cluster_addr is required: https://HOST:PORT where other nodes reach this one".to_owned(),
            ));
        }
        Ok(())
    }

    /// Level of the log.
    pub fn log_level(&self) -> &str {
        self.log_level.as_deref().unwrap_or("info")
    }

    /// Form of the log.
    pub fn log_format(&self) -> &str {
        self.log_format.as_deref().unwrap_or("standard")
    }

    /// What a server is started with. Makes a certificate for listeners that name none.
    pub fn into_settings(self) -> Result<ServeSettings, Error> {
        let first = self.listeners.first().cloned().unwrap_or_default();
        let (data, name) = match self.storage {
            Some(Storage::Raft { path, node_id }) => (Some(path), node_id),
            _ => (None, None),
        };
        let scheme = if first.tls_disable { "http" } else { "https" };
        let api_addr = self
            .api_addr
            .unwrap_or_else(|| format!("{scheme}://{}", first.address));
        let scratch = data.clone().unwrap_or_else(std::env::temp_dir).join("scratch");
        let cluster_addr = self
            .cluster_addr
            .as_deref()
            .map(host_and_port)
            .unwrap_or_default()
            .to_owned();
        let mut listeners = Vec::new();
        for listener in &self.listeners {
            let tls = listener_files(listener, data.as_deref(), &api_addr)?;
            listeners.push(ApiListener {
                address: socket(&listener.address)?,
                tls,
                http: listener.http.clone(),
            });
        }
        let mut core = conclave_core::Settings {
            audit_directories: self.audit_directories,
            ..Default::default()
        };
        if let Some(name) = self.cluster_name {
            core.cluster_name = name;
        }
        if let Some(ttl) = self.max_lease_ttl {
            core.max_lease_ttl = millis(ttl);
        }
        core.default_lease_ttl = self
            .default_lease_ttl
            .map_or(core.default_lease_ttl, millis)
            .min(core.max_lease_ttl);
        let operations = self.operations_address.unwrap_or_else(|| OPERATIONS.to_owned());
        Ok(ServeSettings {
            node: NodeSettings {
                data,
                cluster_listen: socket(&first.cluster_address()?)?,
                cluster_addr,
                api_addr,
                name: name.unwrap_or_else(host_name),
                zone: self.zone.unwrap_or_default(),
                timings: Timings::default(),
                core,
            },
            listeners,
            operations: if operations.is_empty() {
                None
            } else {
                Some(socket(&operations)?)
            },
            scratch,
        })
    }
}

fn merge_into<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

fn read_storage(kind: &str, body: &Body, pos: Pos, source: &mut Source<'_>) -> Result<Storage, Error> {
    match kind {
        "raft" => {
            source.check_keys(body, keys::RAFT)?;
            let path = source
                .text(body, "path")?
                .ok_or_else(|| source.at(pos, "storage \"raft\" needs a path"))?;
            Ok(Storage::Raft {
                path: PathBuf::from(path),
                node_id: source.text(body, "node_id")?,
            })
        }
        "inmem" => Ok(Storage::InMemory),
        other => Err(source.at(pos, format!("storage {other:?} is not supported: use \"raft\""))),
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

fn socket(address: &str) -> Result<SocketAddr, Error> {
    address
        .parse()
        .map_err(|_| Error::Settings(format!("{address:?} is no IP address with a port")))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn listener_files(
    listener: &TcpListener,
    data: Option<&Path>,
    api_addr: &str,
) -> Result<Option<Files>, Error> {
    if listener.tls_disable {
        return Ok(None);
    }
    if listener.files.certificate.as_os_str().is_empty() != listener.files.key.as_os_str().is_empty() {
        return Err(Error::Settings(
            "tls_cert_file and tls_key_file go together".to_owned(),
        ));
    }
    if !listener.files.certificate.as_os_str().is_empty() {
        return Ok(Some(listener.files.clone()));
    }
    let dir = data.ok_or_else(|| {
        Error::Settings("a listener without tls_cert_file needs storage \"raft\"".to_owned())
    })?;
    let host = host_and_port(api_addr)
        .rsplit_once(':')
        .map_or(api_addr, |(host, _)| host);
    let sans = [
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        host.trim_matches(['[', ']']).to_owned(),
        host_name(),
    ];
    let (issued, ca) = ensure_listener_cert(&dir.join("tls"), &sans)?;
    tracing::info!(ca = %ca.display(), "the listener's certificate was made here; give clients this authority");
    Ok(Some(Files {
        certificate: issued.certificate,
        key: issued.key,
        ..listener.files.clone()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        cluster_addr = "https://127.0.0.1:8201"
        api_addr = "https://127.0.0.1:8200"
        zone = "a"
        disable_mlock = true
        listener "tcp" { address = "127.0.0.1:8200" tls_disable = 1 http_idle_timeout = "7s" }
        storage "raft" { path = "/data" node_id = "one" }
    "#;

    fn read(text: &str) -> Result<(Config, Vec<String>), Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.hcl");
        std::fs::write(&path, text).unwrap();
        load(&[path.to_string_lossy().into_owned()])
    }

    #[test]
    fn a_usual_file() {
        let (config, warnings) = read(GOOD).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let settings = config.into_settings().unwrap();
        assert_eq!(settings.node.cluster_addr, "127.0.0.1:8201");
        assert_eq!(settings.node.cluster_listen.to_string(), "127.0.0.1:8201");
        assert_eq!(
            (settings.node.name.as_str(), settings.node.zone.as_str()),
            ("one", "a")
        );
        let listener = settings.listeners.first().unwrap();
        assert!(listener.tls.is_none());
        assert_eq!(listener.http.timeouts.idle, Duration::from_secs(7));
        assert_eq!(settings.operations.unwrap().to_string(), OPERATIONS);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, expected) in [
            (
                "api_adr = \"x\"",
                ":1:1: unknown key \"api_adr\"; did you mean api_addr?",
            ),
            ("\n  listener \"unix\" {}", "listener \"unix\" is not supported"),
            (
                "plugin_directory = \"/x\"",
                "plugin_directory is not supported: engines are compiled in",
            ),
            (
                "storage \"file\" { path = \"x\" }",
                "storage \"file\" is not supported",
            ),
            ("storage \"raft\" { }", "storage \"raft\" needs a path"),
            (
                "default_lease_ttl = \"soon\"",
                "default_lease_ttl must be a duration",
            ),
            (
                "listener \"tcp\" { tls_cert_fil = \"x\" }",
                "did you mean tls_cert_file?",
            ),
            ("api_addr = \"https://x\"", "no listener"),
            ("a = [", ":1:"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
