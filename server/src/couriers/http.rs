//! Messages by POST over one connection. Answers of 200 to 299 mean that the target has them. A record's way is one message of
//! lines of JSON for each batch; whoever has other messages posts those.

use std::io;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use conclave_core::audit::Courier;

use super::Wire;

/// Longest answer that is read to its end, in bytes; after a longer one the connection is given up.
const MAX_ANSWER: usize = 64 << 10;

/// What records are sent as.
pub const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// A connection to a web server, and where its messages go.
pub struct Posted {
    sender: SendRequest<Full<Bytes>>,
    driving: tokio::task::AbortHandle,
    path: String,
    headers: HeaderMap,
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Posted {
    /// Posts to `path` over `wire` what is of this type, unless one of the headers says otherwise.
    pub async fn new(
        wire: Box<dyn Wire>,
        (authority, path): (&str, &str),
        content_type: HeaderValue,
        more: &[(String, String)],
    ) -> io::Result<Self> {
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).map_err(io::Error::other);
        headers.insert(header::HOST, value(authority)?);
        headers.insert(header::CONTENT_TYPE, content_type);
        for (name, text) in more {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
            let mut text = value(text)?;
            text.set_sensitive(true);
            if name == header::CONTENT_TYPE {
                headers.insert(name, text);
            } else {
                headers.append(name, text);
            }
        }
        let (sender, connection) = handshake(TokioIo::new(wire)).await.map_err(io::Error::other)?;
        Ok(Self {
            sender,
            driving: tokio::spawn(connection).abort_handle(),
            path: path.to_owned(),
            headers,
        })
    }

    /// Whether the peer has ended it.
    #[cfg(any(test, feature = "otlp"))]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends one message; the target has it when this returns. After an error nothing more can be posted here.
    pub async fn post(&mut self, body: Bytes) -> io::Result<()> {
        let mut request = http::Request::post(&self.path)
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        *request.headers_mut() = self.headers.clone();
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        if !status.is_success() {
            return Err(io::Error::other(format!("the target answered {status}")));
        }
        answer.map(drop).map_err(io::Error::other)
    }
}

impl Courier for Posted {
    fn send<'a>(&'a mut self, lines: &'a [&'a [u8]]) -> BoxFuture<'a, io::Result<()>> {
        let mut body = lines.join(b"\n".as_slice());
        body.push(b'\n');
        self.post(Bytes::from(body)).boxed()
    }
}
