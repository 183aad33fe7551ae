//! To whom a device hands records on: a socket, a syslog server, a web server. Checked here, spoken to by the transports.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use conclave_engine_api::Millis;

use crate::audit::options::Left;
use crate::error::Error;

/// How long one batch may take to be handed on, unless told otherwise, and at most.
const WRITE_TIMEOUT: Millis = 2_000;
const MAX_WRITE_TIMEOUT: Millis = 60_000;
/// Most headers of a request, and longest name or value in bytes.
const MAX_HEADERS: usize = 32;
const MAX_HEADER: usize = 8192;
/// Longest name of a host, tag or path in bytes.
const MAX_NAME: usize = 1024;

/// To whom records go.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub protocol: Protocol,
    /// Where.
    pub address: Address,
    /// Certificates in PEM that are trusted, where TLS is spoken; empty for those the system trusts.
    pub ca_cert: String,
    /// How long one batch may take.
    pub timeout: Duration,
}

/// How records are handed on.
#[derive(Clone, PartialEq, Eq)]
pub enum Protocol {
    /// Line by line.
    Lines,
    /// RFC 5424.
    Syslog {
        /// Number of the facility.
        facility: u8,
        /// Name of the program.
        tag: String,
    },
    /// POST of lines of JSON.
    Http {
        /// Headers that go with each.
        headers: Vec<(String, String)>,
        /// Path and query.
        path: String,
    },
}

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host and a port, with TLS or without.
    Host {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether TLS is spoken.
        tls: bool,
    },
}

impl Target {
    /// Checks the options of a type of device that is no file.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the option.
    pub fn read(left: &mut Left<'_>) -> Result<Self, Error> {
        let timeout = left.duration("write_timeout", WRITE_TIMEOUT)?;
        if !(1..=MAX_WRITE_TIMEOUT).contains(&timeout) {
            return Err(Error::invalid(
                "audit option write_timeout must be between 1ms and 60s",
            ));
        }
        let (protocol, address) = match left.kind {
            "socket" => (Protocol::Lines, socket(left)?),
            "syslog" => syslog(left)?,
            _ => http(left)?,
        };
        let ca_cert = left.text("ca_cert").unwrap_or_default();
        if !ca_cert.is_empty() && !matches!(address, Address::Host { tls: true, .. }) {
            return Err(Error::invalid(
                "audit option ca_cert needs an address that speaks TLS",
            ));
        }
        Ok(Self {
            protocol,
            address,
            ca_cert,
            timeout: Duration::from_millis(timeout),
        })
    }

    /// A web server that takes posts at this URI.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is none.
    pub fn web(uri: &str, headers: Vec<(String, String)>) -> Result<Self, Error> {
        let (path, address) = web_address(uri)?;
        Ok(Self {
            protocol: Protocol::Http { headers, path },
            address,
            ca_cert: String::new(),
            timeout: Duration::from_millis(WRITE_TIMEOUT),
        })
    }

    /// Whether one of the texts in `allowed` stands for this target: itself, its beginning up to a slash, or `*`.
    pub fn is_allowed(&self, allowed: &[String]) -> bool {
        let own = self.to_string();
        allowed.iter().any(|entry| {
            entry == "*" || *entry == own || (entry.ends_with('/') && own.starts_with(entry.as_str()))
        })
    }
}

/// As `audit_targets` names it: `unix:PATH`, `tcp://HOST:PORT`, `tls://HOST:PORT`, `https://HOST:PORT/PATH`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, tls) = match &self.address {
            Address::Unix(path) => return write!(f, "unix:{}", path.display()),
            Address::Host { host, port, tls } => (host, port, tls),
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        match (&self.protocol, tls) {
            (Protocol::Http { path, .. }, true) => write!(f, "https://{host}:{port}{path}"),
            (Protocol::Http { path, .. }, false) => write!(f, "http://{host}:{port}{path}"),
            (_, true) => write!(f, "tls://{host}:{port}"),
            (_, false) => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// Without what headers say: it may be a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

fn socket(left: &mut Left<'_>) -> Result<Address, Error> {
    let address = left.text("address").unwrap_or_default();
    match left.text("socket_type").as_deref().unwrap_or("tcp") {
        "tcp" => host_port(&address, false),
        "unix" => unix(&address),
        "udp" => Err(Error::invalid(
            "audit option socket_type udp is refused: what is lost on the way is lost unseen; use tcp",
        )),
        _ => Err(Error::invalid("audit option socket_type must be tcp or unix")),
    }
}

fn syslog(left: &mut Left<'_>) -> Result<(Protocol, Address), Error> {
    const FACILITIES: [&str; 24] = [
        "KERN",
        "USER",
        "MAIL",
        "DAEMON",
        "AUTH",
        "SYSLOG",
        "LPR",
        "NEWS",
        "UUCP",
        "CRON",
        "AUTHPRIV",
        "FTP",
        "NTP",
        "SECURITY",
        "CONSOLE",
        "SOLARIS-CRON",
        "LOCAL0",
        "LOCAL1",
        "LOCAL2",
        "LOCAL3",
        "LOCAL4",
        "LOCAL5",
        "LOCAL6",
        "LOCAL7",
    ];
    let named = left.text("facility").unwrap_or_else(|| "AUTH".to_owned());
    let facility = FACILITIES.iter().position(|name| *name == named.to_uppercase());
    let facility = facility
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| Error::invalid("audit option facility is the name of no syslog facility"))?;
    let tag = left.text("tag").unwrap_or_else(|| "conclave".to_owned());
    // RFC 5424: APP-NAME is 1 to 48 printable characters.
    if tag.is_empty() || tag.len() > 48 || !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid(
            "audit option tag must be 1 to 48 printable characters",
        ));
    }
    let address = left.text("address").unwrap_or_else(|| "unix:/dev/log".to_owned());
    let address = match address.split_once(':') {
        Some(("unix", path)) => unix(path.strip_prefix("//").unwrap_or(path))?,
        Some(("tcp", rest)) => host_port(rest.trim_start_matches('/'), false)?,
        Some(("tls", rest)) => host_port(rest.trim_start_matches('/'), true)?,
        _ => {
            return Err(Error::invalid(
                "audit option address must be unix:PATH, tcp://HOST:PORT or tls://HOST:PORT",
            ));
        }
    };
    Ok((Protocol::Syslog { facility, tag }, address))
}

fn http(left: &mut Left<'_>) -> Result<(Protocol, Address), Error> {
    let (path, address) = web_address(&left.text("uri").unwrap_or_default())?;
    let headers = headers(&left.text("headers").unwrap_or_default())?;
    Ok((Protocol::Http { headers, path }, address))
}

/// Path and address in a URI.
fn web_address(uri: &str) -> Result<(String, Address), Error> {
    let wrong = || Error::invalid("a uri must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH");
    let (scheme, rest) = uri.split_once("://").ok_or_else(wrong)?;
    let (tls, default) = match scheme {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return Err(wrong()),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if authority.contains('@') {
        return Err(Error::invalid("a uri must hold no password"));
    }
    let printable = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if path.len() > MAX_HEADER || !path.bytes().all(printable) {
        return Err(wrong());
    }
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'));
    let address = if has_port {
        host_port(authority, tls)?
    } else {
        host_port(&format!("{authority}:{default}"), tls)?
    };
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok((path, address))
}

/// OpenBao's form: a JSON object of names with lists of values.
fn headers(text: &str) -> Result<Vec<(String, String)>, Error> {
    let wrong =
        || Error::invalid("audit option headers must be a JSON object of header names with lists of values");
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let read: BTreeMap<String, Vec<String>> = serde_json::from_str(text).map_err(|_| wrong())?;
    let mut headers = Vec::new();
    for (name, values) in read {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(wrong());
        }
        for value in values {
            let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            if name.len() + value.len() > MAX_HEADER || !value.bytes().all(visible) {
                return Err(wrong());
            }
            headers.push((name.clone(), value));
        }
    }
    if headers.len() > MAX_HEADERS {
        return Err(Error::invalid(format!(
            "audit option headers holds more than {MAX_HEADERS}"
        )));
    }
    Ok(headers)
}

fn unix(path: &str) -> Result<Address, Error> {
    // Longer ones do not fit into the address of a socket.
    if !path.starts_with('/') || path.len() > 100 || path.contains('\0') {
        return Err(Error::invalid(
            "audit option address must be an absolute path of at most 100 bytes",
        ));
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

fn host_port(text: &str, tls: bool) -> Result<Address, Error> {
    let wrong = || Error::invalid("audit option address must name a host and a port, as in 10.0.0.5:514");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if bare.is_empty() || bare.len() > MAX_NAME || !bare.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(Address::Host {
        host: bare.to_owned(),
        port: port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
        tls,
    })
}
