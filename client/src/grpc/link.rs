//! One HTTP/2 connection to one node: TCP, TLS, pings that find a node gone. Knows neither calls nor other nodes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use conclave_proto::v1;

/// Time to connect, TLS included.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection with calls under way that brought nothing for so long is asked for a sign of life ...
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// ... and given up on without one for so long. Together they tell how soon a dead node is noticed.
const PING_TIMEOUT: Duration = Duration::from_millis(750);
/// Bytes a node may send before they are read: of one call, and of all.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Largest answer in bytes: a long list, not a runaway.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Where a node is.
pub struct Address {
    /// Host to dial.
    pub host: String,
    /// Port to dial.
    pub port: u16,
    /// Scheme and authority of requests.
    pub origin: Uri,
    /// TLS and the name to expect; `None` is plain.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// An open connection. Clones share it; it closes when the last is gone.
#[derive(Clone)]
pub struct Link {
    sender: http2::SendRequest<Body>,
    origin: Uri,
}

/// Connects. The error is a text without secrets; nothing was sent.
pub async fn dial(address: &Address) -> Result<Link, String> {
    let place = || format!("{}:{}", address.host, address.port);
    let opening = async {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await;
        let tcp = tcp.map_err(|error| error.to_string())?;
        // Small requests must not wait for the acknowledgement of the last ones.
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some((config, name)) = &address.tls else {
            return speak(tcp, address.origin.clone()).await;
        };
        let tls = TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), tcp)
            .await;
        let tls = tls.map_err(|error| format!("TLS: {error}"))?;
        speak(tls, address.origin.clone()).await
    };
    match timeout(CONNECT, opening).await {
        Ok(opened) => opened.map_err(|error| format!("{}: {error}", place())),
        Err(_) => Err(format!(
            "{}: no connection within {} s",
            place(),
            CONNECT.as_secs()
        )),
    }
}

async fn speak<S>(stream: S, origin: Uri) -> Result<Link, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("HTTP/2: {error}"))?;
    // Ends with the connection; calls under way hear why.
    tokio::spawn(connection);
    Ok(Link { sender, origin })
}

impl Link {
    /// Whether nothing more can be sent.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Calls of the service `Kv`.
    pub fn kv(self) -> v1::kv_client::KvClient<Self> {
        let origin = self.origin.clone();
        v1::kv_client::KvClient::with_origin(self, origin).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls of the service `Sys`.
    pub fn sys(self) -> v1::sys_client::SysClient<Self> {
        let origin = self.origin.clone();
        v1::sys_client::SysClient::with_origin(self, origin).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls of the service `Token`.
    pub fn token(self) -> v1::token_client::TokenClient<Self> {
        let origin = self.origin.clone();
        v1::token_client::TokenClient::with_origin(self, origin).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls of the service `Policy`.
    pub fn policy(self) -> v1::policy_client::PolicyClient<Self> {
        let origin = self.origin.clone();
        v1::policy_client::PolicyClient::with_origin(self, origin).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Calls of the service `Logical`.
    pub fn logical(self) -> v1::logical_client::LogicalClient<Self> {
        let origin = self.origin.clone();
        v1::logical_client::LogicalClient::with_origin(self, origin)
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }
}

impl tower::Service<Request<Body>> for Link {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
