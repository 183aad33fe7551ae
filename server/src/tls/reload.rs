//! A listener's TLS settings from files, read again when they change on disk. A bad new file never replaces a good old
//! one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_util::sync::CancellationToken;

use super::authority::{DAY, Made, certificates, not_after, now, private_key};
use crate::Error;

/// How often the files' times of change are looked at.
const POLL: Duration = Duration::from_secs(30);
/// From then on the log tells that a certificate ends. One that the node makes itself is renewed before.
const WARN_BEFORE: Duration = DAY.saturating_mul(14);
/// Between two lines about the same certificate.
const REMIND: Duration = DAY;

/// Where a listener's TLS settings come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Certificate chain in PEM.
    pub certificate: PathBuf,
    /// Private key in PEM.
    pub key: PathBuf,
    /// Authorities of client certificates; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must show a certificate.
    pub require_client: bool,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
    /// Whether TLS 1.3 is refused.
    pub only_tls12: bool,
    /// TLS 1.2 suites by their IANA names; empty for all. TLS 1.3 suites are not chosen, as in Go.
    pub suites: Vec<String>,
    /// How certificate and key are made, if they are ours: they are made anew before they end.
    pub made: Option<Made>,
}

/// TLS settings in use, replaced when the files change.
pub struct ServerTls {
    files: Files,
    config: ArcSwap<ServerConfig>,
    seen: Mutex<Vec<Option<SystemTime>>>,
}

impl ServerTls {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Arc<Self>, Error> {
        let seen = changed(&files);
        let config = build(&files)?;
        Ok(Arc::new(Self {
            files,
            config: ArcSwap::new(config),
            seen: Mutex::new(seen),
        }))
    }

    /// What new connections use.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// When the certificate ends, in seconds since the Unix epoch.
    pub fn not_after(&self) -> Result<i64, Error> {
        not_after(&self.files.certificate)
    }

    /// Reads the files again. Connections open keep what they have; on an error everything stays as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let seen = changed(&self.files);
        self.config.store(build(&self.files)?);
        *self.seen.lock() = seen;
        Ok(())
    }

    /// Reads the files again if they changed, after making anew what is ours and ends soon. Whether they did.
    pub fn reload_if_changed(&self) -> Result<bool, Error> {
        if let Some(made) = &self.files.made {
            made.ensure()?;
        }
        let now = changed(&self.files);
        if *self.seen.lock() == now {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Looks for changes until `stop`; `ends` hears when the certificate in use ends, in seconds since the Unix epoch.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken, ends: impl Fn(i64) + Send) {
        let mut ticks = tokio::time::interval(POLL);
        let mut reminder = Reminder::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.reload_if_changed() {
                Ok(true) => tracing::info!("the listener's certificate was read again"),
                Ok(false) => {}
                // Certificate and key are replaced one after the other: the next look may find them whole.
                Err(error) => {
                    tracing::warn!(%error, "the listener's new certificate is not usable; the old one stays");
                }
            }
            if let Ok(end) = self.not_after() {
                ends(end);
                if let Some(warning) = reminder.due(end, now()) {
                    tracing::warn!("{warning}");
                }
            }
        }
    }
}

/// Tells of a certificate that ends soon or has ended: once a day, and at once when another one does.
#[derive(Default)]
struct Reminder(Option<(i64, Duration)>);

impl Reminder {
    /// What is to be said at `now` of a certificate that ends at `end`, both since the Unix epoch.
    fn due(&mut self, end: i64, now: Duration) -> Option<String> {
        let ends = Duration::from_secs(u64::try_from(end).unwrap_or(0));
        let left = ends.saturating_sub(now);
        if left > WARN_BEFORE {
            self.0 = None;
            return None;
        }
        if self
            .0
            .is_some_and(|(told, at)| told == end && now.saturating_sub(at) < REMIND)
        {
            return None;
        }
        self.0 = Some((end, now));
        Some(match left.as_secs() / DAY.as_secs() {
            _ if left.is_zero() => "the listener's certificate has ended: clients refuse it".to_owned(),
            0 => "the listener's certificate ends within a day: clients will refuse it".to_owned(),
            days => format!("the listener's certificate ends in {days} days: clients will refuse it"),
        })
    }
}

fn changed(files: &Files) -> Vec<Option<SystemTime>> {
    [
        Some(&files.certificate),
        Some(&files.key),
        files.client_ca.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
    .collect()
}

fn build(files: &Files) -> Result<Arc<ServerConfig>, Error> {
    let wrong = |error: rustls::Error| Error::Tls(error.to_string());
    let provider = Arc::new(provider(&files.suites)?);
    let versions: &[&SupportedProtocolVersion] = match (files.only_tls12, files.only_tls13) {
        (true, true) => return Err(Error::Tls("tls_min_version is above tls_max_version".to_owned())),
        (true, false) => &[&TLS12],
        (false, true) => &[&TLS13],
        (false, false) => &[&TLS13, &TLS12],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(wrong)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(wrong)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if files.require_client {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            builder
                .with_client_cert_verifier(verifier.build().map_err(|error| Error::Tls(error.to_string()))?)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(&files.certificate)?, private_key(&files.key)?)
        .map_err(|error| Error::Tls(format!("{}: {error}", files.certificate.display())))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(wrong)?;
    Ok(Arc::new(config))
}

fn provider(suites: &[String]) -> Result<CryptoProvider, Error> {
    let mut provider = aws_lc_rs::default_provider();
    if suites.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    // Go's names of the two ChaCha suites end in _SHA256 and not everybody writes it.
    let wanted: Vec<String> = suites.iter().map(|suite| suite.trim().to_owned()).collect();
    for suite in &wanted {
        if !known
            .iter()
            .any(|name| name == suite || name.strip_suffix("_SHA256") == Some(suite))
        {
            return Err(Error::Tls(format!(
                "unknown or unsafe cipher suite {suite:?}; known: {}",
                known.join(", ")
            )));
        }
    }
    provider.cipher_suites.retain(|suite| {
        let name = name(suite);
        suite.tls13().is_some()
            || wanted
                .iter()
                .any(|wanted| name == *wanted || name.strip_suffix("_SHA256") == Some(wanted))
    });
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::authority::{create_ca, create_cert};
    use super::*;

    #[test]
    fn changed_files_are_taken_up_and_unusable_ones_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        create_ca(dir.path()).unwrap();
        let [one, two] = ["one", "two"].map(|name| create_cert(dir.path(), dir.path(), name, &[]).unwrap());
        let files = Files {
            certificate: dir.path().join("listener.pem"),
            key: dir.path().join("listener-key.pem"),
            ..Files::default()
        };
        let (certificate, key) = (files.certificate.clone(), files.key.clone());
        // Clocks of file systems may be coarse: each change is told apart by a time of its own.
        let put = |from: &Path, to: &Path, at: u64| {
            std::fs::copy(from, to).unwrap();
            let file = std::fs::File::options().write(true).open(to).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
                .unwrap();
        };
        put(&one.certificate, &certificate, 1);
        put(&one.key, &key, 1);
        let tls = ServerTls::load(files).unwrap();
        let first = tls.current();
        assert!(!tls.reload_if_changed().unwrap(), "nothing changed");

        // The certificate is replaced, its key is not yet.
        put(&two.certificate, &certificate, 2);
        assert!(tls.reload_if_changed().is_err());
        assert!(Arc::ptr_eq(&first, &tls.current()), "the good one stays");
        put(&two.key, &key, 2);
        assert!(tls.reload_if_changed().unwrap());
        let second = tls.current();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(!tls.reload_if_changed().unwrap(), "it was taken up");

        std::fs::remove_file(&key).unwrap();
        assert!(tls.reload_if_changed().is_err());
        assert!(Arc::ptr_eq(&second, &tls.current()));
        put(&two.key, &key, 3);
        assert!(tls.reload_if_changed().unwrap(), "it is back");
    }

    #[test]
    fn a_certificate_that_ends_is_told_of_once_a_day() {
        let mut reminder = Reminder::default();
        let end = 1_800_000_000_i64;
        let at = |before: i64| Duration::from_secs(u64::try_from(end - before).unwrap_or(0));
        let (hour, day) = (3600, 86_400);
        assert_eq!(reminder.due(end, at(15 * day)), None);
        let first = reminder.due(end, at(14 * day)).unwrap_or_default();
        assert!(first.contains("ends in 14 days"), "{first}");
        assert_eq!(reminder.due(end, at(14 * day - hour)), None, "not each minute");
        let next = reminder.due(end, at(13 * day)).unwrap_or_default();
        assert!(next.contains("ends in 13 days"), "{next}");
        let last = reminder.due(end, at(hour)).unwrap_or_default();
        assert!(last.contains("within a day"), "{last}");
        let over = reminder.due(end, at(-day)).unwrap_or_default();
        assert!(over.contains("has ended"), "{over}");
        let other = reminder.due(end + 2 * day, at(-day)).unwrap_or_default();
        assert!(other.contains("ends in 1 days"), "another one: {other}");
        assert_eq!(reminder.due(end + 400 * day, at(-day)), None, "renewed");
    }
}
