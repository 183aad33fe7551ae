//! The way to a collector: OTLP over HTTP, binary. One connection, made anew when it fails.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::timeout;

use crate::couriers::http::Posted;
use crate::couriers::{authority, wire_to};

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tries of a message: a connection that was idle may have been closed.
const TRIES: u32 = 2;

/// Where traces go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collector {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The path of its service.
    pub path: String,
    /// The authorities of its certificate, PEM; empty for the system's.
    pub ca_cert: String,
}

/// A connection, when there is one.
pub struct Way {
    collector: Collector,
    open: Option<Posted>,
}

impl Way {
    /// To a collector that nobody has asked yet.
    pub fn new(collector: Collector) -> Self {
        Self {
            collector,
            open: None,
        }
    }

    /// Sends a message; the collector has it when this returns.
    pub async fn post(&mut self, message: Bytes) -> io::Result<()> {
        let mut last = Err(io::Error::other("not tried"));
        for _ in 0..TRIES {
            let posted = timeout(PATIENCE, self.once(message.clone())).await;
            last = posted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if last.is_ok() {
                break;
            }
            self.open = None;
        }
        last
    }

    async fn once(&mut self, message: Bytes) -> io::Result<()> {
        let mut open = match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        open.post(message).await?;
        self.open = Some(open);
        Ok(())
    }

    async fn connect(&self) -> io::Result<Posted> {
        let Collector {
            host,
            port,
            tls,
            path,
            ca_cert,
        } = &self.collector;
        let wire = wire_to((host, *port), tls.then_some(ca_cert)).await?;
        let kind = HeaderValue::from_static("application/x-protobuf");
        Posted::new(wire, (&authority(host, *port), path), kind, &[]).await
    }
}
