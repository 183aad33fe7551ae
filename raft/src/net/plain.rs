//! Plain TCP without authentication: peers are who they claim to be. For tests on the loopback interface only, and it
//! refuses to listen anywhere else.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;

use crate::command::NodeRecord;
use crate::net::{Incoming, Io, PeerIdentity, Transport};

/// Plain TCP on a loopback address.
pub struct PlainTransport {
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
}

impl PlainTransport {
    /// Binds a loopback address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or is not a loopback address.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "unauthenticated node traffic is for the loopback interface only",
            ));
        }
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener: Mutex::new(Some(listener)),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Transport for PlainTransport {
    fn connect(&self, peer: &NodeRecord) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let address = peer.cluster_addr.clone();
        Box::pin(async move {
            let stream = dial(&address).await?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }

    fn listen(&self) -> io::Result<BoxStream<'static, io::Result<Incoming>>> {
        let listener = self.listener.lock().take().ok_or_else(taken)?;
        let streams = TcpListenerStream::new(listener).map(|accepted| {
            let stream = accepted?;
            stream.set_nodelay(true)?;
            Ok(Incoming::new(Box::new(stream), PeerIdentity::default()))
        });
        Ok(streams.boxed())
    }

    fn trust(&self, _keys: HashSet<[u8; 32]>) {}
}

/// Opens a TCP connection with small writes sent at once.
pub(crate) async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The error of a second `listen`.
pub(crate) fn taken() -> io::Error {
    io::Error::other("this transport is listening already")
}
