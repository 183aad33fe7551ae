//! TLS towards a target, whose certificate is checked always.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The authorities of the system, where a device names none.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Speaks TLS with `host`, whose certificate one of those in `ca_cert` signed.
pub async fn connect(tcp: TcpStream, host: &str, ca_cert: &str) -> io::Result<TlsStream<TcpStream>> {
    let roots = match ca_cert {
        "" => {
            let pem = tokio::fs::read(SYSTEM).await;
            trusted(&pem.map_err(|error| io::Error::new(error.kind(), format!("{SYSTEM}: {error}")))?)?
        }
        pem => trusted(pem.as_bytes())?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

fn trusted(pem: &[u8]) -> io::Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is no certificate of an authority to trust",
        ));
    }
    Ok(roots)
}
