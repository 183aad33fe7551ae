//! Stands between nodes and writes down, below TLS, what they tell each other. It can do so because the test owns their
//! keys: to each side it is the other one. Nothing in a node knows of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::harness::Cluster;

/// Written by a node at its first start, below its data directory.
const KEY: &str = "node.key";

/// What nodes said, one file for each direction of each connection.
pub struct Tap {
    folder: PathBuf,
    connections: Arc<AtomicU64>,
}

impl Tap {
    /// Stands before the nodes of a cluster, none of which was started yet.
    pub async fn before(cluster: &Cluster) -> Self {
        let folder = cluster.files().join("frames");
        std::fs::create_dir(&folder).expect("a folder for frames");
        let keys: Vec<PathBuf> = cluster
            .nodes
            .iter()
            .map(|node| node.folder().join("data").join(KEY))
            .collect();
        let connections = Arc::new(AtomicU64::new(0));
        for (at, node) in cluster.nodes.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let real = announce(&node.folder().join("conclave.hcl"), &address.to_string());
            let line = Line {
                at,
                real,
                keys: keys.clone(),
                folder: folder.clone(),
                connections: Arc::clone(&connections),
            };
            tokio::spawn(line.serve(listener));
        }
        Self { folder, connections }
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Connections between nodes until now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Lets a node tell the others this address instead of its own, which is returned.
fn announce(config: &Path, address: &str) -> String {
    let text = std::fs::read_to_string(config).expect("a configuration file");
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("cluster_addr "));
    let line = line.expect("an announced address");
    let real = line
        .split("https://")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("an address");
    std::fs::write(
        config,
        text.replace(line, &format!("cluster_addr = \"https://{address}\"")),
    )
    .expect("a configuration file");
    real.to_owned()
}

/// The way to one node.
struct Line {
    at: usize,
    real: String,
    keys: Vec<PathBuf>,
    folder: PathBuf,
    connections: Arc<AtomicU64>,
}

impl Line {
    async fn serve(self, listener: TcpListener) {
        let line = Arc::new(self);
        while let Ok((caller, _)) = listener.accept().await {
            let line = Arc::clone(&line);
            tokio::spawn(async move {
                // A connection that fails is one that the nodes make again.
                let _ = line.join(caller).await;
            });
        }
    }

    async fn join(&self, caller: TcpStream) -> std::io::Result<()> {
        let own = Key::read(&self.keys[self.at])?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(std::io::Error::other)?
            .with_client_cert_verifier(Arc::new(Anybody))
            .with_single_cert(vec![own.certificate], own.private)
            .map_err(std::io::Error::other)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let caller = TlsAcceptor::from(Arc::new(config)).accept(caller).await?;
        let shown = caller
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .cloned();
        let shown = shown.ok_or_else(|| std::io::Error::other("nobody"))?;
        let keys = self.keys.iter().filter_map(|path| Key::read(path).ok());
        let who = keys
            .into_iter()
            .find(|key| shown.windows(key.public.len()).any(|part| part == key.public));
        let who = who.ok_or_else(|| std::io::Error::other("a stranger"))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(std::io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_auth_cert(vec![who.certificate], who.private)
            .map_err(std::io::Error::other)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("node.conclave").map_err(std::io::Error::other)?;
        let node = TcpStream::connect(&self.real).await?;
        let node = TlsConnector::from(Arc::new(config)).connect(name, node).await?;
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let file = |direction: &str| {
            self.folder
                .join(format!("{number}-{direction}-node{}", self.at + 1))
        };
        let (caller_reads, caller_writes) = tokio::io::split(caller);
        let (node_reads, node_writes) = tokio::io::split(node);
        let to = copy(caller_reads, node_writes, file("to"));
        let from = copy(node_reads, caller_writes, file("from"));
        // When one side has ended, so has the connection.
        tokio::select! {
            ended = to => ended,
            ended = from => ended,
        }
    }
}

/// Passes on what it reads, and keeps a copy.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    file: PathBuf,
) -> std::io::Result<()> {
    let mut file = std::fs::File::create(file)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        file.write_all(&buffer[..read])?;
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

/// A node's key with a certificate of its own.
struct Key {
    public: Vec<u8>,
    private: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
}

impl Key {
    fn read(path: &Path) -> std::io::Result<Self> {
        let pair = KeyPair::from_pem(&std::fs::read_to_string(path)?).map_err(std::io::Error::other)?;
        let certificate = CertificateParams::default()
            .self_signed(&pair)
            .map_err(std::io::Error::other)?;
        Ok(Self {
            public: pair.public_key_raw().to_vec(),
            private: PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
            certificate: certificate.der().clone(),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Takes whoever comes: the nodes' own checks of each other are tested elsewhere.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
