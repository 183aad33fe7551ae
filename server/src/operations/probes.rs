//! The operations listener: is the process alive, is the node able to serve, what are its numbers, what is the digest of its
//! state. Plain HTTP on an address that only the machine and its supervisors reach; it answers while the node is sealed and
//! hands out nothing secret.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use conclave_core::Core;

use super::HttpMetrics;
use crate::error::Error;
use crate::http::after_accept_error;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// Time for a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// Longest life of a connection.
const LIFE: Duration = Duration::from_secs(60);

/// A bound operations listener.
pub struct Probes {
    tcp: TcpListener,
    answers: Arc<Answers>,
}

/// What the answers are made from.
struct Answers {
    core: Arc<Core>,
    metrics: Arc<HttpMetrics>,
    /// A digest reads the whole state: one at a time, the others wait.
    digesting: Arc<Semaphore>,
}

impl Probes {
    /// Binds the address.
    pub async fn bind(
        address: SocketAddr,
        core: Arc<Core>,
        metrics: Arc<HttpMetrics>,
    ) -> Result<Self, Error> {
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.map_err(|source| Error::Listen {
            address: address.to_string(),
            source,
        })?;
        let answers = Arc::new(Answers {
            core,
            metrics,
            digesting: Arc::new(Semaphore::new(1)),
        });
        Ok(Self { tcp, answers })
    }

    /// Serves until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.tcp.accept() => accepted,
            };
            let tcp = match accepted {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    after_accept_error(&error).await;
                    continue;
                }
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                continue;
            };
            let answers = self.answers.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answers = answers.clone();
                    async move { Ok::<_, Infallible>(answers.answer(&request).await) }
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEAD);
                // A client that breaks off is no event here.
                let _ = tokio::time::timeout(LIFE, http.serve_connection(TokioIo::new(tcp), service)).await;
                drop(permit);
            });
        }
    }
}

impl Answers {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match self.core.readiness() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            "/metrics" => {
                self.core.observe();
                match self.metrics.text() {
                    Ok(numbers) => with_type(StatusCode::OK, HttpMetrics::CONTENT_TYPE, numbers.into()),
                    Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the numbers do not encode\n"),
                }
            }
            "/digest" => self.digest().await,
            _ => text(StatusCode::NOT_FOUND, "paths: /livez /readyz /metrics /digest\n"),
        }
    }

    async fn digest(&self) -> Response<Full<Bytes>> {
        let Ok(turn) = self.digesting.clone().acquire_owned().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
        };
        let core = self.core.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let hashed = core.digest();
            drop(turn);
            hashed
        });
        match hashed.await {
            Ok(Ok(state)) => {
                let answer = json!({"revision": state.revision, "digest": hex::encode(state.digest)});
                with_type(
                    StatusCode::OK,
                    "application/json",
                    Bytes::from(format!("{answer}\n")),
                )
            }
            Ok(Err(conclave_core::Error::NotInitialized)) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "not initialized\n")
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the state cannot be hashed");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the state cannot be read\n")
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the digest broke off\n"),
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_type(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
