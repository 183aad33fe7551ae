//! The accept loop: takes connections within the caps until told to stop, then waits for those under way. Nothing a
//! client does ends it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Settings;
use super::connection::{self, Context};
use super::proxy::Trust;
use super::service::Service;
use crate::Error;
use crate::tls::ServerTls;

/// Pause after an error of `accept` itself (no descriptors left): the loop must neither end nor spin.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections the kernel holds for us before we accept them.
const BACKLOG: u32 = 1024;

/// A bound address that is not served yet.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<ServerTls>>,
    settings: Arc<Settings>,
}

/// Binds `address`. `tls` of `None` is plain HTTP.
pub fn listen(
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    settings: Settings,
) -> Result<Listener, Error> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let tcp = bind().map_err(|source| Error::Listen {
        address: address.to_string(),
        source,
    })?;
    Ok(Listener {
        tcp,
        tls,
        settings: Arc::new(settings),
    })
}

impl Listener {
    /// The bound address, with the port the system chose for port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop`; then no connection is taken, those open end after the request under way, and what is
    /// left after `grace` is cut off.
    pub async fn serve(self, service: Arc<Service>, stop: CancellationToken, grace: Duration) {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let room = Arc::new(Semaphore::new(self.settings.max_connections));
        let addresses = Arc::new(Addresses::default());
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    after_accept_error(&error).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                service.surroundings().metrics.refused("connections");
                continue;
            };
            let Some(place) = Addresses::enter(&addresses, peer.ip(), &self.settings) else {
                service.surroundings().metrics.refused("address");
                continue;
            };
            let context = Context {
                service: Arc::clone(&service),
                settings: Arc::clone(&self.settings),
                tls: self.tls.clone(),
                stop: stop.clone(),
            };
            let cut = cut.clone();
            connections.spawn(async move {
                let _held = (permit, place);
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = run(context, tcp, peer) => {}
                }
            });
        }
        drop(self.tcp);
        connections.close();
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            cut.cancel();
            connections.wait().await;
        }
    }
}

async fn run(context: Context, tcp: TcpStream, peer: SocketAddr) {
    // Small answers must not wait for the peer's acknowledgement of the last ones.
    let result = match tcp.set_nodelay(true) {
        Ok(()) => connection::serve(context, tcp, peer).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Waits as long as an error of `accept` asks for: the loop must neither end nor spin.
pub(crate) async fn after_accept_error(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    // The connection died before it was taken: the next one may be fine.
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    ) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections");
    tokio::time::sleep(PAUSE).await;
}

/// Connections by address. Entries without connections are removed, so it is never larger than the connection cap.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, u32>>);

/// One connection's place in [`Addresses`].
struct Place {
    addresses: Arc<Addresses>,
    /// `None` for peers that are not counted.
    key: Option<IpAddr>,
}

impl Addresses {
    /// Counts a connection from `peer`, unless it has too many.
    fn enter(addresses: &Arc<Self>, peer: IpAddr, settings: &Settings) -> Option<Place> {
        let trusted = match &settings.proxy {
            Trust::Listed(networks) | Trust::Only(networks) => networks.contains(peer),
            Trust::Off | Trust::Everyone => false,
        };
        if trusted || settings.forwarding.trusts(peer) {
            return Some(Place {
                addresses: Arc::clone(addresses),
                key: None,
            });
        }
        let key = network(peer);
        let mut counts = addresses.0.lock();
        let count = counts.entry(key).or_insert(0);
        if *count >= settings.max_per_address {
            return None;
        }
        *count += 1;
        Some(Place {
            addresses: Arc::clone(addresses),
            key: Some(key),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut counts = self.addresses.0.lock();
        if let Some(count) = counts.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }
}

/// The unit that is counted: an IPv4 address, or an IPv6 /64, which one host has to itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}
