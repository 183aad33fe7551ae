//! `telemetry { otlp_... }`: where traces of requests go, and of how many. What a trace says is not configured.

use conclave_hcl::Body;

use super::source::Source;
use crate::error::Error;

/// The port of OTLP over HTTP, and the path of its service.
const PORT: u16 = 4318;
const PATH: &str = "/v1/traces";
/// Longest address in bytes.
const MAX_ADDRESS: usize = 1024;

/// A collector of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The path of its service.
    pub path: String,
    /// The authorities of its certificate, PEM; empty for the system's.
    pub ca_cert: String,
    /// Of so many traces that begin here one is kept.
    pub one_in: u64,
}

/// What a block says of it; nothing without an address.
pub(super) fn read(body: &Body, source: &Source<'_>) -> Result<Option<Otlp>, Error> {
    let Some(address) = source.text(body, "otlp_endpoint")? else {
        return Ok(None);
    };
    let wrong = || {
        let message = "otlp_endpoint must be http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";
        source.at_key(body, "otlp_endpoint", message)
    };
    let uri: http::Uri = address.parse().map_err(|_| wrong())?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong()),
    };
    let host = uri
        .host()
        .filter(|_| address.len() <= MAX_ADDRESS && !address.contains('@'));
    let host = host.ok_or_else(wrong)?.trim_matches(['[', ']']);
    let ca_cert = match source.text(body, "otlp_ca_file")? {
        Some(file) => std::fs::read_to_string(&file).map_err(|error| {
            source.at_key(body, "otlp_ca_file", format!("otlp_ca_file {file:?}: {error}"))
        })?,
        None => String::new(),
    };
    let one_in = source.number(body, "otlp_one_in")?.unwrap_or(1);
    let one_in = u64::try_from(one_in).ok().filter(|one_in| *one_in > 0);
    let one_in =
        one_in.ok_or_else(|| source.at_key(body, "otlp_one_in", "otlp_one_in must be at least 1"))?;
    Ok(Some(Otlp {
        host: host.to_owned(),
        port: uri.port_u16().unwrap_or(PORT),
        tls,
        path: Some(uri.path())
            .filter(|path| *path != "/")
            .unwrap_or(PATH)
            .to_owned(),
        ca_cert,
        one_in,
    }))
}
