//! The development server: one node in memory, initialized, unsealed, with kv-v2 at `secret/`, as Vault's `server -dev`. Not
//! for secrets.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use conclave_core::{Core, Request, Threshold, Verb};
use conclave_raft::node::Timings;

use crate::config::{Config, socket};
use crate::error::Error;
use crate::http;
use crate::node::NodeSettings;
use crate::operations::logs::Log;
use crate::serve::{ApiListener, ServeSettings, Server};
use crate::temporary::Temporary;
use crate::tls::{Files, Made};

/// What a development server is told.
#[derive(Debug, Clone, Default)]
pub struct DevOptions {
    /// `host:port` for clients.
    pub listen_address: String,
    /// Root token; `None` makes a random one.
    pub root_token: Option<String>,
    /// Whether to serve TLS with a certificate made for this run.
    pub tls: bool,
    /// Where that certificate goes and stays; `None` for a directory that goes with the server.
    pub tls_dir: Option<PathBuf>,
    /// What is mounted at `secret/`.
    pub kv: DevKv,
    /// The log of this process, if it is this server's.
    pub log: Option<Log>,
    /// What files say besides: TTLs, the cluster's name, audit directories.
    pub config: Config,
}

/// What a development server mounts at `secret/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DevKv {
    /// kv with versions.
    #[default]
    Versioned,
    /// kv without versions.
    Plain,
    /// Nothing.
    Nothing,
}

/// A development server that is up.
pub struct DevServer {
    /// The server.
    pub server: Server,
    /// URL for clients.
    pub api_addr: String,
    /// The root token.
    pub root_token: zeroize::Zeroizing<String>,
    /// The one share, in hexadecimal.
    pub unseal_key: zeroize::Zeroizing<String>,
    /// The authority of its certificate, with TLS.
    pub ca_cert: Option<PathBuf>,
    /// Keeps the directory of that certificate.
    _certificates: Option<Temporary>,
}

impl DevServer {
    /// Starts, initializes and unseals.
    pub async fn start(options: DevOptions) -> Result<Self, Error> {
        let address = socket(&options.listen_address)
            .map_err(|message| Error::Settings(format!("-dev-listen-address: {message}")))?;
        let scheme = if options.tls { "https" } else { "http" };
        let mut temporary = None;
        let made = match (&options.tls_dir, options.tls) {
            (_, false) => None,
            (Some(dir), true) => Some(certificate(dir.clone(), address.ip())?),
            (None, true) => {
                let made = temporary.insert(Temporary::make("conclave-dev-tls")?);
                Some(certificate(made.path().to_owned(), address.ip())?)
            }
        };
        let (tls, ca_cert) = made.unzip();
        let settings = settings(
            address,
            format!("{scheme}://{address}"),
            tls,
            options.log,
            options.config.dev_settings(),
        );
        let server = Server::start(settings).await?;
        let bound = server.addresses.first().copied().unwrap_or(address);
        let core = &server.node.core;
        let born = core
            .init(
                Threshold {
                    shares: 1,
                    threshold: 1,
                },
                None,
            )
            .await?;
        let share = born
            .shares
            .first()
            .map(|share| hex::encode(share.expose()))
            .unwrap_or_default();
        core.give_share(&share).await?;
        let root_token = match options.root_token {
            Some(wanted) => chosen_root(core, &born.root_token, wanted).await?,
            None => born.root_token,
        };
        mount(core, options.kv, &root_token).await?;
        Ok(Self {
            api_addr: format!("{scheme}://{bound}"),
            root_token,
            unseal_key: zeroize::Zeroizing::new(share),
            ca_cert,
            _certificates: temporary,
            server,
        })
    }

    /// How to use it, in Vault's words.
    pub fn banner(&self) -> String {
        let ca = self
            .ca_cert
            .as_ref()
            .map(|ca| format!("    $ export VAULT_CACERT='{}'\n", ca.display()));
        format!(
            "WARNING! dev mode is enabled! In this mode, Conclave runs entirely in-memory\n\
             and starts unsealed with a single unseal key. The root token is already\n\
             authenticated to the CLI, so you can immediately begin using Conclave.\n\n\
             You may need to set the following environment variables:\n\n    \
             $ export VAULT_ADDR='{}'\n{}\n\
             The unseal key and root token are displayed below in case you want to\n\
             seal/unseal the server or re-authenticate.\n\n\
             Unseal Key: {}\nRoot Token: {}\n\n\
             Development mode should NOT be used in production installations!\n",
            self.api_addr,
            ca.unwrap_or_default(),
            *self.unseal_key,
            *self.root_token,
        )
    }
}

/// A root token of the user's choice, made by the cluster's own as anybody would.
async fn chosen_root(
    core: &Arc<Core>,
    born: &zeroize::Zeroizing<String>,
    wanted: String,
) -> Result<zeroize::Zeroizing<String>, Error> {
    let mut create = Request::new(Verb::Write, "auth/token/create");
    create.token = Some(born.clone());
    let data = json!({"id": wanted, "policies": ["root"], "no_parent": true, "no_default_policy": true});
    create.data = data.as_object().cloned().unwrap_or_default();
    core.handle(create).await?;
    let mut revoke = Request::new(Verb::Write, "auth/token/revoke-self");
    revoke.token = Some(born.clone());
    core.handle(revoke).await?;
    Ok(zeroize::Zeroizing::new(wanted))
}

async fn mount(core: &Arc<Core>, kv: DevKv, root_token: &zeroize::Zeroizing<String>) -> Result<(), Error> {
    let version = match kv {
        DevKv::Versioned => "2",
        DevKv::Plain => "1",
        DevKv::Nothing => return Ok(()),
    };
    let mut mount = Request::new(Verb::Write, "sys/mounts/secret");
    mount.token = Some(root_token.clone());
    let data =
        json!({"type": "kv", "options": {"version": version}, "description": "key/value secret storage"});
    mount.data = data.as_object().cloned().unwrap_or_default();
    core.handle(mount).await?;
    Ok(())
}

/// A certificate in `dir`, and its authority's.
fn certificate(dir: PathBuf, ip: IpAddr) -> Result<(Files, PathBuf), Error> {
    let names = vec!["localhost".to_owned(), ip.to_string()];
    let (issued, ca) = Made { dir, names }.ensure()?;
    let files = Files {
        certificate: issued.certificate,
        key: issued.key,
        ..Files::default()
    };
    Ok((files, ca))
}

fn settings(
    address: SocketAddr,
    api_addr: String,
    tls: Option<Files>,
    log: Option<Log>,
    mut core: conclave_core::Settings,
) -> ServeSettings {
    core.shown.insert(
        "listeners".to_owned(),
        json!([{"type": "tcp", "config": {"address": address.to_string(), "tls_disable": tls.is_none()}}]),
    );
    ServeSettings {
        node: NodeSettings {
            min_free: 0,
            data: None,
            cluster_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cluster_addr: String::new(),
            api_addr,
            name: "dev".to_owned(),
            zone: String::new(),
            timings: Timings::default(),
            log,
            core,
        },
        listeners: vec![ApiListener {
            address,
            tls,
            http: http::Settings::default(),
        }],
        operations: None,
        otlp: None,
        vault_names: false,
        retry_join: Vec::new(),
        pid_file: None,
        scratch: std::env::temp_dir(),
    }
}
