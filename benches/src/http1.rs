//! One HTTP/1.1 connection that is kept open and speaks Vault's API. It writes a request in one piece and reads its answer,
//! with no task or queue between: what the generator spends is taken from the servers beside it.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Options;
use crate::error::Error;
use crate::target::{Stream, Target};

/// Most header fields of an answer.
const MAX_FIELDS: usize = 32;
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;

/// A connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    host: String,
    /// The request, then the answer, of the turn.
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a connection.
    pub async fn open(target: &Target) -> Result<Self, Error> {
        Ok(Self {
            stream: target.connect().await?,
            host: target.authority(),
            buffer: Vec::new(),
        })
    }

    /// Writes a version of a secret; whether the server took it.
    pub async fn put(&mut self, options: &Options, key: usize, value: &str) -> Result<bool, Error> {
        let body = json!({"data": {"value": value}}).to_string();
        self.send(&Method::POST, &data_path(options, key), options, &body)
            .await
    }

    /// Reads a secret; whether the server gave it.
    pub async fn get(&mut self, options: &Options, key: usize) -> Result<bool, Error> {
        self.send(&Method::GET, &data_path(options, key), options, "")
            .await
    }

    /// Makes a token; whether the server gave it.
    pub async fn token(&mut self, options: &Options) -> Result<bool, Error> {
        let body = r#"{"ttl":"1h","policies":["default"]}"#;
        self.send(&Method::POST, "/v1/auth/token/create", options, body)
            .await
    }

    /// Sends one request and reads its whole answer.
    async fn send(
        &mut self,
        method: &Method,
        path: &str,
        options: &Options,
        body: &str,
    ) -> Result<bool, Error> {
        let failed = |error: std::io::Error| Error::Connection(error.to_string());
        let (host, token) = (&self.host, &options.token);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-vault-token: {token}\r\nx-vault-request: true\r\n"
        );
        self.buffer.clear();
        self.buffer.extend_from_slice(head.as_bytes());
        if *method != Method::GET {
            let length = format!("content-length: {}\r\n", body.len());
            self.buffer.extend_from_slice(length.as_bytes());
        }
        self.buffer.extend_from_slice(b"\r\n");
        self.buffer.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.buffer).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)?;
        self.buffer.clear();
        let (status, whole) = self.head().await?;
        while self.buffer.len() < whole {
            self.more().await?;
        }
        Ok(matches!(status, 200 | 204))
    }

    /// Reads up to the end of the head: the status, and the length of the whole answer.
    async fn head(&mut self) -> Result<(u16, usize), Error> {
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

/// Status and length of an answer whose head is complete. The servers say the length of what is asked here.
fn parse(bytes: &[u8]) -> Result<Option<(u16, usize)>, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(|error| wrong(&error.to_string()))?;
    let httparse::Status::Complete(head) = parsed else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let field = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = field.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    match (length, status) {
        (Some(length), _) => Ok(Some((status, head + length))),
        (None, 204) => Ok(Some((status, head))),
        (None, _) => Err(wrong("its answer does not say its length")),
    }
}

fn data_path(options: &Options, key: usize) -> String {
    format!("/v1/{}/data/load/key-{key}", options.mount)
}
