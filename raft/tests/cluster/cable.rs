//! A transport that can be pulled out and put back in: all streams break, and none can be opened meanwhile.

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use conclave_raft::NodeRecord;
use conclave_raft::net::{Incoming, Io, PeerIdentity, PlainTransport, Transport};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub struct Cable {
    inner: PlainTransport,
    socket: Arc<Socket>,
}

#[derive(Default)]
struct Socket {
    pulled: AtomicBool,
    streams: Mutex<CancellationToken>,
}

impl Cable {
    pub fn new(inner: PlainTransport) -> Self {
        Self {
            inner,
            socket: Arc::default(),
        }
    }

    pub fn pull(&self) {
        self.socket.pulled.store(true, Ordering::SeqCst);
        std::mem::take(&mut *self.socket.streams.lock()).cancel();
    }

    pub fn plug(&self) {
        self.socket.pulled.store(false, Ordering::SeqCst);
    }
}

impl Socket {
    fn wire(&self, io: Box<dyn Io>) -> Wire {
        let mut streams = self.streams.lock().clone();
        if self.pulled.load(Ordering::SeqCst) {
            streams = CancellationToken::new();
            streams.cancel();
        }
        Wire {
            io,
            broken: Box::pin(streams.cancelled_owned()),
        }
    }
}

impl Transport for Cable {
    fn connect(&self, peer: &NodeRecord) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let connecting = self.inner.connect(peer);
        let socket = Arc::clone(&self.socket);
        Box::pin(async move {
            if socket.pulled.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::NetworkUnreachable.into());
            }
            let io = connecting.await?;
            Ok(Box::new(socket.wire(io)) as Box<dyn Io>)
        })
    }

    fn listen(&self) -> io::Result<BoxStream<'static, io::Result<Incoming>>> {
        let socket = Arc::clone(&self.socket);
        let streams = self.inner.listen()?.map(move |accepted| {
            let wire = socket.wire(Box::new(accepted?));
            Ok(Incoming::new(Box::new(wire), PeerIdentity::default()))
        });
        Ok(streams.boxed())
    }

    fn trust(&self, _keys: HashSet<[u8; 32]>) {}
}

struct Wire {
    io: Box<dyn Io>,
    broken: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.broken.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
