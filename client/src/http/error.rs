//! Why a call failed, in the words that the `vault` and `bao` tools print. Holds no token and no request body.

use std::error::Error as _;
use std::net::ToSocketAddrs as _;

use super::json::{Json, ParseError};
use super::url::Address;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error status.
    #[error("{0}")]
    Status(Status),
    /// No answer came: connection, TLS, time-out or protocol. The text names method and URL.
    #[error("{verb} \"{url}\": {cause}")]
    Transport {
        /// The HTTP method as `Get`, `Put`, ...
        verb: String,
        /// The URL that was called.
        url: String,
        /// What went wrong.
        cause: String,
        /// Whether the request certainly did not reach the server.
        never_sent: bool,
    },
    /// The client is set up wrongly.
    #[error("{0}")]
    Config(String),
    /// The answer is not JSON.
    #[error("{0}")]
    Decode(#[from] ParseError),
    /// The server redirected in a way that is not followed.
    #[error("{0}")]
    Redirect(String),
    /// The answer is larger than [`super::MAX_BODY_BYTES`].
    #[error("response body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request was not sent because the client only shows requests.
    #[error("output a string, please")]
    Preview(String),
    /// A local file could not be read or written while it was being sent or received.
    #[error("{0}")]
    File(String),
}

/// An error status and what the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP method of the request.
    pub method: String,
    /// URL of the request.
    pub url: String,
    /// HTTP status code.
    pub code: u16,
    /// The namespace the server echoed; empty for the root.
    pub namespace: String,
    /// Messages of the `errors` array, or the raw body if it was not JSON.
    pub errors: Vec<String>,
    /// Whether `errors` holds the raw body.
    pub raw: bool,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Error making API request.\n\n")?;
        if !self.namespace.is_empty() && self.namespace != "root/" {
            writeln!(f, "Namespace: {}", self.namespace)?;
        }
        let kind = if self.raw { "Raw Message" } else { "Errors" };
        write!(
            f,
            "URL: {} {}\nCode: {}. {kind}:\n\n",
            self.method, self.url, self.code
        )?;
        for error in &self.errors {
            write!(f, "{}{error}", if self.raw { "" } else { "* " })?;
        }
        Ok(())
    }
}

impl Status {
    /// Reads the error body of an answer.
    pub(super) fn new(method: &str, url: &str, code: u16, namespace: String, body: &[u8]) -> Self {
        let (method, url) = (method.to_owned(), url.to_owned());
        match Json::parse_first(body) {
            Ok(json @ Json::Object(_)) => {
                let listed = json.get("errors").and_then(Json::as_array).unwrap_or_default();
                let errors = listed
                    .iter()
                    .filter_map(Json::as_str)
                    .map(str::to_owned)
                    .collect();
                Self {
                    method,
                    url,
                    code,
                    namespace,
                    errors,
                    raw: false,
                }
            }
            _ => {
                let errors = vec![String::from_utf8_lossy(body).into_owned()];
                Self {
                    method,
                    url,
                    code,
                    namespace,
                    errors,
                    raw: true,
                }
            }
        }
    }
}

impl Error {
    /// The status code, if the server answered one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.code),
            _ => None,
        }
    }

    /// Whether the request certainly did not reach the server, so that sending it again is safe.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        matches!(self, Self::Transport { never_sent: true, .. })
    }

    pub(super) fn transport(method: &str, url: &str, address: &Address, error: &reqwest::Error) -> Self {
        let verb = match method.split_at_checked(1) {
            Some((first, rest)) => format!("{first}{}", rest.to_ascii_lowercase()),
            None => method.to_owned(),
        };
        Self::Transport {
            verb,
            url: url.to_owned(),
            cause: cause(address, error),
            never_sent: error.is_connect(),
        }
    }
}

/// The innermost reason in the words Go's `net/http` uses, because scripts and people look for those.
fn cause(address: &Address, error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "context deadline exceeded".into();
    }
    let host = match dialled(address) {
        Some(ip) => ip.to_string(),
        None => address.host_name().to_owned(),
    };
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    let dial = format!("dial tcp {host}:{}", address.port());
    if error.is_dns() {
        return format!("dial tcp: lookup {}: no such host", address.host_name());
    }
    let mut innermost = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(tls) = tls_error(inner) {
            return tls_cause(tls);
        }
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    return format!("{dial}: connect: connection refused");
                }
                std::io::ErrorKind::NetworkUnreachable => {
                    return format!("{dial}: connect: network is unreachable");
                }
                std::io::ErrorKind::HostUnreachable => return format!("{dial}: connect: no route to host"),
                std::io::ErrorKind::TimedOut => return format!("{dial}: i/o timeout"),
                std::io::ErrorKind::UnexpectedEof => return "EOF".into(),
                _ => {}
            }
        }
        innermost = inner.to_string();
        source = inner.source();
    }
    // hyper's word for a server that closed before it answered.
    if innermost.contains("connection closed before message completed") {
        return "EOF".into();
    }
    innermost
}

/// The address that Go names: the first of those that this machine has for itself. Other names stay names, for to ask for them
/// again may take long.
fn dialled(address: &Address) -> Option<std::net::IpAddr> {
    let name = address.host_name();
    let mut found = (name == "localhost").then(|| (name, address.port()).to_socket_addrs().ok())??;
    found.next().map(|found| found.ip())
}

/// A TLS error, also inside I/O errors, whose `source` leaves out what they wrap.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn tls_cause(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Bad, Error as Tls};
    let verify = "tls: failed to verify certificate: x509:";
    match error {
        Tls::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".into(),
        Tls::InvalidCertificate(Bad::NotValidForNameContext { expected, presented }) => {
            // Presented names come as `DnsName("a")` and `IpAddress(1.2.3.4)`.
            let bare = |name: &String| {
                let inner = name
                    .split_once('(')
                    .map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
                inner.trim_matches('"').to_owned()
            };
            let is_ip = matches!(expected, rustls::pki_types::ServerName::IpAddress(_));
            let names: Vec<String> = presented
                .iter()
                .filter(|n| n.starts_with("IpAddress") == is_ip)
                .map(bare)
                .collect();
            let names = if names.is_empty() {
                "nothing".to_owned()
            } else {
                names.join(", ")
            };
            format!(
                "{verify} certificate is valid for {names}, not {}",
                expected.to_str()
            )
        }
        Tls::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            format!("{verify} certificate signed by unknown authority")
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            format!("{verify} certificate has expired or is not yet valid")
        }
        Tls::InvalidCertificate(reason) => format!("{verify} {reason}"),
        Tls::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        other => format!("tls: {other}"),
    }
}
