//! What is sent to the API and what comes back. Pure data.

use reqwest::header::HeaderMap;

use super::Error;
use super::json::Json;

/// A request to the API.
#[derive(Clone, Default)]
pub struct Request {
    /// HTTP method in capitals.
    pub method: String,
    /// Path after `/v1/`, not escaped.
    pub path: String,
    /// Query parameters, not escaped.
    pub query: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
    /// Whether the answer may be wrapped by the client's wrap TTL.
    pub no_wrap: bool,
}

/// What a request sends.
#[derive(Clone, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// A JSON document.
    Json(Json),
    /// A JSON merge patch (RFC 7396).
    MergePatch(Json),
    /// The content of a file, streamed.
    File(std::path::PathBuf),
}

impl Request {
    /// A request without query and body.
    #[must_use]
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            ..Self::default()
        }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(mut self, body: impl Into<Json>) -> Self {
        self.body = Body::Json(body.into());
        self
    }

    pub(super) fn json_text(&self) -> Option<String> {
        match &self.body {
            Body::Json(json) | Body::MergePatch(json) => Some(json.to_compact()),
            _ => None,
        }
    }

    pub(super) fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "LIST" | "SCAN")
    }
}

/// An answer with a status that is no error.
pub struct Response {
    /// HTTP status code.
    pub code: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; `None` if it is empty.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is not JSON.
    pub fn json(&self) -> Result<Option<Json>, Error> {
        if self.body.is_empty() {
            Ok(None)
        } else {
            Ok(Some(Json::parse_first(&self.body)?))
        }
    }
}
