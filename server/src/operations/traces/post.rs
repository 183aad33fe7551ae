//! The way to a collector: OTLP over HTTP, binary. One connection, made anew when it fails.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::couriers::{Wire, tls};

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
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
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driving: tokio::task::AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driving.abort();
    }
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
        let mut open = match self.open.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        let request = http::Request::post(&self.collector.path)
            .header(header::HOST, &self.collector.host)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(message))
            .map_err(io::Error::other)?;
        open.sender.ready().await.map_err(io::Error::other)?;
        let response = open
            .sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        if !status.is_success() {
            return Err(io::Error::other(format!("the collector answered {status}")));
        }
        if answer.is_ok() {
            self.open = Some(open);
        }
        Ok(())
    }

    async fn connect(&self) -> io::Result<Open> {
        let Collector {
            host,
            port,
            tls: encrypted,
            ..
        } = &self.collector;
        let tcp = TcpStream::connect((host.as_str(), *port)).await?;
        tcp.set_nodelay(true)?;
        let wire: Box<dyn Wire> = match encrypted {
            true => Box::new(tls::connect(tcp, host, &self.collector.ca_cert).await?),
            false => Box::new(tcp),
        };
        let (sender, connection) = handshake(TokioIo::new(wire)).await.map_err(io::Error::other)?;
        Ok(Open {
            sender,
            driving: tokio::spawn(connection).abort_handle(),
        })
    }
}
