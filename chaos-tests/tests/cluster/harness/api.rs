//! Questions to one node over HTTP, without retries and without failover: a scenario must see what really happened.

use std::time::Duration;

use reqwest::{Certificate, Method};
use serde_json::Value;

/// Longer than the node's own patience with an election, shorter than a hang.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one node.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// A node's answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

/// No answer came.
#[derive(Debug, Clone)]
pub enum Lost {
    /// The request never left.
    NotSent(String),
    /// Nobody knows what became of it.
    Unknown(String),
}

/// What is known of a write afterwards.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was done; the answer's `data`.
    Acknowledged(Value),
    /// It was certainly not done.
    NotDone(String),
    /// It may have been done.
    Unknown(String),
}

impl Api {
    /// A client of the node at `url`, which must show a certificate signed by `ca` (PEM). No token yet.
    pub fn new(url: &str, ca: &[u8]) -> Self {
        Self::patient(url, ca, TIMEOUT)
    }

    /// The same, which waits for an answer no longer than this.
    pub fn patient(url: &str, ca: &[u8], timeout: Duration) -> Self {
        // It may be installed already: all of this process use the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = Certificate::from_pem(ca).expect("the authority's certificate");
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .timeout(timeout)
            .build()
            .expect("an HTTP client");
        Self {
            http,
            url: url.to_owned(),
            token: String::new(),
        }
    }

    /// The same node with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// One request to `/v1/<path>`.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Reply, Lost> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}/v1/{path}", self.url));
        if !self.token.is_empty() {
            request = request.header("X-Vault-Token", &self.token);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| Lost::Unknown(error.to_string()))?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path} answers no JSON: {error}"))
        };
        Ok(Reply { status, body })
    }

    /// A read whose answer must come.
    pub async fn get(&self, path: &str) -> Reply {
        let reply = self.call("GET", path, None).await;
        reply.unwrap_or_else(|lost| panic!("GET {path} at {}: {lost:?}", self.url))
    }

    /// A change that must be acknowledged; the answer's `data`, or all of it where there is none.
    pub async fn must(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.call(method, path, Some(body)).await;
        let reply = reply.unwrap_or_else(|lost| panic!("{method} {path} at {}: {lost:?}", self.url));
        assert!(
            reply.is_good(),
            "{method} {path} at {}: {} {}",
            self.url,
            reply.status,
            reply.body
        );
        reply.into_data()
    }

    /// A change, and what is known of it.
    pub async fn write(&self, path: &str, body: Value) -> Outcome {
        let reply = match self.call("POST", path, Some(body)).await {
            Ok(reply) => reply,
            Err(Lost::NotSent(why)) => return Outcome::NotDone(why),
            Err(Lost::Unknown(why)) => return Outcome::Unknown(why),
        };
        match reply.status {
            200..300 => Outcome::Acknowledged(reply.into_data()),
            504 => Outcome::Unknown(reply.text()),
            503 | 400..500 => Outcome::NotDone(reply.text()),
            _ => panic!("POST {path} at {}: {}", self.url, reply.text()),
        }
    }

    /// A page that is no JSON, from a path without `/v1`.
    pub async fn page(&self, path: &str) -> Result<String, String> {
        let response = self.http.get(format!("{}/{path}", self.url)).send().await;
        let response = response.map_err(|error| error.to_string())?;
        let status = response.status();
        let text = response.text().await.map_err(|error| error.to_string())?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(format!("{status}: {text}"))
        }
    }
}

impl Reply {
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn into_data(mut self) -> Value {
        match self.body.get_mut("data") {
            Some(data) if !data.is_null() => data.take(),
            _ => self.body,
        }
    }

    /// What the node calls the request, where it says so.
    pub fn request(&self) -> Option<String> {
        self.body["request_id"].as_str().map(str::to_owned)
    }

    /// Status and errors in one line.
    pub fn text(&self) -> String {
        format!("{} {}", self.status, self.body)
    }
}

fn lost(error: reqwest::Error) -> Lost {
    let connecting = error.is_connect();
    // The causes alone: one text for one reason, whatever was asked.
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(found) = cause {
        cause = found.source();
        if cause.is_none() {
            text = found.to_string();
        }
    }
    if connecting {
        Lost::NotSent(text)
    } else {
        Lost::Unknown(text)
    }
}
