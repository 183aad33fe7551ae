//! One HTTP/1.1 connection that is kept open and speaks Vault's API.

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use serde_json::json;

use crate::Options;
use crate::error::Error;
use crate::target::Target;

/// A connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Opens a connection.
    pub async fn open(target: &Target) -> Result<Self, Error> {
        let shaken = http1::handshake(target.connect().await?).await;
        let (sender, driver) = shaken.map_err(|error| Error::Connection(error.to_string()))?;
        tokio::spawn(driver);
        Ok(Self {
            sender,
            host: target.authority(),
        })
    }

    /// Writes a version of a secret; whether the server took it.
    pub async fn put(&mut self, options: &Options, key: usize, value: &str) -> Result<bool, Error> {
        let body = json!({"data": {"value": value}}).to_string();
        self.send(&Method::POST, &data_path(options, key), options, body.into())
            .await
    }

    /// Reads a secret; whether the server gave it.
    pub async fn get(&mut self, options: &Options, key: usize) -> Result<bool, Error> {
        self.send(&Method::GET, &data_path(options, key), options, Bytes::new())
            .await
    }

    /// Makes a token; whether the server gave it.
    pub async fn token(&mut self, options: &Options) -> Result<bool, Error> {
        let body = Bytes::from_static(br#"{"ttl":"1h","policies":["default"]}"#);
        self.send(&Method::POST, "/v1/auth/token/create", options, body)
            .await
    }

    /// Sends one request and reads its whole answer.
    async fn send(
        &mut self,
        method: &Method,
        path: &str,
        options: &Options,
        body: Bytes,
    ) -> Result<bool, Error> {
        let failed = |error: hyper::Error| Error::Connection(error.to_string());
        self.sender.ready().await.map_err(failed)?;
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, &self.host)
            .header("x-vault-token", &options.token)
            .header("x-vault-request", "true")
            .body(Full::new(body))
            .map_err(|error| Error::Setup(error.to_string()))?;
        let response = self.sender.send_request(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map_err(failed)?;
        Ok(matches!(status, 200 | 204))
    }
}

fn data_path(options: &Options, key: usize) -> String {
    format!("/v1/{}/data/load/key-{key}", options.mount)
}
