//! The byte streams of one process. All it carries leaves a mark in the trace, so that two runs are compared message by
//! message; and when the process is killed its streams end in the order they were made: the order in which a runtime
//! drops its tasks depends on how many tasks there ever were in the whole test process.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use turmoil::net::TcpStream;

use crate::world::World;

type Shared = Arc<Mutex<Option<TcpStream>>>;

/// All streams of one process.
pub struct Wires {
    world: Arc<World>,
    node: u64,
    ending: Notify,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    ended: bool,
    next: u64,
    streams: BTreeMap<u64, Shared>,
}

impl Wires {
    pub fn new(world: Arc<World>, node: u64) -> Arc<Self> {
        Arc::new(Self {
            world,
            node,
            ending: Notify::new(),
            open: Mutex::default(),
        })
    }

    /// The process is to be killed: its streams end with its next chance to run.
    pub fn end(&self) {
        self.ending.notify_one();
    }

    /// Runs in the process until it is to be killed.
    pub async fn run(self: Arc<Self>) {
        self.ending.notified().await;
        let streams = {
            let mut open = self.open.lock();
            open.ended = true;
            std::mem::take(&mut open.streams)
        };
        for stream in streams.into_values() {
            drop(stream.lock().take());
        }
    }

    /// Takes a stream in.
    pub fn add(self: &Arc<Self>, stream: TcpStream, opened: bool) -> io::Result<Wire> {
        let port = stream.local_addr()?.port();
        let mut open = self.open.lock();
        if open.ended {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        open.next += 1;
        let number = open.next;
        let stream = Arc::new(Mutex::new(Some(stream)));
        open.streams.insert(number, Arc::clone(&stream));
        Ok(Wire {
            wires: Arc::clone(self),
            stream,
            number,
            port,
            opened,
        })
    }
}

pub struct Wire {
    wires: Arc<Wires>,
    stream: Shared,
    number: u64,
    port: u16,
    /// Whether this end opened the stream.
    opened: bool,
}

impl Wire {
    fn with<T>(&self, act: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut *self.stream.lock() {
            Some(stream) => act(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.wires.open.lock().streams.remove(&self.number);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.with(|stream| stream.poll_write(cx, buf));
        if let Poll::Ready(Ok(size)) = written {
            self.wires
                .world
                .wire(self.wires.node, self.opened, self.port, size);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}
