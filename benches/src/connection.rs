//! One HTTP/1.1 connection that is kept open, with or without TLS. Knows no Vault.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;

/// Where to connect and how.
#[derive(Clone)]
pub struct Target {
    host: IpAddr,
    port: u16,
    tls: Option<TlsConnector>,
}

/// A connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Target {
    /// Reads a URL and the authority. Load goes to this machine only.
    pub fn new(address: &str, ca_cert: Option<&Path>) -> Result<Self, Error> {
        let wrong = |text: &str| Error::Setup(format!("{address}: {text}"));
        let uri: http::Uri = address.parse().map_err(|_| wrong("is no URL"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let host: IpAddr = if host == "localhost" {
            IpAddr::from([127, 0, 0, 1])
        } else {
            host.parse().map_err(|_| wrong("names no address"))?
        };
        if !host.is_loopback() {
            return Err(wrong(
                "is not on this machine: load goes to loopback addresses only",
            ));
        }
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(connector(ca_cert.ok_or_else(|| wrong("needs --ca-cert"))?)?),
            _ => return Err(wrong("must begin with http:// or https://")),
        };
        Ok(Self {
            host,
            port: uri.port_u16().unwrap_or(8200),
            tls,
        })
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let failed = |error: std::io::Error| Error::Connection(error.to_string());
        let tcp = TcpStream::connect((self.host, self.port)).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let host = format!("{}:{}", self.host, self.port);
        let sender = match &self.tls {
            None => handshake(tcp).await?,
            Some(tls) => {
                let name = ServerName::IpAddress(self.host.into());
                handshake(tls.connect(name, tcp).await.map_err(failed)?).await?
            }
        };
        Ok(Connection { sender, host })
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, driver) = shaken.map_err(|error| Error::Connection(error.to_string()))?;
    tokio::spawn(driver);
    Ok(sender)
}

fn connector(ca_cert: &Path) -> Result<TlsConnector, Error> {
    let wrong = |error: String| Error::Setup(format!("{}: {error}", ca_cert.display()));
    let pem = std::fs::read(ca_cert).map_err(|error| wrong(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong("is no certificate".to_owned()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Connection {
    /// Sends one request and reads its whole answer; returns the status.
    pub async fn send(
        &mut self,
        method: &http::Method,
        path: &str,
        token: &str,
        body: Bytes,
    ) -> Result<u16, Error> {
        let failed = |error: hyper::Error| Error::Connection(error.to_string());
        self.sender.ready().await.map_err(failed)?;
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, &self.host)
            .header("x-vault-token", token)
            .header("x-vault-request", "true")
            .body(Full::new(body))
            .map_err(|error| Error::Setup(error.to_string()))?;
        let response = self.sender.send_request(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map_err(failed)?;
        Ok(status)
    }
}
