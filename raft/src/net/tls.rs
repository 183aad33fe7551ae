//! TLS 1.3 with both sides authenticated by recorded keys: a certificate counts for its public key alone. Neither
//! issuers nor names nor dates are looked at, so that a cluster that was off for a year still talks to itself.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;

use crate::command::NodeRecord;
use crate::error::Error;
use crate::net::key::{NodeKey, key_hash};
use crate::net::plain::{dial, taken};
use crate::net::{Incoming, Io, PeerIdentity, Transport};

/// Protocol name in the handshake.
const ALPN: &[u8] = b"h2";
/// A handshake takes at most this long.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes under way at a time; more wait in the listener's backlog.
const MAX_HANDSHAKES: usize = 64;
/// Refused connections get a line in the log this often at most.
const TELL_REFUSALS: Duration = Duration::from_secs(10);

type Keys = Arc<ArcSwap<HashSet<[u8; 32]>>>;

/// Mutually authenticated TLS on TCP.
pub struct TlsTransport {
    key: NodeKey,
    provider: Arc<CryptoProvider>,
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    /// Keys that may open streams to this node.
    trusted: Keys,
}

impl TlsTransport {
    /// Binds `address` (port 0 takes a free one) for a node with this key. Nobody is trusted yet.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr, key: NodeKey) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            key,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            address: listener.local_addr()?,
            listener: Mutex::new(Some(listener)),
            trusted: Keys::default(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn client(&self, expected: [u8; 32]) -> Result<TlsConnector, rustls::Error> {
        let keys = Arc::new(ArcSwap::from_pointee(HashSet::from([expected])));
        let verifier = Arc::new(RecordedKeys::new(keys, &self.provider));
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.key.certificate()], self.key.private_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn server(&self) -> Result<TlsAcceptor, rustls::Error> {
        let verifier = Arc::new(RecordedKeys::new(Arc::clone(&self.trusted), &self.provider));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.key.certificate()], self.key.private_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the check of the key.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Transport for TlsTransport {
    fn connect(&self, peer: &NodeRecord) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let address = peer.cluster_addr.clone();
        let connector = self.client(peer.key_hash);
        Box::pin(async move {
            let connector = connector.map_err(io::Error::other)?;
            // Names are not checked; one is needed for the message format.
            let name = ServerName::try_from("node.conclave").map_err(io::Error::other)?;
            let handshake = async { connector.connect(name, dial(&address).await?).await };
            let stream = tokio::time::timeout(HANDSHAKE, handshake).await??;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }

    fn listen(&self) -> io::Result<BoxStream<'static, io::Result<Incoming>>> {
        let listener = self.listener.lock().take().ok_or_else(taken)?;
        let acceptor = self.server().map_err(io::Error::other)?;
        let (accepted, streams) = mpsc::channel(MAX_HANDSHAKES);
        tokio::spawn(accept(listener, acceptor, accepted));
        Ok(ReceiverStream::new(streams).map(Ok).boxed())
    }

    fn trust(&self, keys: HashSet<[u8; 32]>) {
        self.trusted.store(Arc::new(keys));
    }
}

/// Lets a line about a refused connection into the log once in a while: a node that was removed goes on calling.
#[derive(Default)]
struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    /// Calls `tell` with the number of refusals that were not told of since, unless the last was told of just now.
    fn told(&self, tell: impl FnOnce(u64)) {
        let now = Instant::now();
        let mut state = self.0.lock();
        let (at, untold) = *state;
        if at.is_some_and(|at| now.duration_since(at) < TELL_REFUSALS) {
            *state = (at, untold + 1);
        } else {
            *state = (Some(now), 0);
            drop(state);
            tell(untold);
        }
    }
}

/// Accepts connections and shakes hands beside the accept loop, so that one silent peer delays nobody.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, accepted: mpsc::Sender<Incoming>) {
    let limit = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let refusals = Arc::new(Refusals::default());
    loop {
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            () = accepted.closed() => return,
        };
        let (stream, from) = match stream {
            Ok(found) => found,
            Err(error) => {
                // Out of file descriptors or a connection that is gone already: later ones may do better.
                tracing::warn!(%error, "a node connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        let refusals = Arc::clone(&refusals);
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, shake(acceptor, stream)).await {
                Ok(Ok(incoming)) => {
                    accepted.send(incoming).await.ok();
                }
                Ok(Err(error)) => refusals.told(|untold| {
                    tracing::warn!(%from, %error, untold, "a node connection was refused");
                }),
                Err(_) => tracing::warn!(%from, "a node connection did not finish its handshake"),
            }
            drop(permit);
        });
    }
}

async fn shake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<Incoming> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| io::Error::other("no certificate"))?;
    let identity = PeerIdentity {
        key_hash: Some(key_hash(certificate).map_err(io::Error::other)?),
    };
    Ok(Incoming::new(Box::new(stream), identity))
}

/// Accepts exactly the certificates whose public key is in a live set.
#[derive(Debug)]
struct RecordedKeys {
    keys: Keys,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl RecordedKeys {
    fn new(keys: Keys, provider: &CryptoProvider) -> Self {
        Self {
            keys,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let hash = key_hash(certificate)
            .map_err(|_: Error| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match self.keys.load().contains(&hash) {
            true => Ok(()),
            false => Err(rustls::Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

const OLD_TLS: rustls::Error = rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered);

impl ServerCertVerifier for RecordedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(OLD_TLS)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for RecordedKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(OLD_TLS)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
