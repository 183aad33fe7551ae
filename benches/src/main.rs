//! `conclave-load`: a load generator for anything that speaks Vault's HTTP API, and for Conclave's gRPC API. A fixed number
//! of connections, each with one request at a time; prints one JSON line: rate, errors, latencies (HDR histogram).

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
        Duration::from_secs(self.warm_up)
    }
}
