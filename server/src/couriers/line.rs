//! Records over a stream: line by line, or as syslog messages. Streams do not tell what the peer has read; that it has gone
//! is looked for before anything is written.

use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use conclave_core::audit::Courier;

use super::Wire;
use super::syslog::Head;

/// How records follow each other.
pub enum Framing {
    /// Each with its end of line.
    Lines,
    /// As syslog messages, with their length before them (RFC 6587, RFC 5425) or an end of line behind.
    Syslog {
        /// What stands before each.
        head: Head,
        /// Whether lengths are written.
        counted: bool,
    },
}

/// A stream that takes records.
pub struct Streamed {
    wire: Box<dyn Wire>,
    framing: Framing,
}

impl Streamed {
    /// Writes to `wire`.
    pub fn new(wire: Box<dyn Wire>, framing: Framing) -> Self {
        Self { wire, framing }
    }

    async fn write(&mut self, lines: &[&[u8]]) -> io::Result<()> {
        let mut said = [0; 256];
        // What the peer says is of no interest; that it has gone is.
        match self.wire.read(&mut said).now_or_never() {
            Some(Ok(0)) => {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the target closed the connection",
                ));
            }
            Some(Err(error)) => return Err(error),
            Some(Ok(_)) | None => {}
        }
        self.wire.write_all(&self.framing.frame(lines)).await?;
        self.wire.flush().await
    }
}

impl Courier for Streamed {
    fn send<'a>(&'a mut self, lines: &'a [&'a [u8]]) -> BoxFuture<'a, io::Result<()>> {
        self.write(lines).boxed()
    }
}

impl Framing {
    fn frame(&self, lines: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::with_capacity(lines.iter().map(|line| line.len() + 96).sum());
        for line in lines {
            match self {
                Self::Lines => {
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
                Self::Syslog { head, counted: false } => {
                    out.extend(head.message(line));
                    out.push(b'\n');
                }
                Self::Syslog { head, counted: true } => {
                    let message = head.message(line);
                    out.extend_from_slice(message.len().to_string().as_bytes());
                    out.push(b' ');
                    out.extend(message);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_messages_are_counted() {
        let framing = Framing::Syslog {
            head: Head::new(4, "n1", "conclave"),
            counted: true,
        };
        let line = br#"{"time":"2026-01-01T00:00:00.123456789Z","type":"request"}"#;
        let framed = String::from_utf8(framing.frame(&[line, line])).unwrap();
        let message = format!(
            "<38>1 2026-01-01T00:00:00.123456Z n1 conclave {} audit - {}",
            std::process::id(),
            String::from_utf8_lossy(line)
        );
        let one = format!("{} {message}", message.len());
        assert_eq!(framed, format!("{one}{one}"));
    }
}
