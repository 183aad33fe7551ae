//! Byte streams between nodes on turmoil's simulated TCP. Both ends say who they are, as after a handshake with
//! certificates, and nobody lies: what a liar gains is tested where keys are.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use conclave_raft::NodeRecord;
use conclave_raft::net::{Incoming, Io, PeerIdentity, Transport};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use turmoil::net::{TcpListener, TcpStream};

use crate::wire::{Wire, Wires};

pub const PORT: u16 = 8201;
/// As long as TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

type Trusted = Arc<Mutex<HashSet<[u8; 32]>>>;
type Accepted = io::Result<Incoming>;

/// Clones are the same transport.
#[derive(Clone)]
pub struct SimTransport {
    wires: Arc<Wires>,
    own: [u8; 32],
    trusted: Trusted,
}

impl SimTransport {
    pub fn new(wires: Arc<Wires>, own: [u8; 32]) -> Self {
        Self {
            wires,
            own,
            trusted: Trusted::default(),
        }
    }

    async fn greet(self, address: String, expected: [u8; 32]) -> io::Result<Wire> {
        let stream = TcpStream::connect(address).await?;
        let mut wire = self.wires.add(stream, true)?;
        wire.write_all(&self.own).await?;
        let mut found = [0; 32];
        wire.read_exact(&mut found).await?;
        match found == expected {
            true => Ok(wire),
            false => Err(refused("another node answers there")),
        }
    }

    async fn welcome(self, stream: TcpStream) -> Accepted {
        let mut wire = self.wires.add(stream, false)?;
        let mut found = [0; 32];
        wire.read_exact(&mut found).await?;
        if !self.trusted.lock().contains(&found) {
            return Err(refused("a stranger"));
        }
        wire.write_all(&self.own).await?;
        let identity = PeerIdentity {
            key_hash: Some(found),
        };
        Ok(Incoming::new(Box::new(wire), identity))
    }

    async fn accept(self, accepted: mpsc::Sender<Accepted>) {
        let listener = match TcpListener::bind(("0.0.0.0", PORT)).await {
            Ok(listener) => listener,
            Err(error) => return drop(accepted.send(Err(error)).await),
        };
        while let Ok((stream, _)) = listener.accept().await {
            let (transport, accepted) = (self.clone(), accepted.clone());
            tokio::spawn(async move {
                if let Ok(Ok(incoming)) = timeout(HANDSHAKE, transport.welcome(stream)).await {
                    accepted.send(Ok(incoming)).await.ok();
                }
            });
        }
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

impl Transport for SimTransport {
    fn connect(&self, peer: &NodeRecord) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let greeting = self.clone().greet(peer.cluster_addr.clone(), peer.key_hash);
        Box::pin(async move {
            let wire = timeout(HANDSHAKE, greeting).await??;
            Ok(Box::new(wire) as Box<dyn Io>)
        })
    }

    fn listen(&self) -> io::Result<BoxStream<'static, Accepted>> {
        let (accepted, streams) = mpsc::channel(64);
        tokio::spawn(self.clone().accept(accepted));
        let streams = stream::unfold(streams, |mut streams| async move {
            let next = streams.recv().await?;
            Some((next, streams))
        });
        Ok(streams.boxed())
    }

    fn trust(&self, keys: HashSet<[u8; 32]>) {
        *self.trusted.lock() = keys;
    }
}
