//! What the client trusts and shows in TLS: files and bytes in PEM. Does not know addresses or requests.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use super::Error;

/// Largest PEM file read, in bytes: a bundle of every public authority is about 250 KiB.
const MAX_PEM_BYTES: u64 = 8 * 1024 * 1024;

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

    fn roots(&self) -> Result<Option<Vec<Certificate>>, Error> {
        if let Some(bytes) = &self.ca_cert_bytes {
            return bundle(bytes, "Couldn't parse PEM in ca_cert bytes".into()).map(Some);
        }
        if let Some(path) = &self.ca_cert {
            let text = format!("Couldn't parse PEM in: {}", path.display());
            let pem = read(path).map_err(|e| Error::Config(format!("Error loading CA File: {e}")))?;
            return match bundle(&pem, text) {
                Ok(certs) => Ok(Some(certs)),
                Err(e) => Err(Error::Config(format!("Error loading CA File: {e}"))),
            };
        }
        let Some(dir) = &self.ca_path else { return Ok(None) };
        let entries = std::fs::read_dir(dir)
            .map_err(|e| Error::Config(format!("lstat {}: {}", dir.display(), plain(&e))))?;
        let mut certs = Vec::new();
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        paths.sort();
        for path in paths.into_iter().filter(|p| p.is_file()) {
            let pem = read(&path).map_err(|e| Error::Config(format!("Error loading CA Path: {e}")))?;
            certs.extend(bundle(
                &pem,
                format!("Couldn't parse PEM in: {}", path.display()),
            )?);
        }
        Ok(Some(certs))
    }

    fn identity(&self) -> Result<Option<Identity>, Error> {
        let (cert, key) = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return Ok(None),
            _ => {
                return Err(Error::Config(
                    "both client cert and client key must be provided".into(),
                ));
            }
        };
        let mut pem = read(cert).map_err(Error::Config)?;
        pem.push(b'\n');
        pem.extend(read(key).map_err(Error::Config)?);
        let identity = Identity::from_pem(&pem).map_err(|_| {
            Error::Config(format!(
                "no certificate with its key in {} and {}",
                cert.display(),
                key.display()
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
