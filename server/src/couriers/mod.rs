//! Takes audit records to where operators want them: sockets, syslog servers, web servers. Which records, in what order and
//! what happens when this fails is core's business. What else goes to a web server takes the same way.

pub(crate) mod http;
mod line;
mod syslog;
mod tls;

use std::io;
use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixDatagram, UnixStream};

use conclave_core::audit::{Address, Courier, Couriers, Protocol, Target};

use line::{Framing, Streamed};

/// A connection, whatever carries it.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Opens ways to targets over the network and the file system.
pub struct NetCouriers {
    /// This node as syslog servers are told.
    host: String,
}

impl NetCouriers {
    /// Records are told to come from `name`.
    pub fn new(name: &str) -> Self {
        // RFC 5424: HOSTNAME is 1 to 255 printable characters.
        let host: String = name.chars().filter(char::is_ascii_graphic).take(255).collect();
        Self {
            host: if host.is_empty() { "-".to_owned() } else { host },
        }
    }

    async fn open(&self, target: &Target) -> io::Result<Box<dyn Courier>> {
        let framing = |counted| match &target.protocol {
            Protocol::Syslog { facility, tag } => Framing::Syslog {
                head: syslog::Head::new(*facility, &self.host, tag),
                counted,
            },
            Protocol::Lines | Protocol::Http { .. } => Framing::Lines,
        };
        match &target.address {
            Address::Unix(path) => match (&target.protocol, datagrams(path)) {
                (Protocol::Syslog { facility, tag }, Some(socket)) => Ok(Box::new(syslog::Datagrams::new(
                    socket?,
                    syslog::Head::new(*facility, &self.host, tag),
                ))),
                _ => {
                    let stream = UnixStream::connect(path).await?;
                    Ok(Box::new(Streamed::new(Box::new(stream), framing(false))))
                }
            },
            Address::Host { host, port, tls } => {
                let wire = wire_to((host, *port), tls.then_some(&target.ca_cert)).await?;
                match &target.protocol {
                    Protocol::Http { headers, path } => {
                        let authority = authority(host, *port);
                        let place = (authority.as_str(), path.as_str());
                        Ok(Box::new(
                            http::Posted::new(wire, place, http::LINES, headers).await?,
                        ))
                    }
                    Protocol::Lines | Protocol::Syslog { .. } => {
                        Ok(Box::new(Streamed::new(wire, framing(true))))
                    }
                }
            }
        }
    }
}

impl Couriers for NetCouriers {
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Courier>>> {
        self.open(target).boxed()
    }
}

/// A connection to a host; by TLS if there are authorities that its certificate is checked against.
pub(crate) async fn wire_to(
    (host, port): (&str, u16),
    authorities: Option<&String>,
) -> io::Result<Box<dyn Wire>> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    Ok(match authorities {
        Some(pem) => Box::new(tls::connect(tcp, host, pem).await?),
        None => Box::new(tcp),
    })
}

/// A socket that takes datagrams, as `/dev/log` does; `None` where there is one that takes connections.
fn datagrams(path: &Path) -> Option<io::Result<UnixDatagram>> {
    let socket = UnixDatagram::unbound();
    let connected = socket.and_then(|socket| socket.connect(path).map(|()| socket));
    match connected {
        // EPROTOTYPE on Linux: the socket is of another kind.
        Err(error) if error.raw_os_error() == Some(91) => None,
        connected => Some(connected),
    }
}

/// A host and its port, as a URL says them.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
