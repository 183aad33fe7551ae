//! A development server in this process, and generated clients of it.

use std::future::Future;
use std::time::Duration;

use conclave_client::Conclave;
use conclave_proto::v1;
use conclave_server::dev::{DevOptions, DevServer};
use tonic::metadata::{Ascii, MetadataKey};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// No test waits longer than this for anything: a hang is a failure, not a stuck run.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The root token.
pub const ROOT: &str = "root";

/// A development server without TLS.
pub async fn plain() -> DevServer {
    start(false).await
}

/// A development server with TLS.
pub async fn tls() -> DevServer {
    start(true).await
}

async fn start(tls: bool) -> DevServer {
    let options = DevOptions {
        listen_address: "127.0.0.1:0".to_owned(),
        root_token: Some(ROOT.to_owned()),
        tls,
        ..DevOptions::default()
    };
    DevServer::start(options).await.unwrap()
}

/// A connection without retries.
pub async fn channel(server: &DevServer) -> Channel {
    let endpoint = Channel::from_shared(server.api_addr.clone()).unwrap();
    endpoint.connect().await.unwrap()
}

/// A call with metadata.
pub fn with<M>(message: M, metadata: &[(&'static str, &str)]) -> Request<M> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        let name = MetadataKey::<Ascii>::from_static(name);
        request.metadata_mut().append(name, value.parse().unwrap());
    }
    request
}

/// A call as root.
pub fn root<M>(message: M) -> Request<M> {
    with(message, &[("x-conclave-token", ROOT)])
}

/// The reason beside a status.
pub fn reason(status: &Status) -> &str {
    let reason = status.metadata().get("x-conclave-reason");
    reason.map_or("", |reason| reason.to_str().unwrap())
}

/// A token that only has the policy `default`.
pub async fn powerless(channel: &Channel) -> String {
    let wishes = v1::TokenCreateRequest {
        policies: vec!["default".to_owned()],
        ..Default::default()
    };
    let mut tokens = v1::token_client::TokenClient::new(channel.clone());
    let made = tokens.create(root(wishes)).await.unwrap();
    made.into_inner().auth.unwrap().client_token
}

/// The SDK over these URLs, as root.
pub fn sdk<I: IntoIterator<Item = String>>(urls: I) -> Conclave {
    Conclave::connect(urls).token(ROOT).build().unwrap()
}

/// Waits until `state` gives a value.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, state: impl Fn() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(value) = state().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} in time"))
}
