//! The numbers of the transports, and the text form of all numbers. Labels come from closed sets: never a path, a token,
//! a name or an address.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::vault_names;
use crate::Error;

/// Upper bounds of the duration buckets in seconds: from a cached read to the request time-out.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Methods that are told apart.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "LIST", "SCAN"];
/// Statuses that are told apart: those of this server, and Vault's own.
const CODES: [u16; 25] = [
    200, 201, 202, 204, 301, 307, 400, 401, 403, 404, 405, 408, 412, 413, 415, 421, 429, 431, 472, 473, 500,
    501, 502, 503, 504,
];
/// What a path tells of the kind of mount without the mount table.
const CLASSES: [&str; 6] = ["none", "sys", "auth", "identity", "cubbyhole", "secret"];
/// Every method or status that is not told apart.
const OTHER: &str = "other";

/// Numbers of one node's transports.
pub struct HttpMetrics {
    registry: Registry,
    durations: HistogramVec,
    requests: IntCounterVec,
    /// What was looked up in the two above, by method: a request costs no lock and no text.
    known: [Known; METHODS.len() + 1],
    refused: IntCounterVec,
    certificate: IntGauge,
    /// When the certificates of all listeners end.
    ends: Mutex<BTreeMap<usize, i64>>,
    /// Whether numbers are told under Vault's names too.
    vault_names: bool,
}

/// Numbers of one method.
#[derive(Default)]
struct Known {
    durations: [OnceLock<Histogram>; CLASSES.len()],
    requests: [OnceLock<IntCounter>; CODES.len() + 1],
}

impl HttpMetrics {
    /// MIME type of [`HttpMetrics::text`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Registers all numbers, and the process's own, in `registry`. `vault_names`: tells them under Vault's names too.
    pub fn new(registry: &Registry, vault_names: bool) -> Result<Self, Error> {
        let durations = HistogramOpts::new(
            "conclave_http_request_duration_seconds",
            "Time from a request's head to its answer's head, by method and what the path tells of the mount.",
        );
        let build = || -> Result<Self, prometheus::Error> {
            let metrics = Self {
                registry: registry.clone(),
                durations: HistogramVec::new(durations.buckets(BUCKETS.to_vec()), &["method", "mount_type"])?,
                requests: IntCounterVec::new(
                    Opts::new(
                        "conclave_http_requests_total",
                        "Requests answered, by method and status.",
                    ),
                    &["method", "code"],
                )?,
                known: Default::default(),
                refused: IntCounterVec::new(
                    Opts::new(
                        "conclave_connections_refused_total",
                        "Connections closed at once, by the cap they met.",
                    ),
                    &["cap"],
                )?,
                certificate: IntGauge::new(
                    "conclave_tls_cert_expiry_timestamp_seconds",
                    "When the listener's certificate ends, the first of them if there are more; 0 without TLS.",
                )?,
                ends: Mutex::default(),
                vault_names,
            };
            // There from the start: a rate of what never happened is 0, not absent.
            for cap in ["address", "connections"] {
                metrics.refused.with_label_values(&[cap]);
            }
            let info = IntGaugeVec::new(Opts::new("conclave_build_info", "Always 1."), &["version"])?;
            info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
            registry.register(Box::new(metrics.durations.clone()))?;
            registry.register(Box::new(metrics.requests.clone()))?;
            registry.register(Box::new(metrics.refused.clone()))?;
            registry.register(Box::new(metrics.certificate.clone()))?;
            registry.register(Box::new(info))?;
            let process = prometheus::process_collector::ProcessCollector::for_self();
            registry.register(Box::new(process))?;
            Ok(metrics)
        };
        build().map_err(|error| Error::Settings(format!("metrics: {error}")))
    }

    /// A request was answered.
    pub fn observe(&self, method: &Method, path: &str, status: StatusCode, elapsed: Duration) {
        let at = METHODS.iter().position(|known| *known == method.as_str());
        let at = at.unwrap_or(METHODS.len());
        let method = METHODS.get(at).copied().unwrap_or(OTHER);
        let (class, code) = (class(path), status.as_u16());
        let code_at = CODES.iter().position(|known| *known == code);
        let Some(known) = self.known.get(at) else { return };
        let (duration, count) = (
            known.durations.get(class),
            known.requests.get(code_at.unwrap_or(CODES.len())),
        );
        if let (Some(duration), Some(class)) = (duration, CLASSES.get(class)) {
            duration
                .get_or_init(|| self.durations.with_label_values(&[method, class]))
                .observe(elapsed.as_secs_f64());
        }
        if let Some(count) = count {
            let told = || if code_at.is_some() { status.as_str() } else { OTHER };
            count
                .get_or_init(|| self.requests.with_label_values(&[method, told()]))
                .inc();
        }
    }

    /// A connection was closed because of a cap.
    pub fn refused(&self, cap: &'static str) {
        self.refused.with_label_values(&[cap]).inc();
    }

    /// When the certificate of this listener ends, in seconds since the Unix epoch.
    pub fn certificate_ends(&self, listener: usize, seconds: i64) {
        let mut ends = self.ends.lock();
        ends.insert(listener, seconds);
        self.certificate.set(ends.values().copied().min().unwrap_or(0));
    }

    /// All numbers of the registry in Prometheus's text format.
    pub fn text(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        let mut families = self.registry.gather();
        if self.vault_names {
            families.extend(vault_names::of(&families));
        }
        TextEncoder::new()
            .encode(&families, &mut text)
            .map_err(|error| Error::Settings(format!("metrics: {error}")))?;
        Ok(text)
    }
}

/// A method's name, if it is one of those that are told apart.
pub fn method_name(method: &Method) -> &'static str {
    let known = METHODS.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or(OTHER)
}

/// The place in [`CLASSES`] of what the path tells.
fn class(path: &str) -> usize {
    let Some(path) = path.strip_prefix("/v1/") else {
        return 0;
    };
    match path.split('/').next() {
        Some("sys") => 1,
        Some("auth") => 2,
        Some("identity") => 3,
        Some("cubbyhole") => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What strangers send makes no series without bound: every method, path and status they can think of.
    #[test]
    fn whatever_is_asked_for_the_series_stay_few() {
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry, false).unwrap();
        let paths = [
            "/",
            "/v1/sys/x",
            "/v1/auth/y",
            "/v1/identity/z",
            "/v1/cubbyhole/c",
            "/v1/some/secret",
        ];
        for method in METHODS.into_iter().chain(["BREW", "HIDDEN"]) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for path in paths {
                for code in 200..600 {
                    let status = StatusCode::from_u16(code).unwrap();
                    metrics.observe(&method, path, status, Duration::from_millis(1));
                }
            }
        }
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series < 1_200, "{series} series");
        // The status as a label: the process's own numbers may hold these digits.
        for hidden in ["BREW", "HIDDEN", "some/secret", r#"code="418""#] {
            assert!(!text.contains(hidden), "{hidden}");
        }
        let line = r#"conclave_http_requests_total{code="other",method="GET"}"#;
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn the_certificate_that_ends_first_is_told_of() {
        let metrics = HttpMetrics::new(&Registry::new(), false).unwrap();
        for (listener, end) in [(0, 300), (1, 200), (0, 400)] {
            metrics.certificate_ends(listener, end);
        }
        assert_eq!(metrics.certificate.get(), 200);
        metrics.certificate_ends(1, 500);
        assert_eq!(metrics.certificate.get(), 400);
    }
}
