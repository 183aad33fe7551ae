//! `listener "tcp"`: where clients are served, with which certificate, within which bounds.

use std::net::SocketAddr;
use std::path::PathBuf;

use conclave_hcl::Body;

use super::Source;
use crate::address::Networks;
use crate::error::Error;
use crate::http::{self, Trust};
use crate::tls::Files;

/// A listener as the file states it.
#[derive(Debug, Clone, Default)]
pub struct TcpListener {
    /// Where clients are served.
    pub address: String,
    cluster_address: Option<String>,
    /// Whether it speaks plain HTTP.
    pub tls_disable: bool,
    /// Certificate files; empty paths when none is named.
    pub files: Files,
    /// Bounds and trust.
    pub http: http::Settings,
}

impl TcpListener {
    pub(super) fn read(body: &Body, source: &Source<'_>) -> Result<Self, Error> {
        let path = |key: &str| -> Result<PathBuf, Error> {
            Ok(source.text(body, key)?.map(PathBuf::from).unwrap_or_default())
        };
        let client_ca = source.text(body, "tls_client_ca_file")?.map(PathBuf::from);
        let mut files = Files {
            certificate: path("tls_cert_file")?,
            key: path("tls_key_file")?,
            client_ca,
            require_client: source.bool(body, "tls_require_and_verify_client_cert")?,
            suites: source.texts(body, "tls_cipher_suites")?,
            ..Files::default()
        };
        match source.text(body, "tls_min_version")?.as_deref() {
            None | Some("tls12") => {}
            Some("tls13") => files.only_tls13 = true,
            Some(_) => return Err(source.at(body.pos, "tls_min_version must be tls12 or tls13")),
        }
        match source.text(body, "tls_max_version")?.as_deref() {
            None | Some("tls13") => {}
            Some("tls12") => files.only_tls12 = true,
            Some(_) => return Err(source.at(body.pos, "tls_max_version must be tls12 or tls13")),
        }
        Ok(Self {
            address: source
                .text(body, "address")?
                .unwrap_or_else(|| "127.0.0.1:8200".to_owned()),
            cluster_address: source.text(body, "cluster_address")?,
            tls_disable: source.bool(body, "tls_disable")?,
            files,
            http: read_http(body, source)?,
        })
    }

    /// Where other nodes are listened for: the next port, as in Vault, unless it is named.
    pub fn cluster_address(&self) -> Result<String, Error> {
        if let Some(address) = &self.cluster_address {
            return Ok(address.clone());
        }
        let parsed: Result<SocketAddr, _> = self.address.parse();
        let mut address = parsed
            .map_err(|_| Error::Settings(format!("{:?} is no IP address with a port", self.address)))?;
        address.set_port(address.port().saturating_add(1));
        Ok(address.to_string())
    }
}

fn read_http(body: &Body, source: &Source<'_>) -> Result<http::Settings, Error> {
    let mut settings = http::Settings::default();
    let timeouts = &mut settings.timeouts;
    for (key, slot) in [
        ("http_idle_timeout", &mut timeouts.idle),
        ("http_read_header_timeout", &mut timeouts.header),
        ("http_read_timeout", &mut timeouts.body),
        ("http_write_timeout", &mut timeouts.write),
        ("max_request_duration", &mut timeouts.request),
    ] {
        if let Some(duration) = source.duration(body, key)?.filter(|duration| !duration.is_zero()) {
            *slot = duration;
        }
    }
    if let Some(size) = source.text(body, "max_request_size")? {
        settings.max_body = size
            .parse()
            .map_err(|_| source.at(body.pos, "max_request_size must be a number of bytes"))?;
    }
    let networks = |key: &str| -> Result<Networks, Error> {
        Networks::parse(&source.texts(body, key)?)
            .map_err(|message| source.at(body.pos, format!("{key}: {message}")))
    };
    settings.proxy = match source.text(body, "proxy_protocol_behavior")?.as_deref() {
        None | Some("") => Trust::Off,
        Some("use_always") => Trust::Everyone,
        Some("allow_authorized") => Trust::Listed(networks("proxy_protocol_authorized_addrs")?),
        Some("deny_unauthorized") => Trust::Only(networks("proxy_protocol_authorized_addrs")?),
        Some(_) => return Err(source.at(body.pos, "proxy_protocol_behavior is none of Vault's")),
    };
    let forwarding = &mut settings.forwarding;
    forwarding.authorized = networks("x_forwarded_for_authorized_addrs")?;
    if let Some(skips) = source.text(body, "x_forwarded_for_hop_skips")? {
        let number = skips.parse();
        forwarding.hop_skips =
            number.map_err(|_| source.at(body.pos, "x_forwarded_for_hop_skips must be a number"))?;
    }
    for (key, slot) in [
        (
            "x_forwarded_for_reject_not_authorized",
            &mut forwarding.reject_not_authorized,
        ),
        (
            "x_forwarded_for_reject_not_present",
            &mut forwarding.reject_not_present,
        ),
    ] {
        if source.text(body, key)?.is_some() {
            *slot = source.bool(body, key)?;
        }
    }
    settings.open_metrics = source.bool(body, "unauthenticated_metrics_access")?;
    for section in body
        .sections("telemetry", 0)
        .map_err(|error| source.wrong(error))?
    {
        settings.open_metrics |= source.bool(section.body, "unauthenticated_metrics_access")?;
    }
    Ok(settings)
}
