//! The operations listener: is the process alive, is the node able to serve, what are its numbers. Plain HTTP on an address
//! that only the machine and its supervisors reach; it answers while the node is sealed and hands out nothing secret.

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
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use conclave_core::Core;

use super::HttpMetrics;
use crate::error::Error;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// Time for a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// Longest life of a connection.
const LIFE: Duration = Duration::from_secs(60);

/// A bound operations listener.
pub struct Probes {
    tcp: TcpListener,
    core: Arc<Core>,
    metrics: Arc<HttpMetrics>,
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
        Ok(Self { tcp, core, metrics })
    }

    /// Serves until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let shared = Arc::new((self.core, self.metrics));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.tcp.accept() => accepted,
            };
            let (Ok((tcp, _)), Ok(permit)) = (accepted, room.clone().try_acquire_owned()) else {
                continue;
            };
            let shared = shared.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = answer(&request, &shared.0, &shared.1);
                    async move { Ok::<_, Infallible>(answer) }
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

fn answer(request: &Request<Incoming>, core: &Core, metrics: &HttpMetrics) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" => match core.readiness() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        "/metrics" => {
            core.observe();
            match metrics.text() {
                Ok(numbers) => with_type(StatusCode::OK, HttpMetrics::CONTENT_TYPE, numbers.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the numbers do not encode\n"),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "paths: /livez /readyz /metrics\n"),
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
