//! `listener "tcp"`: where clients are served, with which certificate, within which bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use conclave_hcl::Body;

use super::keys;
use super::source::Source;
use crate::address::Networks;
use crate::error::Error;
use crate::http::{self, Forwarding, Trust};
use crate::tls::Files;

/// Where clients are served unless told otherwise.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8200);

/// A listener as the file states it.
#[derive(Debug, Clone)]
pub struct TcpListener {
    /// Where clients are served.
    pub address: SocketAddr,
    cluster_address: Option<SocketAddr>,
    /// Whether it speaks plain HTTP.
    pub tls_disable: bool,
    /// Certificate files; empty paths when none is named.
    pub files: Files,
    /// Bounds and trust.
    pub http: http::Settings,
    /// Longest request, if this listener names its own.
    pub max_request_duration: Option<Duration>,
    /// Whether shares may be replaced without a token.
    pub unauthenticated_rekey: bool,
    /// Whether a root token may be made without a token.
    pub unauthenticated_generate_root: bool,
}

impl TcpListener {
    pub(super) fn read(body: &Body, source: &mut Source<'_>) -> Result<Self, Error> {
        source.check_keys(body, keys::LISTENER)?;
        // OpenBao asks to switch these off; here they are off unless that is denied.
        let opened = |key: &str| -> Result<bool, Error> { Ok(source.flag(body, key)? == Some(false)) };
        Ok(Self {
            address: source.socket(body, "address")?.unwrap_or(ADDRESS),
            cluster_address: source.socket(body, "cluster_address")?,
            tls_disable: source.bool(body, "tls_disable")?,
            files: read_files(body, source)?,
            max_request_duration: source
                .duration(body, "max_request_duration")?
                .filter(|duration| !duration.is_zero()),
            unauthenticated_rekey: opened("disable_unauthed_rekey_endpoints")?,
            unauthenticated_generate_root: opened("disable_unauthed_generate_root_endpoints")?,
            http: read_http(body, source)?,
        })
    }

    /// Where other nodes are listened for: the next port, as in Vault, unless it is named.
    pub fn cluster_address(&self) -> SocketAddr {
        let next = SocketAddr::new(self.address.ip(), self.address.port().saturating_add(1));
        self.cluster_address.unwrap_or(next)
    }
}

fn read_files(body: &Body, source: &Source<'_>) -> Result<Files, Error> {
    let path = |key: &str| -> Result<PathBuf, Error> {
        Ok(source.text(body, key)?.map(PathBuf::from).unwrap_or_default())
    };
    let mut files = Files {
        certificate: path("tls_cert_file")?,
        key: path("tls_key_file")?,
        client_ca: source.text(body, "tls_client_ca_file")?.map(PathBuf::from),
        require_client: source.bool(body, "tls_require_and_verify_client_cert")?,
        suites: source.texts(body, "tls_cipher_suites")?,
        ..Files::default()
    };
    if files.certificate.as_os_str().is_empty() != files.key.as_os_str().is_empty() {
        return Err(source.at(body.pos, "tls_cert_file and tls_key_file go together"));
    }
    if files.require_client && files.client_ca.is_none() {
        let message = "tls_require_and_verify_client_cert needs a tls_client_ca_file: the system's authorities vouch for \
                       anybody";
        return Err(source.at(body.pos, message));
    }
    if source.bool(body, "tls_disable_client_certs")? {
        if files.require_client {
            let message =
                "tls_disable_client_certs and tls_require_and_verify_client_cert exclude each other";
            return Err(source.at(body.pos, message));
        }
        files.client_ca = None;
    }
    let version = |key: &str, other: &str| -> Result<bool, Error> {
        match source.text(body, key)?.as_deref() {
            None => Ok(false),
            Some("tls12") => Ok(other == "tls12"),
            Some("tls13") => Ok(other == "tls13"),
            Some("tls10" | "tls11") => {
                Err(source.at_key(body, key, format!("{key}: TLS below 1.2 is not spoken")))
            }
            Some(_) => Err(source.at_key(body, key, format!("{key} must be tls12 or tls13"))),
        }
    };
    files.only_tls13 = version("tls_min_version", "tls13")?;
    files.only_tls12 = version("tls_max_version", "tls12")?;
    if files.only_tls12 && files.only_tls13 {
        return Err(source.at_key(
            body,
            "tls_max_version",
            "tls_min_version is above tls_max_version",
        ));
    }
    Ok(files)
}

fn read_http(body: &Body, source: &mut Source<'_>) -> Result<http::Settings, Error> {
    let mut settings = http::Settings::default();
    let timeouts = &mut settings.timeouts;
    for (key, slot) in [
        ("http_idle_timeout", &mut timeouts.idle),
        ("http_read_header_timeout", &mut timeouts.header),
        ("http_read_timeout", &mut timeouts.body),
        ("http_write_timeout", &mut timeouts.write),
    ] {
        if let Some(duration) = source.duration(body, key)?.filter(|duration| !duration.is_zero()) {
            *slot = duration;
        }
    }
    if let Some(size) = source.bound(body, "max_request_size")? {
        settings.max_body = size;
    }
    if let Some(size) = source.bound(body, "max_request_json_memory")? {
        settings.json.memory = size;
    }
    settings.proxy = read_proxy(body, source)?;
    settings.forwarding = read_forwarding(body, source)?;
    settings.open_metrics = source.bool(body, "unauthenticated_metrics_access")?;
    for section in body
        .sections("telemetry", 0)
        .map_err(|error| source.wrong(error))?
    {
        source.check_keys(section.body, keys::LISTENER_TELEMETRY)?;
        settings.open_metrics |= source.bool(section.body, "unauthenticated_metrics_access")?;
    }
    Ok(settings)
}

fn networks(body: &Body, source: &Source<'_>, key: &str) -> Result<Networks, Error> {
    Networks::parse(&source.texts(body, key)?)
        .map_err(|message| source.at_key(body, key, format!("{key}: {message}")))
}

fn read_proxy(body: &Body, source: &Source<'_>) -> Result<Trust, Error> {
    let behaviour = source.text(body, "proxy_protocol_behavior")?;
    let listed = networks(body, source, "proxy_protocol_authorized_addrs")?;
    let needs_list = matches!(
        behaviour.as_deref(),
        Some("allow_authorized" | "deny_unauthorized")
    );
    if needs_list && listed.is_empty() {
        return Err(source.at_key(
            body,
            "proxy_protocol_behavior",
            "proxy_protocol_behavior needs proxy_protocol_authorized_addrs",
        ));
    }
    match behaviour.as_deref() {
        None | Some("") => Ok(Trust::Off),
        Some("use_always") => Ok(Trust::Everyone),
        Some("allow_authorized") => Ok(Trust::Listed(listed)),
        Some("deny_unauthorized") => Ok(Trust::Only(listed)),
        Some(_) => Err(source.at_key(
            body,
            "proxy_protocol_behavior",
            "proxy_protocol_behavior must be use_always, allow_authorized or deny_unauthorized",
        )),
    }
}

fn read_forwarding(body: &Body, source: &Source<'_>) -> Result<Forwarding, Error> {
    let mut forwarding = Forwarding {
        authorized: networks(body, source, "x_forwarded_for_authorized_addrs")?,
        ..Forwarding::default()
    };
    let key = "x_forwarded_for_hop_skips";
    if let Some(skips) = source.number(body, key)? {
        forwarding.hop_skips = usize::try_from(skips)
            .map_err(|_| source.at_key(body, key, format!("{key} must not be negative")))?;
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
        if let Some(flag) = source.flag(body, key)? {
            *slot = flag;
        }
    }
    Ok(forwarding)
}
