//! A PostgreSQL connection string as Vault's users write it: `postgresql://` URLs and `key=value` text. What concerns TLS is
//! taken out, for it is decided here; the rest is the client library's. Errors never repeat any of it.

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use zeroize::Zeroizing;

/// Options of other clients that mean nothing here.
const IGNORED: &[&str] = &["binary_parameters", "pool_max_conns", "default_query_exec_mode"];
/// Options that name files on the client's disk: a node reads none for its users.
const FILES: &[&str] = &[
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "passfile",
    "service",
];

/// Where a server is and whether TLS is spoken to it.
pub struct Address {
    /// For the client library.
    pub config: Config,
    /// Whether TLS is spoken; then the server's certificate is always verified.
    pub tls: bool,
}

/// Reads a connection string.
///
/// # Errors
/// What is wrong with it, in words of our own.
pub fn parse(text: &str) -> Result<Address, String> {
    let (text, mode) = match text.split_once("://") {
        Some(_) => split_url(text)?,
        None => split_words(text)?,
    };
    let mut config: Config = text
        .parse()
        .map_err(|_| "connection_url cannot be read as a PostgreSQL connection string".to_owned())?;
    let local = is_local(&config);
    let tls = match mode.as_deref() {
        Some("disable") => false,
        // An answer that is not verified is worth nothing: what other clients do unverified is verified here.
        Some("require" | "verify-ca" | "verify-full") => true,
        None | Some("" | "prefer" | "allow") => !local,
        Some(_) => {
            return Err(
                "sslmode in connection_url must be disable, require, verify-ca or verify-full".to_owned(),
            );
        }
    };
    config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
    Ok(Address { config, tls })
}

/// Whether the server is on this machine, where nobody listens on the way.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts();
    !hosts.is_empty()
        && hosts.iter().all(|host| match host {
            Host::Tcp(name) => {
                name == "localhost"
                    || name
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => true,
        })
}

/// The text without what is ours, and the value of `sslmode`.
type Split = (Zeroizing<String>, Option<String>);

fn split_url(text: &str) -> Result<Split, String> {
    let Some((before, query)) = text.split_once('?') else {
        return Ok((Zeroizing::new(text.to_owned()), None));
    };
    let mut kept = Zeroizing::new(before.to_owned());
    let mut mode = None;
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if take(name, value, &mut mode)? {
            continue;
        }
        kept.push(separator);
        kept.push_str(pair);
        separator = '&';
    }
    Ok((kept, mode))
}

fn split_words(text: &str) -> Result<Split, String> {
    let mut kept = Zeroizing::new(String::with_capacity(text.len()));
    let mut mode = None;
    for word in words(text) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if take(name.trim(), value.trim().trim_matches('\''), &mut mode)? {
            continue;
        }
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(word);
    }
    Ok((kept, mode))
}

/// The words of `key=value` text: a space between quotes does not end one.
fn words(text: &str) -> Vec<&str> {
    let (mut found, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => quoted = !quoted,
            ' ' | '\t' | '\n' if !quoted => {
                found.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(text.get(from..).unwrap_or_default());
    found.retain(|word| !word.is_empty());
    found
}

/// Whether an option is ours, or nobody's.
fn take(name: &str, value: &str, mode: &mut Option<String>) -> Result<bool, String> {
    if name == "sslmode" {
        *mode = Some(value.to_owned());
        return Ok(true);
    }
    if FILES.contains(&name) {
        return Err(format!(
            "{name} in connection_url names a file on the node, which is unsupported: \
             use tls_ca, tls_certificate and private_key"
        ));
    }
    Ok(IGNORED.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_spoken_and_verified_unless_the_server_is_local() {
        for (text, tls) in [
            ("postgresql://u:p@127.0.0.1:5432/db", false),
            ("postgresql://u:p@localhost:5432/db?sslmode=prefer", false),
            ("postgresql://u:p@127.0.0.1/db?sslmode=verify-full", true),
            ("postgresql://u:p@db.example.com/db", true),
            (
                "postgresql://u:p@db.example.com/db?sslmode=disable&connect_timeout=3",
                false,
            ),
            ("host=db.example.com user=u password='a b' dbname=x", true),
            (
                "host=db.example.com user=u password='a b' dbname=x sslmode=disable",
                false,
            ),
            ("host=/run/postgresql user=u", false),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.tls, tls, "{text}");
        }
        let address = parse("host=h user=u password='it\\'s' sslmode=disable").unwrap();
        assert_eq!(address.config.get_user(), Some("u"));
    }

    #[test]
    fn errors_do_not_repeat_the_text() {
        for text in [
            "postgresql://u:hunter2@[::1:5432/db",
            "postgresql://u:hunter2@h/db?sslmode=hunter2",
            "postgresql://u:hunter2@h/db?sslrootcert=hunter2",
            "postgresql://u:hunter2@h/db?hunter2=1",
            "host=h user=u password=hunter2 port=hunter2",
        ] {
            let error = parse(text).err().unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
