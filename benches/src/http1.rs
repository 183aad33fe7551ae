//! One HTTP/1.1 connection that is kept open and speaks Vault's API. It writes a request in one piece and reads its answer,
//! with no task or queue between: what the generator spends is taken from the servers beside it.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Options;
use crate::ask::Ask;
use crate::error::Error;
use crate::target::{Stream, Target};

/// Most header fields of an answer.
const MAX_FIELDS: usize = 32;
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
/// Most bytes of an answer that comes in pieces.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    host: String,
    /// The request, then the answer, of the turn.
    buffer: Vec<u8>,
    /// Whether the last answer was a good one.
    is_good: bool,
}

impl Connection {
    /// Opens a connection.
    pub async fn open(target: &Target) -> Result<Self, Error> {
        Ok(Self {
            stream: target.connect().await?,
            host: target.authority(),
            buffer: Vec::new(),
            is_good: false,
        })
    }

    /// Asks once; whether the server did it.
    pub async fn ask(&mut self, options: &Options, ask: &Ask) -> Result<bool, Error> {
        self.send(options, ask).await.map(|_| self.is_good)
    }

    /// Makes a token and ends it; whether the server did both.
    pub async fn revoke(&mut self, options: &Options, make: &Ask) -> Result<bool, Error> {
        let body = self.send(options, make).await?;
        let made = self.buffer.get(body..).unwrap_or_default();
        let made: serde_json::Value = serde_json::from_slice(made).unwrap_or_default();
        let token = made
            .pointer("/auth/client_token")
            .and_then(|token| token.as_str());
        let Some(token) = token else { return Ok(false) };
        self.ask(options, &Ask::revoke(token)).await
    }

    /// Sends one request and reads its whole answer; where its body begins in the buffer.
    async fn send(&mut self, options: &Options, ask: &Ask) -> Result<usize, Error> {
        let failed = |error: std::io::Error| Error::Connection(error.to_string());
        let (host, method, path) = (&self.host, &ask.method, &ask.path);
        self.buffer.clear();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-vault-request: true\r\n");
        if ask.shows_token {
            head += &format!("x-vault-token: {}\r\n", options.token);
        }
        if ask.wraps {
            head += "x-vault-wrap-ttl: 60\r\n";
        }
        if ask.method != Method::GET {
            head += &format!("content-length: {}\r\n", ask.body.len());
        }
        head += "\r\n";
        self.buffer.extend_from_slice(head.as_bytes());
        self.buffer.extend_from_slice(ask.body.as_bytes());
        self.stream.write_all(&self.buffer).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)?;
        self.buffer.clear();
        let head = self.head().await?;
        self.is_good = matches!(head.status, 200 | 204);
        match head.length {
            Some(length) => {
                while self.buffer.len() < head.end + length {
                    self.more().await?;
                }
            }
            None => self.pieces(head.end).await?,
        }
        Ok(head.end)
    }

    /// Reads a body that comes in pieces, each after its length (RFC 9112, section 7.1).
    async fn pieces(&mut self, begin: usize) -> Result<(), Error> {
        let mut at = begin;
        loop {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let parsed = httparse::parse_chunk_size(rest).map_err(|_| wrong("its pieces have no length"))?;
            let httparse::Status::Complete((line, length)) = parsed else {
                self.more().await?;
                continue;
            };
            let length = usize::try_from(length).map_err(|_| wrong("a piece of it is too long"))?;
            // Each ends with a line end, the last too: there are no trailers here.
            at = at.saturating_add(line).saturating_add(length).saturating_add(2);
            if at > MAX_BODY {
                return Err(wrong("its body is too long"));
            }
            while self.buffer.len() < at {
                self.more().await?;
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// Reads up to the end of the head.
    async fn head(&mut self) -> Result<Head, Error> {
        loop {
            self.more().await?;
            if let Some(head) = parse(&self.buffer)? {
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(wrong("its head is too long"));
            }
        }
    }

    async fn more(&mut self) -> Result<(), Error> {
        let read = self.stream.read_buf(&mut self.buffer).await;
        match read.map_err(|error| Error::Connection(error.to_string()))? {
            0 => Err(wrong("it ended before its answer did")),
            _ => Ok(()),
        }
    }
}

fn wrong(text: &str) -> Error {
    Error::Connection(text.to_owned())
}

/// The head of an answer.
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    /// Its length; `None` if it comes in pieces.
    length: Option<usize>,
}

/// The head of an answer, once it is complete.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(|error| wrong(&error.to_string()))?;
    let httparse::Status::Complete(end) = parsed else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let length = match field("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) => Some(length),
        None if status == 204 => Some(0),
        None if field("transfer-encoding") == Some("chunked") => None,
        _ => return Err(wrong("its answer does not say its length")),
    };
    Ok(Some(Head { status, end, length }))
}
