//! Whom a client trusts and how it shows itself, from PEM to rustls. Knows no sockets.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::BuilderVerifierExt;
use zeroize::Zeroizing;

use super::Error;

/// Whom to trust and what to show.
#[derive(Default)]
pub struct Trust {
    /// PEM of authorities; `None`: the system's.
    pub authorities: Option<Vec<u8>>,
    /// PEM of the client's certificate chain and its key.
    pub identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    /// Expected in certificates instead of the host.
    pub server_name: Option<String>,
}

impl Trust {
    /// What rustls needs: HTTP/2 only, TLS 1.2 and 1.3.
    pub fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match &self.authorities {
            None => builder.with_platform_verifier().map_err(unusable)?,
            Some(pem) => builder.with_root_certificates(roots(pem)?),
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| Error::Config("no private key in the PEM of the identity".to_owned()))?;
                builder
                    .with_client_auth_cert(certificates(chain)?, key)
                    .map_err(unusable)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| Error::Config("no certificates in PEM".to_owned()))
}

fn unusable(error: rustls::Error) -> Error {
    Error::Config(format!("TLS: {error}"))
}
