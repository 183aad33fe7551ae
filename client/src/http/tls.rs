//! What the client trusts and shows in TLS: files and bytes in PEM. Does not know addresses or requests.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};
use zeroize::Zeroizing;

use super::Error;

/// Largest PEM file read, in bytes: a bundle of every public authority is about 250 KiB.
const MAX_PEM_BYTES: u64 = 8 * 1024 * 1024;

/// PEM text with authorities, and what is said if it holds none.
type Source = (Vec<u8>, String);
/// A client's certificate chain and its private key, in PEM.
pub type ClientPem = (Vec<u8>, Zeroizing<Vec<u8>>);

/// TLS settings. The empty default trusts what the platform trusts.
#[derive(Clone, Default)]
pub struct Tls {
    /// PEM file with authorities to trust instead of the platform's.
    pub ca_cert: Option<PathBuf>,
    /// The same as bytes; takes precedence over the file.
    pub ca_cert_bytes: Option<Vec<u8>>,
    /// Directory of PEM files with authorities, used if no file or bytes are given.
    pub ca_path: Option<PathBuf>,
    /// PEM file with the client's certificate chain.
    pub client_cert: Option<PathBuf>,
    /// PEM file with the client's private key.
    pub client_key: Option<PathBuf>,
    /// Name to expect in the server's certificate and to send as SNI instead of the address's host.
    pub server_name: Option<String>,
    /// Whether any certificate is accepted.
    pub skip_verify: bool,
}

impl Tls {
    /// Puts the settings into a client under construction.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that is missing or not PEM.
    pub(super) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, Error> {
        let mut builder = builder.tls_danger_accept_invalid_certs(self.skip_verify);
        if let Some(roots) = self.roots()? {
            builder = builder.tls_certs_only(roots);
        }
        if let Some(identity) = self.identity()? {
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    /// The authorities to trust, in PEM; `None`: the platform's.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that is missing or not PEM.
    pub fn authorities(&self) -> Result<Option<Vec<u8>>, Error> {
        self.roots()?;
        let sources = self.sources()?;
        Ok(sources.map(|sources| {
            sources
                .into_iter()
                .flat_map(|(pem, _)| [pem, b"\n".to_vec()].concat())
                .collect()
        }))
    }

    fn roots(&self) -> Result<Option<Vec<Certificate>>, Error> {
        let Some(sources) = self.sources()? else {
            return Ok(None);
        };
        let bundles = sources
            .into_iter()
            .map(|(pem, complaint)| bundle(&pem, complaint));
        Ok(Some(bundles.collect::<Result<Vec<_>, _>>()?.concat()))
    }

    /// PEM texts with authorities, and what is said of each that holds none.
    fn sources(&self) -> Result<Option<Vec<Source>>, Error> {
        if let Some(bytes) = &self.ca_cert_bytes {
            let complaint = "Couldn't parse PEM in ca_cert bytes".to_owned();
            return Ok(Some(vec![(bytes.clone(), complaint)]));
        }
        if let Some(path) = &self.ca_cert {
            let pem = read(path).map_err(|e| Error::Config(format!("Error loading CA File: {e}")))?;
            let complaint = format!("Error loading CA File: Couldn't parse PEM in: {}", path.display());
            return Ok(Some(vec![(pem, complaint)]));
        }
        let Some(dir) = &self.ca_path else { return Ok(None) };
        let entries = std::fs::read_dir(dir)
            .map_err(|e| Error::Config(format!("lstat {}: {}", dir.display(), plain(&e))))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        paths.sort();
        let sources = paths.into_iter().filter(|path| path.is_file()).map(|path| {
            let pem = read(&path).map_err(|e| Error::Config(format!("Error loading CA Path: {e}")))?;
            Ok((pem, format!("Couldn't parse PEM in: {}", path.display())))
        });
        sources.collect::<Result<_, _>>().map(Some)
    }

    /// The client's certificate chain and its key, in PEM, if there is one.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that is missing.
    pub fn client_pem(&self) -> Result<Option<ClientPem>, Error> {
        match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => Ok(Some((
                read(cert).map_err(Error::Config)?,
                Zeroizing::new(read(key).map_err(Error::Config)?),
            ))),
            (None, None) => Ok(None),
            _ => Err(Error::Config(
                "both client cert and client key must be provided".into(),
            )),
        }
    }

    fn identity(&self) -> Result<Option<Identity>, Error> {
        let Some((chain, key)) = self.client_pem()? else {
            return Ok(None);
        };
        let pem = Zeroizing::new([chain.as_slice(), b"\n", &key].concat());
        let names =
            [&self.client_cert, &self.client_key].map(|path| path.as_deref().unwrap_or(Path::new("")));
        let identity = Identity::from_pem(&pem).map_err(|_| {
            Error::Config(format!(
                "no certificate with its key in {} and {}",
                names[0].display(),
                names[1].display()
            ))
        })?;
        Ok(Some(identity))
    }
}

fn bundle(pem: &[u8], complaint: String) -> Result<Vec<Certificate>, Error> {
    match Certificate::from_pem_bundle(pem) {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        _ => Err(Error::Config(complaint)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |e: &std::io::Error| format!("open {}: {}", path.display(), plain(e));
    let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
    if size > MAX_PEM_BYTES {
        return Err(format!(
            "open {}: larger than {MAX_PEM_BYTES} bytes",
            path.display()
        ));
    }
    std::fs::read(path).map_err(|e| failed(&e))
}

/// The system's words for an I/O error without Rust's `(os error N)`, in lower case as Go prints them.
#[must_use]
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
