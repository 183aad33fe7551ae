//! One request from head to answer: which of the things on this port it wants, its body within the limits, core's
//! answer, and the counts. It must not know what a path under `/v1/` means, but for the two that carry files.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{CONNECTION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

use conclave_core as core;
use conclave_core::Verb;

use super::body::{Body, Removed};
use super::browsers::{self, Visit};
use super::status::{Failure, Refusal};
use super::watch::{InFlight, Watch};
use super::{Settings, Timeouts, decode, encode, receive};
use crate::handler::Handler;
use crate::operations::{HttpMetrics, TRACERESPONSE, Traced, method_name};

/// Bytes of bodies above [`receive::SMALL_BYTES`] that all requests together may hold in memory.
const MAX_BUFFERED_BYTES: usize = 512 * 1024 * 1024;
/// Uploads under way at once: each may fill the disk.
const MAX_UPLOADS: usize = 1;
/// Paths whose body is a file.
const UPLOADS: [&str; 2] = ["sys/storage/raft/snapshot", "sys/storage/raft/snapshot-force"];
/// Where metrics are, for those who may read them.
const METRICS: &str = "sys/metrics";

/// What the port stands on, shared by all listeners.
pub struct Surroundings {
    /// Answers requests.
    pub handler: Arc<dyn Handler>,
    /// Counts them.
    pub metrics: Arc<HttpMetrics>,
    /// gRPC services on the same port.
    pub grpc: Option<tonic::service::Routes>,
    /// A directory for uploads.
    pub scratch: PathBuf,
    /// Counts how often the node was sealed.
    pub seals: watch::Receiver<u64>,
    /// Whether requests are traced; of so many traces that begin here one is kept.
    pub traces: Option<u64>,
}

/// Headers as core may look at them.
pub struct Headers(pub HeaderMap);

impl core::Headers for Headers {
    fn values(&self, name: &str) -> Vec<String> {
        let all = self.0.get_all(name).iter();
        all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The address of the peer, after the PROXY protocol.
    pub peer: IpAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// Answers requests of all connections.
pub struct Service {
    surroundings: Surroundings,
    buffers: Arc<Semaphore>,
    uploads: Semaphore,
    uploaded: AtomicU64,
}

impl Service {
    /// A service that nothing calls yet.
    pub fn new(surroundings: Surroundings) -> Arc<Self> {
        Arc::new(Self {
            surroundings,
            buffers: Arc::new(Semaphore::new(MAX_BUFFERED_BYTES / receive::SMALL_BYTES)),
            uploads: Semaphore::new(MAX_UPLOADS),
            uploaded: AtomicU64::new(0),
        })
    }

    /// What it stands on.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Answers one request. Every outcome is a response.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        origin: Origin,
        settings: &Settings,
        watch: &Watch,
        held: InFlight,
    ) -> Response<Body> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let mut body = Some(body);
        let namespace = parts.headers.get("x-vault-namespace").cloned();
        let traces = self.surroundings.traces;
        let traced = traces.map(|one_in| Traced::of(&parts.headers, one_in));
        let transport = if is_grpc(&parts.headers) { "grpc" } else { "http" };
        let span = traced.as_ref().map_or_else(Span::none, |traced| {
            traced.span(transport, method_name(&parts.method))
        });
        let visit = Visit::of(&parts, self.surroundings.handler.as_ref());
        let result = if watch.ambiguous() {
            Err(Refusal::Ambiguous("the length of the request is stated twice"))
        } else if let Some(answered) = visit.answer(&parts) {
            answered
        } else {
            let routed = self.route(&mut parts, &mut body, origin, settings);
            routed.instrument(span.clone()).await
        };
        if let Some(body) = body.filter(|_| parts.version == Version::HTTP_2) {
            receive::rest(body, settings).await;
        }
        let mut response = result.unwrap_or_else(|refusal| encode::failure(Failure::from(refusal)));
        encode::common(response.headers_mut(), origin.tls);
        visit.mark(response.headers_mut());
        span.record("status", u64::from(response.status().as_u16()));
        if let Some(text) = traced.and_then(|traced| traced.header()) {
            response.headers_mut().insert(TRACERESPONSE, text);
        }
        if let Some(namespace) = namespace {
            response.headers_mut().insert("x-vault-namespace", namespace);
        }
        if parts.version == Version::HTTP_2 {
            // Meaningless there, and forbidden: the stream ends, not the connection.
            response.headers_mut().remove(CONNECTION);
        }
        let metrics = &self.surroundings.metrics;
        metrics.observe(
            &parts.method,
            parts.uri.path(),
            response.status(),
            started.elapsed(),
        );
        if parts.method == Method::HEAD {
            // HTTP/2 ends a stream on which the answer to a HEAD has a body; HTTP/1 leaves it away by itself.
            response = response.map(|_| Body::empty());
        }
        response.map(|body| body.holding(held))
    }

    async fn route(
        &self,
        parts: &mut Parts,
        body: &mut Option<Incoming>,
        origin: Origin,
        settings: &Settings,
    ) -> Result<Response<Body>, Refusal> {
        let uri = parts.uri.clone();
        let path = uri.path();
        let source = settings.forwarding.source(origin.peer, &parts.headers)?;
        if let Some(routes) = self
            .surroundings
            .grpc
            .as_ref()
            .filter(|_| is_grpc(&parts.headers))
        {
            let body = body.take().ok_or(Refusal::Broken)?;
            return grpc(routes.clone(), parts, body, source).await;
        }
        match path.strip_prefix("/v1/") {
            Some(METRICS) if parts.method == Method::GET => self.metrics(parts, source, settings).await,
            Some(path) => self.api(parts, path, body, source, settings).await,
            None if browsers::is_page(path) => Err(Refusal::NoUi),
            None => Err(Refusal::NoPage),
        }
    }

    async fn api(
        &self,
        parts: &mut Parts,
        path: &str,
        body: &mut Option<Incoming>,
        source: IpAddr,
        settings: &Settings,
    ) -> Result<Response<Body>, Refusal> {
        let mut head = decode::head(parts, path, source)?;
        head.request.headers = Some(Box::new(Headers(std::mem::take(&mut parts.headers))));
        let body = body.as_mut().ok_or(Refusal::Broken)?;
        if head.request.verb == Verb::Write && UPLOADS.contains(&path) {
            if head.request.inline.is_some() {
                // Who may send a file is asked before it is taken in, and who logs in only once.
                return Err(Refusal::Malformed(
                    "a file is sent with a token, not with a login in the headers".to_owned(),
                ));
            }
            // The body is the file; what else is wanted stands in the query.
            head.request.data = std::mem::take(&mut head.query);
            return self.upload(head.request, body, settings).await;
        }
        let bytes = receive::whole(body, settings, &self.buffers).await?;
        let health = if path == "sys/health" {
            head.query.clone()
        } else {
            serde_json::Map::new()
        };
        let request = head.with_body(&bytes, settings.json)?;
        drop(bytes);
        let is_patch = request.verb == Verb::Patch;
        let answer = self.ask(request, &settings.timeouts).await?;
        Ok(match answer {
            Ok(response) => encode::response(response, &health).await,
            Err(core::Error::NotFound { warnings }) if is_patch && warnings.is_empty() => {
                encode::nothing_to_patch()
            }
            Err(error) => encode::failure(Failure::from(error)),
        })
    }

    /// Asks core. What may change something runs in a task of its own: a client that goes away must not stop it
    /// halfway, with a command proposed and its response not audited.
    async fn ask(
        &self,
        request: core::Request,
        timeouts: &Timeouts,
    ) -> Result<Result<core::Response, core::Error>, Refusal> {
        let handler = Arc::clone(&self.surroundings.handler);
        match request.verb {
            Verb::Read | Verb::List | Verb::Scan | Verb::Help => {
                timeout(timeouts.request, handler.handle(request))
                    .await
                    .map_err(|_| Refusal::Overdue { write: false })
            }
            Verb::Write | Verb::Patch | Verb::Delete => {
                let task = tokio::spawn(async move { handler.handle(request).await }.in_current_span());
                match timeout(timeouts.request, task).await {
                    Ok(Ok(answer)) => Ok(answer),
                    // The task panicked: the process goes on, this request is lost.
                    Ok(Err(_)) => Err(Refusal::Broken),
                    Err(_) => Err(Refusal::Overdue { write: true }),
                }
            }
        }
    }

    async fn upload(
        &self,
        mut request: core::Request,
        body: &mut Incoming,
        settings: &Settings,
    ) -> Result<Response<Body>, Refusal> {
        let _turn = self.uploads.try_acquire().map_err(|_| Refusal::Busy)?;
        if self.surroundings.handler.admits(&request).await.is_err() {
            // Refused, and audited, as any other request; its body is not taken in.
            return Ok(match self.ask(request, &settings.timeouts).await? {
                Ok(response) => encode::response(response, &serde_json::Map::new()).await,
                Err(error) => encode::failure(Failure::from(error)),
            });
        }
        let number = self.uploaded.fetch_add(1, Ordering::Relaxed);
        let name = format!("upload-{}-{number}", std::process::id());
        let file = Removed::new(self.surroundings.scratch.join(name));
        receive::into_file(body, settings, file.path()).await?;
        request.upload = Some(file.path().to_owned());
        // Checking and installing a large snapshot has no bound but its own.
        let handler = Arc::clone(&self.surroundings.handler);
        let task = tokio::spawn(async move {
            let answer = handler.handle(request).await;
            drop(file);
            answer
        });
        Ok(match task.await.map_err(|_| Refusal::Broken)? {
            Ok(response) => encode::response(response, &serde_json::Map::new()).await,
            Err(error) => encode::failure(Failure::from(error)),
        })
    }

    /// The numbers, for whoever may read `sys/metrics`.
    async fn metrics(
        &self,
        parts: &Parts,
        source: IpAddr,
        settings: &Settings,
    ) -> Result<Response<Body>, Refusal> {
        let mut head = decode::head(parts, METRICS, source)?;
        head.request.headers = Some(Box::new(Headers(parts.headers.clone())));
        let format = head.query.get("format").and_then(|format| format.as_str());
        if format.is_some_and(|format| format != "prometheus") {
            return Err(Refusal::Malformed(
                "the only format of metrics is prometheus".to_owned(),
            ));
        }
        if !settings.open_metrics
            && let Err(error) = self.ask(head.request, &settings.timeouts).await?
        {
            return Ok(encode::failure(Failure::from(error)));
        }
        self.surroundings.handler.observe();
        let text = self.surroundings.metrics.text().map_err(|_| Refusal::Broken)?;
        Ok(encode::typed(
            StatusCode::OK,
            HttpMetrics::CONTENT_TYPE,
            Body::bytes(text),
        ))
    }
}

/// The source of a gRPC request, for its services.
#[derive(Debug, Clone, Copy)]
pub struct Source(pub IpAddr);

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

async fn grpc(
    routes: tonic::service::Routes,
    parts: &Parts,
    body: Incoming,
    source: IpAddr,
) -> Result<Response<Body>, Refusal> {
    let mut request = Request::from_parts(parts.clone(), body);
    request.extensions_mut().insert(Source(source));
    let Ok(response) = tower::ServiceExt::oneshot(routes, request).await;
    Ok(response.map(Body::grpc))
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        tracing::error!(%error, "cannot keep an upload");
        Self::Broken
    }
}
