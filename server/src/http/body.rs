//! The bodies the server sends: bytes at hand, a file that is removed once sent, lines as they come, or gRPC's frames.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use conclave_core::logs::Lines;

use super::watch::InFlight;

/// Bytes read from a file at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A response body. The request counts as under way until it is dropped.
pub struct Body {
    content: Content,
    _held: Option<InFlight>,
}

enum Content {
    Bytes(Option<Bytes>),
    File {
        stream: ReaderStream<File>,
        left: u64,
        _removed: Removed,
    },
    Lines(Lines),
    Grpc(tonic::body::Body),
}

impl Body {
    /// Bytes at hand.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            content: Content::Bytes((!bytes.is_empty()).then_some(bytes)),
            _held: None,
        }
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self {
            content: Content::Bytes(None),
            _held: None,
        }
    }

    /// A file, which is removed when the body is dropped, sent or not.
    pub async fn file(path: PathBuf) -> io::Result<Self> {
        let removed = Removed(path);
        let file = File::open(&removed.0).await?;
        let left = file.metadata().await?.len();
        let stream = ReaderStream::with_capacity(file, PIECE_BYTES);
        Ok(Self {
            content: Content::File {
                stream,
                left,
                _removed: removed,
            },
            _held: None,
        })
    }

    /// Lines as they come.
    pub fn lines(lines: Lines) -> Self {
        Self {
            content: Content::Lines(lines),
            _held: None,
        }
    }

    /// The frames of a gRPC answer.
    pub fn grpc(body: tonic::body::Body) -> Self {
        Self {
            content: Content::Grpc(body),
            _held: None,
        }
    }

    /// Holds the request as under way until the body is gone.
    pub fn holding(self, held: InFlight) -> Self {
        Self {
            _held: Some(held),
            ..self
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.content {
            Content::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::File { stream, left, .. } => match ready!(Pin::new(stream).poll_next(cx)) {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
                None if *left > 0 => {
                    Poll::Ready(Some(Err("the file became shorter while it was sent".into())))
                }
                None => Poll::Ready(None),
            },
            Content::Lines(lines) => {
                let line = ready!(lines.as_mut().poll_next(cx));
                Poll::Ready(line.map(|line| Ok(Frame::data(line.into()))))
            }
            Content::Grpc(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Bytes(bytes) => bytes.is_none(),
            Content::File { left, .. } => *left == 0,
            Content::Lines(_) => false,
            Content::Grpc(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Bytes(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::File { left, .. } => SizeHint::with_exact(*left),
            Content::Lines(_) => SizeHint::new(),
            Content::Grpc(body) => body.size_hint(),
        }
    }
}

/// A file that goes when this does.
pub struct Removed(PathBuf);

impl Removed {
    /// Takes charge of `path`.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary file");
        }
    }
}
