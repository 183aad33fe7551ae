//! `conclave-load`: a load generator for anything that speaks Vault's HTTP API, and for Conclave's gRPC API. A fixed number
//! of connections, each with one request at a time; prints one JSON line: rate, errors, latencies (HDR histogram).

mod ask;
mod error;
mod grpc;
mod http1;
mod load;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use error::Error;

/// What each connection does, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Write a new version of a secret.
    Put,
    /// Read a secret that was written before the clock started.
    Get,
    /// Nine reads, one write.
    Mixed,
    /// Make a token with a life of an hour.
    Token,
    /// Make a token and revoke it.
    Revoke,
    /// Look the shown token up.
    Lookup,
    /// Log in by role.
    Approle,
    /// Log in by name and password.
    Userpass,
    /// Encrypt a value.
    Encrypt,
    /// Sign a value.
    Sign,
    /// Read a secret and have the answer wrapped.
    Wrapped,
    /// List the folder of the secrets.
    List,
    /// Make a token that ends when `--ends-in` says.
    Ending,
    /// Read `--path`: a credential that is made for who reads it.
    Creds,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Vault's API over HTTP/1.1.
    Http,
    /// Conclave's own over HTTP/2.
    Grpc,
}

/// What is to be done, where, for how long.
#[derive(Debug, Clone, Parser)]
#[command(name = "conclave-load", version, about)]
pub struct Options {
    /// What each connection does.
    #[arg(value_enum)]
    pub work: Work,
    /// What is spoken.
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    pub protocol: Protocol,
    /// URL of the server: `https://host:port`. Only loopback addresses are accepted.
    #[arg(long)]
    pub address: String,
    /// Authority of the server's certificate, in PEM.
    #[arg(long)]
    pub ca_cert: Option<PathBuf>,
    /// The token; better given as `LOAD_TOKEN`, which `ps` does not show.
    #[arg(long, env = "LOAD_TOKEN", hide_env_values = true)]
    pub token: String,
    /// A kv-v2 mount.
    #[arg(long, default_value = "secret")]
    pub mount: String,
    /// A transit mount with the keys `load` (encrypts) and `sign`.
    #[arg(long, default_value = "transit")]
    pub transit: String,
    /// Id of the role that logs in at `auth/approle`.
    #[arg(long, default_value = "")]
    pub role_id: String,
    /// Its secret id, by environment alone.
    #[arg(skip = std::env::var("LOAD_SECRET_ID").unwrap_or_default())]
    pub secret_id: String,
    /// Password of the people `load-0`, `load-1`, ... at `auth/userpass`, by environment alone.
    #[arg(skip = std::env::var("LOAD_PASSWORD").unwrap_or_default())]
    pub password: String,
    /// How many people there are.
    #[arg(long, default_value_t = 16)]
    pub people: usize,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Seconds that count.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Seconds before that, which do not.
    #[arg(long, default_value_t = 1)]
    pub warm_up: u64,
    /// Number of different secrets.
    #[arg(long, default_value_t = 1000)]
    pub keys: usize,
    /// The secrets exist already, from a run before: nothing is written first.
    #[arg(long)]
    pub prepared: bool,
    /// Requests in all; `--seconds` is only the longest it may take then, and nothing is left out of the count.
    #[arg(long)]
    pub requests: Option<u64>,
    /// So many seconds after the start the tokens of `ending` end, within a second ...
    #[arg(long, default_value_t = 3600)]
    pub ends_in: u64,
    /// ... or evenly within so many seconds after that.
    #[arg(long, default_value_t = 1)]
    pub spread: u64,
    /// What `creds` reads.
    #[arg(long, default_value = "database/creds/app")]
    pub path: String,
    /// Bytes of each secret's value.
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(load::run(&options)),
        Err(error) => Err(Error::Setup(error.to_string())),
    };
    let mut out = std::io::stdout();
    let written = match result {
        Ok(report) => std::io::Write::write_all(&mut out, format!("{report}\n").as_bytes()),
        Err(error) => {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("error: {error}\n").as_bytes());
            return std::process::ExitCode::FAILURE;
        }
    };
    if written.is_ok() {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

/// The options' durations.
impl Options {
    /// Time that counts.
    pub fn counted(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Time before it.
    pub fn uncounted(&self) -> Duration {
        match self.requests {
            Some(_) => Duration::ZERO,
            None => Duration::from_secs(self.warm_up),
        }
    }
}
