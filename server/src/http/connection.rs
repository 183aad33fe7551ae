//! One connection from its first byte to its last: PROXY header, TLS, choice of protocol, HTTP, and a watchdog.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::service::{Origin, Service};
use super::stream::{Prefixed, Watched};
use super::watch::{Verdict, Watch};
use super::{MAX_HEAD_BYTES, MAX_STREAMS, Settings, Timeouts, proxy};
use crate::tls::ServerTls;

/// How an HTTP/2 connection begins (RFC 9113 section 3.4). No HTTP/1 method begins like this.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// What Go's servers say to a client that forgot the `s` of `https`.
const NOT_PLAIN: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// Resets a client may have pending before it is taken for a flood (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 32;
/// Window of one stream: a larger body waits for what was read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Window of one connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// HTTP/2 pings find a peer that went without a word.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a ping may be unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a polite end of an idle connection may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a connection needs of its surroundings.
pub struct Context {
    pub service: Arc<Service>,
    pub settings: Arc<Settings>,
    pub tls: Option<Arc<ServerTls>>,
    /// Finish the request under way, then end.
    pub stop: CancellationToken,
}

/// Serves one connection to its end.
pub async fn serve(context: Context, tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let timeouts = &context.settings.timeouts;
    let mut stream = Prefixed::new(tcp);
    // Without TLS the first byte already belongs to a request.
    let patience = if context.tls.is_some() {
        timeouts.handshake
    } else {
        timeouts.header
    };
    let opened = timeout(patience, open(&context, &mut stream, peer));
    let (origin, first) = tokio::select! {
        () = context.stop.cancelled() => return Ok(()),
        opened = opened => opened.map_err(|_| late("no first byte"))??,
    };
    let Some(tls) = &context.tls else {
        let http2 = timeout(timeouts.header, is_http2(&mut stream))
            .await
            .map_err(|_| late("no request"))??;
        return http(context, stream, origin, http2).await;
    };
    if first != TLS_HANDSHAKE {
        stream.write_all(NOT_PLAIN).await?;
        return stream.shutdown().await;
    }
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    let stream = timeout(timeouts.handshake, handshake)
        .await
        .map_err(|_| late("TLS handshake"))??;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    http(context, stream, origin, http2).await
}

/// Reads the PROXY header, if any, and the first byte after it.
async fn open(
    context: &Context,
    stream: &mut Prefixed<TcpStream>,
    peer: SocketAddr,
) -> io::Result<(Origin, u8)> {
    let named = proxy::source(stream, peer.ip(), &context.settings.proxy).await?;
    let origin = Origin {
        peer: named.unwrap_or(peer).ip().to_canonical(),
        tls: context.tls.is_some(),
    };
    if stream.ahead().is_empty() {
        stream.read_ahead(1).await?;
    }
    match stream.ahead().first() {
        Some(first) => Ok((origin, *first)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Whether the client begins with HTTP/2's preface. Reads no further than tells the two apart.
async fn is_http2(stream: &mut Prefixed<TcpStream>) -> io::Result<bool> {
    loop {
        let ahead = stream.ahead();
        if !ahead.iter().zip(PREFACE).all(|(a, b)| a == b) {
            return Ok(false);
        }
        if ahead.len() >= PREFACE.len() {
            return Ok(true);
        }
        if !stream.read_ahead(PREFACE.len()).await? {
            return Ok(false);
        }
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

async fn http<S>(context: Context, stream: S, origin: Origin, http2: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Context {
        service,
        settings,
        stop,
        ..
    } = context;
    let watch = Watch::new();
    let seals = service.surroundings().seals.clone();
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch), !http2));
    let requests = service_fn({
        let (settings, watch) = (Arc::clone(&settings), Arc::clone(&watch));
        move |request| {
            let held = watch.begin();
            let (service, settings, watch) =
                (Arc::clone(&service), Arc::clone(&settings), Arc::clone(&watch));
            async move {
                Ok::<_, std::convert::Infallible>(
                    service.answer(request, origin, &settings, &watch, held).await,
                )
            }
        }
    });
    if http2 {
        guard(
            http2_builder().serve_connection(io, requests),
            &watch,
            &settings.timeouts,
            &stop,
            seals,
        )
        .await
    } else {
        guard(
            http1_builder().serve_connection(io, requests),
            &watch,
            &settings.timeouts,
            &stop,
            seals,
        )
        .await
    }
}

/// Drives a connection while the watchdog allows.
async fn guard<C>(
    connection: C,
    watch: &Watch,
    timeouts: &Timeouts,
    stop: &CancellationToken,
    mut seals: watch::Receiver<u64>,
) -> io::Result<()>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    let mut look = pin!(tokio::time::sleep(Duration::ZERO));
    let (mut leaving, mut sealed) = (false, false);
    // What was counted before is no business of this connection.
    seals.mark_unchanged();
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = stop.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            // Its buffers hold what went through it: they go with it, as soon as what is under way was answered.
            Ok(()) = seals.changed(), if !sealed => {
                (leaving, sealed) = (true, true);
                connection.as_mut().graceful_shutdown();
                look.as_mut().reset(Instant::now() + FAREWELL);
            }
            () = look.as_mut() => match watch.judge(timeouts) {
                _ if sealed && !watch.is_busy() => return Err(late("the peer does not leave a sealed node")),
                Verdict::Wait(until) if sealed => look.as_mut().reset(until.min(Instant::now() + FAREWELL)),
                Verdict::Wait(until) => look.as_mut().reset(until),
                Verdict::Idle if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                    look.as_mut().reset(Instant::now() + FAREWELL);
                }
                Verdict::Idle | Verdict::Dawdling => return Err(late("the peer dawdles")),
            },
        }
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The watchdog times heads: hyper's timer would also cut off idle connections.
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES as usize);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
