//! Byte streams under the HTTP parser: one that gives back bytes read ahead, and one that keeps the watch informed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::framing::Framing;
use super::watch::Watch;

/// A stream whose first bytes were read ahead.
pub struct Prefixed<S> {
    ahead: Vec<u8>,
    given: usize,
    inner: S,
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    /// Nothing read ahead yet.
    pub fn new(inner: S) -> Self {
        Self {
            ahead: Vec::new(),
            given: 0,
            inner,
        }
    }

    /// What was read ahead and not given out.
    pub fn ahead(&self) -> &[u8] {
        self.ahead.get(self.given..).unwrap_or_default()
    }

    /// Reads at least one more byte ahead, but never more than `limit` in all. `false` at the end of the stream or
    /// at the limit.
    pub async fn read_ahead(&mut self, limit: usize) -> io::Result<bool> {
        let held = self.ahead().len();
        let mut piece = [0u8; 256];
        let room = limit.saturating_sub(held).min(piece.len());
        let Some(room) = piece.get_mut(..room).filter(|room| !room.is_empty()) else {
            return Ok(false);
        };
        let count = self.inner.read(room).await?;
        self.ahead
            .extend_from_slice(room.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    /// Drops the first `count` bytes read ahead.
    pub fn consume(&mut self, count: usize) {
        self.given = self.given.saturating_add(count).min(self.ahead.len());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < self.ahead.len() {
            let count = buf.remaining().min(self.ahead().len());
            buf.put_slice(self.ahead().get(..count).unwrap_or_default());
            self.given += count;
            if self.given == self.ahead.len() {
                self.ahead = Vec::new();
                self.given = 0;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A stream that tells the connection's [`Watch`] what it sees.
pub struct Watched<S> {
    inner: S,
    watch: Arc<Watch>,
    /// Only for HTTP/1.
    framing: Option<Framing>,
}

impl<S> Watched<S> {
    /// Watches `inner`; `http1` follows its messages.
    pub fn new(inner: S, watch: Arc<Watch>, http1: bool) -> Self {
        Self {
            inner,
            watch,
            framing: http1.then(Framing::default),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = &result {
            let this = &mut *self;
            if let Some(framing) = &mut this.framing {
                framing.advance(buf.filled().get(before..).unwrap_or_default());
                this.watch.received(framing.phase(), framing.ambiguous());
            }
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.watch.writing(result.is_pending());
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.wrote(result)
    }
}
