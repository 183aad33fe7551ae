//! A small certificate authority for clients and listeners: made by `operator tls`, or at first start for a listener
//! without certificate. Keys are ECDSA P-256; they never leave the files named here.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use conclave_raft::node::{Clock, SystemClock};

use crate::Error;

/// A day.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
/// Life of a certificate authority.
const CA_LIFE: Duration = DAY.saturating_mul(3650);
/// Life of a listener's certificate.
const CERT_LIFE: Duration = DAY.saturating_mul(365);
/// A certificate we made is made anew when less than this is left.
const RENEW_BEFORE: Duration = DAY.saturating_mul(60);
/// Certificates are valid a little before they are made: clocks differ.
const BACKDATE: Duration = Duration::from_secs(3600);

/// Files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, or chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key in PKCS #8 PEM, mode 0600.
    pub key: PathBuf,
}

/// Makes a new authority in `dir`: `ca.pem` and `ca-key.pem`. An existing one is never replaced.
pub fn create_ca(dir: &Path) -> Result<Issued, Error> {
    let issued = Issued {
        certificate: dir.join("ca.pem"),
        key: dir.join("ca-key.pem"),
    };
    for path in [&issued.certificate, &issued.key] {
        if path.exists() {
            return Err(Error::Tls(format!(
                "{} is there already; it is not replaced",
                path.display()
            )));
        }
    }
    let key = new_key()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Conclave client CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    dated(&mut params, CA_LIFE)?;
    let certificate = params.self_signed(&key).map_err(tls)?;
    make_dir(dir)?;
    write(&issued.key, Zeroizing::new(key.serialize_pem()).as_bytes(), 0o600)?;
    write(&issued.certificate, certificate.pem().as_bytes(), 0o644)?;
    Ok(issued)
}

/// Makes a certificate signed by the authority in `ca_dir`: `<name>.pem` (with the authority's behind it) and
/// `<name>-key.pem` in `out`, for the names and addresses in `sans` and for `name` itself. Replaces older ones.
pub fn create_cert(ca_dir: &Path, out: &Path, name: &str, sans: &[String]) -> Result<Issued, Error> {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !plain || name.starts_with('.') || name == "ca" {
        return Err(Error::Tls(format!(
            "{name:?} cannot name a certificate: use letters, digits, '-', '_' and '.'"
        )));
    }
    let ca_pem = read(&ca_dir.join("ca.pem"))?;
    let ca_key = KeyPair::from_pem(&Zeroizing::new(read(&ca_dir.join("ca-key.pem"))?)).map_err(tls)?;
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key).map_err(tls)?;
    let key = new_key()?;
    let mut names: Vec<String> = sans.to_vec();
    if !names.iter().any(|san| san == name) {
        names.push(name.to_owned());
    }
    let mut params = CertificateParams::new(names).map_err(tls)?;
    params.distinguished_name = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    dated(&mut params, CERT_LIFE)?;
    let certificate = params.signed_by(&key, &issuer).map_err(tls)?;
    make_dir(out)?;
    let issued = Issued {
        certificate: out.join(format!("{name}.pem")),
        key: out.join(format!("{name}-key.pem")),
    };
    write(&issued.key, Zeroizing::new(key.serialize_pem()).as_bytes(), 0o600)?;
    write(
        &issued.certificate,
        format!("{}{ca_pem}", certificate.pem()).as_bytes(),
        0o644,
    )?;
    Ok(issued)
}

/// The certificate of a listener that was given none: made at first start together with an authority, and made anew when
/// it nears its end or lacks a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Where certificate and authority are kept.
    pub dir: PathBuf,
    /// Names and addresses it must be valid for.
    pub names: Vec<String>,
}

impl Made {
    /// Makes what is missing. Gives the certificate and the path of the authority's.
    pub fn ensure(&self) -> Result<(Issued, PathBuf), Error> {
        const NAME: &str = "listener";
        let ca = self.dir.join("ca.pem");
        if !ca.exists() {
            create_ca(&self.dir)?;
        }
        let issued = Issued {
            certificate: self.dir.join(format!("{NAME}.pem")),
            key: self.dir.join(format!("{NAME}-key.pem")),
        };
        let there = issued.key.exists() && issued.certificate.exists();
        if !(there && serves(&issued.certificate, &self.names)?) {
            create_cert(&self.dir, &self.dir, NAME, &self.names)?;
        }
        Ok((issued, ca))
    }
}

/// When the first certificate of a PEM file ends, in seconds since the Unix epoch.
pub fn not_after(path: &Path) -> Result<i64, Error> {
    with_first(path, |certificate| certificate.validity().not_after.timestamp())
}

/// The certificates of a PEM file, in order.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Tls(format!("{}: {error}", path.display()));
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(&error))?
        .collect();
    let found = found.map_err(|error| wrong(&error))?;
    if found.is_empty() {
        Err(wrong(&"holds no certificate"))
    } else {
        Ok(found)
    }
}

/// The private key of a PEM file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| Error::Tls(format!("{}: {error}", path.display())))
}

fn serves(path: &Path, sans: &[String]) -> Result<bool, Error> {
    use x509_parser::extensions::GeneralName;
    with_first(path, |certificate| {
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let names = certificate.subject_alternative_name().ok().flatten();
        let names: Vec<String> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => address(bytes),
                _ => None,
            })
            .collect();
        Duration::from_secs(end) > now() + RENEW_BEFORE && sans.iter().all(|san| names.contains(san))
    })
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string());
    v4.or_else(|_| v6()).ok()
}

fn with_first<T>(
    path: &Path,
    read: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>) -> T,
) -> Result<T, Error> {
    let wrong = || Error::Tls(format!("{}: not a certificate", path.display()));
    let chain = certificates(path)?;
    let first = chain.first().ok_or_else(wrong)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(first).map_err(|_| wrong())?;
    Ok(read(&certificate))
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(tls)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::OrganizationName, "Conclave");
    names.push(DnType::CommonName, name);
    names
}

/// Since the Unix epoch.
pub(super) fn now() -> Duration {
    Duration::from_millis(SystemClock.wall())
}

fn dated(params: &mut CertificateParams, life: Duration) -> Result<(), Error> {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now().saturating_sub(BACKDATE);
    params.not_after = epoch + now() + life;
    Ok(())
}

fn tls(error: rcgen::Error) -> Error {
    Error::Tls(error.to_string())
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::file("cannot read", path))
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(Error::file("cannot create", dir))
}

/// Writes beside the target and renames, so that a reader sees the old or the new file.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let beside = path.with_extension("new");
    let written = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(Error::file("cannot write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_ca_is_never_replaced_and_signs_certificates_for_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let ca = create_ca(dir.path()).unwrap();
        let mode = fs::metadata(&ca.key).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(create_ca(dir.path()).is_err());
        let sans = [
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
            "vault.example".to_owned(),
        ];
        let issued = create_cert(dir.path(), dir.path(), "node-1", &sans).unwrap();
        assert!(serves(&issued.certificate, &sans).unwrap());
        assert!(serves(&issued.certificate, &["node-1".to_owned()]).unwrap());
        assert!(!serves(&issued.certificate, &["other.example".to_owned()]).unwrap());
        assert_eq!(
            certificates(&issued.certificate).unwrap().len(),
            2,
            "with the authority's"
        );
        for bad in ["", "ca", "../x", "a/b", ".hidden", "a b"] {
            assert!(create_cert(dir.path(), dir.path(), bad, &[]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_listeners_certificate_is_kept_until_it_lacks_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut made = Made {
            dir: dir.path().to_owned(),
            names: vec!["localhost".to_owned()],
        };
        let (issued, ca) = made.ensure().unwrap();
        let first = fs::read(&issued.certificate).unwrap();
        let authority = fs::read(&ca).unwrap();
        made.ensure().unwrap();
        assert_eq!(fs::read(&issued.certificate).unwrap(), first);
        made.names.push("10.0.0.1".to_owned());
        made.ensure().unwrap();
        assert_ne!(fs::read(&issued.certificate).unwrap(), first);
        assert_eq!(
            fs::read(&ca).unwrap(),
            authority,
            "clients keep trusting what they trust"
        );
    }
}
