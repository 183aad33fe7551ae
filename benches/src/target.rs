//! Where load goes: an address of this machine and the TLS of one kind of traffic. Knows no protocol above it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;

/// A byte stream to the server, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Where to connect and how.
#[derive(Clone)]
pub struct Target {
    host: IpAddr,
    port: u16,
    tls: Option<TlsConnector>,
}

impl Target {
    /// Reads a URL and the authority. Load goes to this machine only. `alpn` names what is spoken over TLS; empty for
    /// HTTP/1.1.
    pub fn new(address: &str, ca_cert: Option<&Path>, alpn: &[&[u8]]) -> Result<Self, Error> {
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
            Some("https") => {
                let ca_cert = ca_cert.ok_or_else(|| wrong("needs --ca-cert"))?;
                Some(connector(ca_cert, alpn)?)
            }
            _ => return Err(wrong("must begin with http:// or https://")),
        };
        Ok(Self {
            host,
            port: uri.port_u16().unwrap_or(8200),
            tls,
        })
    }

    /// Host and port, as a `Host` header has them.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let failed = |error: std::io::Error| Error::Connection(error.to_string());
        let tcp = TcpStream::connect((self.host, self.port)).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        Ok(match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::IpAddress(self.host.into());
                Box::new(tls.connect(name, tcp).await.map_err(failed)?)
            }
        })
    }
}

fn connector(ca_cert: &Path, alpn: &[&[u8]]) -> Result<TlsConnector, Error> {
    let wrong = |error: String| Error::Setup(format!("{}: {error}", ca_cert.display()));
    let pem = std::fs::read(ca_cert).map_err(|error| wrong(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong("is no certificate".to_owned()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}
