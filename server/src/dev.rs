//! The development server: one node in memory, initialized, unsealed, with kv-v2 at `secret/`, as Vault's `server -dev`. Not
//! for secrets.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_json::json;

use conclave_core::{Request, Threshold, Verb};
use conclave_raft::node::Timings;

use crate::error::Error;
use crate::http;
use crate::node::NodeSettings;
use crate::serve::{ApiListener, ServeSettings, Server};
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
}

impl DevServer {
    /// Starts, initializes and unseals.
    pub async fn start(options: DevOptions) -> Result<Self, Error> {
        let address: SocketAddr = options
            .listen_address
            .parse()
            .map_err(|_| Error::Settings(format!("{:?} is no address:port", options.listen_address)))?;
        let scheme = if options.tls { "https" } else { "http" };
        let made = options.tls.then(|| certificate(address.ip())).transpose()?;
        let (tls, ca_cert) = made.unzip();
        let server = Server::start(settings(address, format!("{scheme}://{address}"), tls)).await?;
        let bound = server.addresses.first().copied().unwrap_or(address);
        let core = &server.node.core;
        let born = core
            .init(
                Threshold {
                    shares: 1,
                    threshold: 1,
                },
                options.root_token,
            )
            .await?;
        let share = born
            .shares
            .first()
            .map(|share| hex::encode(share.expose()))
            .unwrap_or_default();
        core.give_share(&share).await?;
        let mut mount = Request::new(Verb::Write, "sys/mounts/secret");
        mount.token = Some(born.root_token.clone());
        mount.data =
            json!({"type": "kv", "options": {"version": "2"}, "description": "key/value secret storage"})
                .as_object()
                .cloned()
                .unwrap_or_default();
        core.handle(mount).await?;
        Ok(Self {
            api_addr: format!("{scheme}://{bound}"),
            root_token: born.root_token,
            unseal_key: zeroize::Zeroizing::new(share),
            ca_cert,
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

/// A certificate for this run, and its authority's.
fn certificate(ip: IpAddr) -> Result<(Files, PathBuf), Error> {
    let dir = std::env::temp_dir().join(format!("conclave-dev-tls-{}", std::process::id()));
    let names = vec!["localhost".to_owned(), ip.to_string()];
    let (issued, ca) = Made { dir, names }.ensure()?;
    let files = Files {
        certificate: issued.certificate,
        key: issued.key,
        ..Files::default()
    };
    Ok((files, ca))
}

fn settings(address: SocketAddr, api_addr: String, tls: Option<Files>) -> ServeSettings {
    ServeSettings {
        node: NodeSettings {
            data: None,
            cluster_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cluster_addr: String::new(),
            api_addr,
            name: "dev".to_owned(),
            zone: String::new(),
            timings: Timings::default(),
            core: conclave_core::Settings {
                storage_type: "inmem".to_owned(),
                ..Default::default()
            },
        },
        listeners: vec![ApiListener {
            address,
            tls,
            http: http::Settings::default(),
        }],
        operations: None,
        retry_join: Vec::new(),
        pid_file: None,
        scratch: std::env::temp_dir(),
    }
}
