//! Syslog messages as RFC 5424 lays them out, and the local daemon's socket.

use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::UnixDatagram;

use conclave_core::audit::Courier;

/// Severity of all messages: informational.
const SEVERITY: u16 = 6;
/// Digits of a second that the format has room for.
const FRACTION: usize = 6;

/// What stands before each message.
pub struct Head {
    /// Priority and version.
    start: String,
    /// Host, program, process, kind.
    rest: String,
}

impl Head {
    /// Of this facility, from this host and program.
    pub fn new(facility: u8, host: &str, tag: &str) -> Self {
        Self {
            start: format!("<{}>1 ", u16::from(facility) * 8 + SEVERITY),
            rest: format!(" {host} {tag} {} audit - ", std::process::id()),
        }
    }

    /// A record as a message. Its time is the record's.
    pub fn message(&self, line: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(line.len() + 96);
        out.extend_from_slice(self.start.as_bytes());
        match time_of(line) {
            Some(time) => out.extend_from_slice(time.as_bytes()),
            None => out.push(b'-'),
        }
        out.extend_from_slice(self.rest.as_bytes());
        out.extend_from_slice(line);
        out
    }
}

/// The time a record begins with, with no more digits than syslog takes.
fn time_of(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(b"{\"time\":\"".as_slice())?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let time = std::str::from_utf8(rest.get(..end)?).ok()?;
    let bare = time.strip_suffix('Z')?;
    match bare.split_once('.') {
        Some((seconds, fraction)) => {
            let fraction = fraction.get(..FRACTION).unwrap_or(fraction);
            Some(format!("{seconds}.{fraction}Z"))
        }
        None => Some(time.to_owned()),
    }
}

/// A socket that takes a message each.
pub struct Datagrams {
    socket: UnixDatagram,
    head: Head,
}

impl Datagrams {
    /// Sends to a socket that is connected.
    pub fn new(socket: UnixDatagram, head: Head) -> Self {
        Self { socket, head }
    }

    async fn send_all(&self, lines: &[&[u8]]) -> io::Result<()> {
        for line in lines {
            let sent = self.socket.send(&self.head.message(line)).await;
            match sent {
                // EMSGSIZE on Linux: no datagram is that long. What follows must not wait for it for ever.
                Err(error) if error.raw_os_error() == Some(90) => {
                    let bytes = line.len();
                    tracing::warn!(
                        bytes,
                        "an audit record is too long for a datagram: its place is told instead"
                    );
                    let instead = format!("{{\"type\":\"too-long\",\"bytes\":{bytes}}}");
                    self.socket.send(&self.head.message(instead.as_bytes())).await?;
                }
                sent => {
                    sent?;
                }
            }
        }
        Ok(())
    }
}

impl Courier for Datagrams {
    fn send<'a>(&'a mut self, lines: &'a [&'a [u8]]) -> BoxFuture<'a, io::Result<()>> {
        self.send_all(lines).boxed()
    }
}
