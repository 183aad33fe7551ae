//! TLS to targets: the server's certificate is verified against the given authorities, or those of the operating system.
//! Knows no protocol above it but that PostgreSQL's client wants a stream in its own way.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use conclave_engine_api::TargetTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

/// Makes TLS connections to one target.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: String,
}

impl Tls {
    /// What the settings of a target say.
    ///
    /// # Errors
    /// Which of them cannot be used, never what it is.
    pub fn new(settings: &TargetTls) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| "TLS cannot be set up".to_owned())?;
        let builder = if settings.ca.is_empty() {
            builder
                .with_platform_verifier()
                .map_err(|_| "the operating system's certificates cannot be read".to_owned())?
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&settings.ca, "tls_ca")? {
                roots
                    .add(certificate)
                    .map_err(|_| "tls_ca holds what is no certificate of an authority".to_owned())?;
            }
            builder.with_root_certificates(roots)
        };
        let config = if settings.certificate.is_empty() {
            builder.with_no_client_auth()
        } else {
            let key = PrivateKeyDer::from_pem_slice(settings.key.as_bytes())
                .map_err(|_| "private_key is no PEM private key".to_owned())?;
            builder
                .with_client_auth_cert(certificates(&settings.certificate, "tls_certificate")?, key)
                .map_err(|_| "tls_certificate and private_key do not belong together".to_owned())?
        };
        Ok(Self {
            config: Arc::new(config),
            server_name: settings.server_name.clone(),
        })
    }

    /// For a client that makes its own connections.
    pub fn config(&self) -> ClientConfig {
        (*self.config).clone()
    }

    /// A stream to `host`, encrypted and verified.
    ///
    /// # Errors
    /// The server is not who it should be, or the stream broke.
    pub async fn secure<S>(&self, host: &str, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(self.name_of(host)?, stream).await
    }

    /// What a server's certificate must be for.
    fn name_of(&self, host: &str) -> io::Result<ServerName<'static>> {
        let name = match self.server_name.as_str() {
            "" => host,
            name => name,
        };
        ServerName::try_from(name.to_owned()).map_err(io::Error::other)
    }
}

fn certificates(pem: &str, field: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| format!("{field} holds no PEM certificate"))
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Connect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, io::Error> {
        Ok(Connect {
            config: self.config.clone(),
            name: self.name_of(host)?,
        })
    }
}

/// One connection in the making.
pub struct Connect {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl<S> TlsConnect<S> for Connect
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let connector = TlsConnector::from(self.config);
            connector.connect(self.name, stream).await.map(Stream)
        })
    }
}

/// An encrypted stream.
pub struct Stream<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
