//! One gRPC connection that is kept open and speaks Conclave's API.

use http::Uri;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use conclave_proto::v1::kv_client::KvClient;
use conclave_proto::v1::token_client::TokenClient;
use conclave_proto::v1::{KvGetRequest, KvPutRequest, TokenCreateRequest};

use crate::Options;
use crate::error::Error;
use crate::target::Target;

/// How HTTP/2 is named when TLS is set up.
pub const ALPN: &[u8] = b"h2";

/// A connection.
pub struct Connection {
    kv: KvClient<Channel>,
    tokens: TokenClient<Channel>,
    token: MetadataValue<Ascii>,
}

impl Connection {
    /// Opens a connection.
    pub async fn open(target: &Target, options: &Options) -> Result<Self, Error> {
        let target = target.clone();
        // The stream is encrypted beneath; the scheme only names the requests.
        let endpoint = Endpoint::from_shared(format!("http://{}", target.authority()))
            .map_err(|error| Error::Setup(error.to_string()))?;
        let connect = tower::service_fn(move |_: Uri| {
            let target = target.clone();
            async move { target.connect().await.map(TokioIo::new) }
        });
        let channel = endpoint
            .connect_with_connector(connect)
            .await
            .map_err(|error| Error::Connection(error.to_string()))?;
        let token = options.token.parse();
        Ok(Self {
            kv: KvClient::new(channel.clone()),
            tokens: TokenClient::new(channel),
            token: token.map_err(|_| Error::Setup("the token is not visible ASCII".to_owned()))?,
        })
    }

    /// Writes a version of a secret; whether the server took it.
    pub async fn put(&mut self, options: &Options, key: usize, value: &str) -> Result<bool, Error> {
        let request = self.request(KvPutRequest {
            mount: options.mount.clone(),
            path: path(key),
            data: json!({ "value": value }).to_string().into_bytes().into(),
            cas: None,
        });
        done(self.kv.put(request).await)
    }

    /// Reads a secret; whether the server gave it.
    pub async fn get(&mut self, options: &Options, key: usize) -> Result<bool, Error> {
        let request = self.request(KvGetRequest {
            mount: options.mount.clone(),
            path: path(key),
            version: 0,
        });
        done(self.kv.get(request).await)
    }

    /// Makes a token; whether the server gave it.
    pub async fn token(&mut self) -> Result<bool, Error> {
        let request = self.request(TokenCreateRequest {
            policies: vec!["default".to_owned()],
            ttl_seconds: 3600,
            ..TokenCreateRequest::default()
        });
        done(self.tokens.create(request).await)
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("x-conclave-token", self.token.clone());
        request
    }
}

/// A refusal counts against the server; a connection that broke ends the run.
fn done<M>(answer: Result<M, Status>) -> Result<bool, Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) => {
            Err(Error::Connection(status.to_string()))
        }
        Err(_) => Ok(false),
    }
}

fn path(key: usize) -> String {
    format!("load/key-{key}")
}
