//! One POST to another node's API, as a node makes it when it asks to be admitted. Certificates are checked against the
//! authority the operator named; there is no way to switch that off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use conclave_core::Error;

/// How long the whole exchange may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Posts `body` to `/v1/<path>` of the node at `target.leader_api_addr`; returns the `data` of its answer.
pub async fn post(
    target: Map<String, Value>,
    path: String,
    body: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let exchanged = tokio::time::timeout(PATIENCE, exchange(&target, &path, body)).await;
    exchanged.unwrap_or_else(|_| Err(Error::NoLeader("the member did not answer in time".to_owned())))
}

async fn exchange(
    target: &Map<String, Value>,
    path: &str,
    body: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let text = |name: &str| {
        target
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let address = text("leader_api_addr");
    let uri: http::Uri = address
        .parse()
        .map_err(|_| Error::invalid("leader_api_addr is no URL"))?;
    let (Some(host), Some(scheme)) = (uri.host(), uri.scheme_str()) else {
        return Err(Error::invalid("leader_api_addr must look like https://host:port"));
    };
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let unreachable = |error: std::io::Error| Error::NoLeader(format!("{address}: {error}"));
    let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port))
        .await
        .map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let request = http::Request::post(format!("/v1/{path}"))
        .header(http::header::HOST, format!("{host}:{port}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .header("x-vault-request", "true")
        .body(Full::new(Bytes::from(Value::Object(body).to_string())))
        .map_err(|error| Error::invalid(error.to_string()))?;
    if scheme == "http" {
        return send(tcp, request).await;
    }
    let connector = tls(&text("leader_ca_cert"))?;
    let server_name = match text("leader_tls_servername") {
        name if name.is_empty() => host.trim_matches(['[', ']']).to_owned(),
        name => name,
    };
    let name = ServerName::try_from(server_name)
        .map_err(|_| Error::invalid("leader_api_addr names no valid host"))?;
    let stream = connector.connect(name, tcp).await.map_err(unreachable)?;
    send(stream, request).await
}

/// The certificate itself, never a path: whoever may ask a node to join must not make it open files.
fn tls(pem: &str) -> Result<tokio_rustls::TlsConnector, Error> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|_| Error::invalid("leader_ca_cert is no certificate in PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| Error::invalid("leader_ca_cert is no usable certificate"))?;
    }
    if roots.is_empty() {
        return Err(Error::invalid(
            "leader_ca_cert, the certificate in PEM, is required for an https leader_api_addr",
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

async fn send<S>(stream: S, request: http::Request<Full<Bytes>>) -> Result<Map<String, Value>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| Error::NoLeader(format!("the member's answer: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let driving = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    driving.abort();
    let body = body
        .map_err(|error| Error::NoLeader(format!("the member's answer: {error}")))?
        .to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        let errors = answer.get("errors").and_then(Value::as_array);
        let said = errors
            .and_then(|errors| errors.first())
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        return Err(Error::invalid(format!("the member refused ({status}): {said}")));
    }
    match answer.get("data") {
        Some(Value::Object(data)) => Ok(data.clone()),
        _ => Err(Error::internal("the member's answer is not understood")),
    }
}
