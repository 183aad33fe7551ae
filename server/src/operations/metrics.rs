//! The numbers of the transports, and the text form of all numbers. Labels come from closed sets: never a path, a token,
//! a name or an address.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::Error;

/// Upper bounds of the duration buckets in seconds: from a cached read to the request time-out.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Numbers of one node's transports.
pub struct HttpMetrics {
    registry: Registry,
    durations: HistogramVec,
    refused: IntCounterVec,
    certificate: IntGauge,
}

impl HttpMetrics {
    /// MIME type of [`HttpMetrics::text`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Registers all numbers, and the process's own, in `registry`.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let durations = HistogramOpts::new(
            "conclave_http_request_duration_seconds",
            "Time from a request's head to its answer's head.",
        );
        let build = || -> Result<Self, prometheus::Error> {
            let metrics = Self {
                registry: registry.clone(),
                durations: HistogramVec::new(
                    durations.buckets(BUCKETS.to_vec()),
                    &["method", "mount_type", "code"],
                )?,
                refused: IntCounterVec::new(
                    Opts::new(
                        "conclave_connections_refused_total",
                        "Connections closed at once, by the cap they met.",
                    ),
                    &["cap"],
                )?,
                certificate: IntGauge::new(
                    "conclave_tls_cert_expiry_timestamp_seconds",
                    "When the listener's certificate ends; 0 without TLS.",
                )?,
            };
            let info = IntGaugeVec::new(Opts::new("conclave_build_info", "Always 1."), &["version"])?;
            info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
            registry.register(Box::new(metrics.durations.clone()))?;
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
        let labels = [method_label(method), class(path), status.as_str()];
        self.durations
            .with_label_values(&labels)
            .observe(elapsed.as_secs_f64());
    }

    /// A connection was closed because of a cap.
    pub fn refused(&self, cap: &'static str) {
        self.refused.with_label_values(&[cap]).inc();
    }

    /// When the listener's certificate ends, in seconds since the Unix epoch.
    pub fn certificate_ends(&self, seconds: i64) {
        self.certificate.set(seconds);
    }

    /// All numbers of the registry in Prometheus's text format.
    pub fn text(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|error| Error::Settings(format!("metrics: {error}")))?;
        Ok(text)
    }
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "LIST" => "LIST",
        "SCAN" => "SCAN",
        _ => "other",
    }
}

/// The kind of mount as far as the path tells without the mount table.
fn class(path: &str) -> &'static str {
    let Some(path) = path.strip_prefix("/v1/") else {
        return "none";
    };
    match path.split('/').next() {
        Some("sys") => "sys",
        Some("auth") => "auth",
        Some("identity") => "identity",
        Some("cubbyhole") => "cubbyhole",
        _ => "secret",
    }
}
