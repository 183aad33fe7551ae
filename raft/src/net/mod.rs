//! Node-to-node traffic: gRPC over HTTP/2 on any ordered byte stream. This folder must not know what log entries or
//! peer messages mean.
//!
//! `Transport` makes the byte streams (TLS, plain, simulated), `peers` knows who may speak, `client` and `server` are
//! the two ends of each call (`target` is the
//! calling end for Raft), `convert` translates between the wire and openraft.

mod client;
mod convert;
pub mod key;
mod lanes;
mod peers;
pub mod plain;
mod progress;
mod server;
mod snapshot;
mod target;
pub mod tls;

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::command::NodeRecord;

pub(crate) use client::{Found, Network};
pub use key::{NodeKey, NodeSignature};
pub(crate) use lanes::{Lane, Lanes};
pub(crate) use peers::{Peers, Start};
pub use plain::PlainTransport;
pub(crate) use server::{Host, serve};
pub use tls::TlsTransport;

/// Largest gRPC message either way, in bytes: a batch of the largest commands and its frame.
pub(crate) const MAX_MESSAGE: usize = 32 << 20;
/// HTTP/2 window of one stream, in bytes.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// HTTP/2 window of one connection, in bytes.
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;

/// Makes byte streams between nodes and says who is at the other end.
pub trait Transport: Send + Sync + 'static {
    /// Opens a stream to the node at `peer.cluster_addr`. With authentication, fails unless the node proves to hold
    /// the key with `peer.key_hash`. Ends by itself in bounded time: nobody above gives up on it.
    fn connect(&self, peer: &NodeRecord) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;
    /// Streams that other nodes open. Called once.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    fn listen(&self) -> io::Result<BoxStream<'static, io::Result<Incoming>>>;
    /// From now on only nodes with these keys (SHA-256 of their SubjectPublicKeyInfo) may open streams.
    fn trust(&self, keys: HashSet<[u8; 32]>);
}

/// An ordered byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerIdentity {
    /// SHA-256 of the SubjectPublicKeyInfo whose private key the peer holds; `None` where the transport does not
    /// authenticate.
    pub key_hash: Option<[u8; 32]>,
}

/// A stream that another node opened.
pub struct Incoming {
    io: Box<dyn Io>,
    identity: PeerIdentity,
    /// Ends the stream from this side. A connection outlives its server otherwise, with all that it holds.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Incoming {
    /// Joins a stream with who opened it.
    pub fn new(io: Box<dyn Io>, identity: PeerIdentity) -> Self {
        Self {
            io,
            identity,
            end: None,
        }
    }

    /// Breaks the stream when `end` is cancelled.
    fn until(mut self, end: &CancellationToken) -> Self {
        self.end = Some(Box::pin(end.clone().cancelled_owned()));
        self
    }
}

impl Connected for Incoming {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.identity
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
