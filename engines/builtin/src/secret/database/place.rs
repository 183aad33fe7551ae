//! How a connection says where its database is, for each kind in the words of Vault's plugin: a connection string, or host
//! and port. What is stored is one connection string with `{{username}}` and `{{password}}` in it, or whatever was given.

use conclave_engine_api::{Driver, Error, Fields, Hidden};
use serde_json::{Map, Value, json};

use super::connection::Connection;

const REDIS_ACCOUNT: &str = "{{username}}:{{password}}@";

/// Takes what a request says of where the database is.
pub(super) fn take(connection: &mut Connection, driver: Driver, fields: &Fields<'_>) -> Result<(), Error> {
    for name in ["tls_skip_verify", "insecure_tls"] {
        if fields.bool(name)?.unwrap_or_default() {
            return Err(Error::Unsupported(format!(
                "{name}: TLS that is not verified protects from nobody; give the authority instead"
            )));
        }
    }
    // Certificate and key in one text, as Vault's MySQL plugin has them.
    if let Some(both) = fields.string("tls_certificate_key")? {
        connection.tls_certificate = both.clone();
        connection.private_key = Hidden::new(both);
    }
    if driver == Driver::Redis {
        return take_redis(connection, fields);
    }
    if let Some(url) = fields.string("connection_url")? {
        connection.connection_url = url;
    }
    match connection.connection_url.is_empty() {
        true => Err(Error::invalid(
            "error creating database object: connection_url cannot be empty",
        )),
        false => Ok(()),
    }
}

fn take_redis(connection: &mut Connection, fields: &Fields<'_>) -> Result<(), Error> {
    if let Some(authority) = fields.string("ca_cert")? {
        connection.tls_ca = authority;
    }
    let before = Redis::of(&connection.connection_url);
    let host = fields.string("host")?.unwrap_or(before.host);
    if host.is_empty() {
        return Err(Error::invalid("host cannot be empty"));
    }
    if host.contains(['@', '/', '?', '#', ' ', '[', ']']) {
        return Err(Error::invalid("host must be a name or an IP address"));
    }
    let port = fields.count("port")?.unwrap_or(before.port);
    if port == 0 || port > u64::from(u16::MAX) {
        return Err(Error::invalid("port cannot be empty, and must be below 65536"));
    }
    for (name, value) in [
        ("username", &connection.username),
        ("password", &*connection.password),
    ] {
        if value.is_empty() {
            return Err(Error::invalid(format!("{name} cannot be empty")));
        }
    }
    let mode = fields.string("persistence_mode")?.unwrap_or(before.persistence);
    let keep = match mode.to_ascii_lowercase().as_str() {
        "" => "",
        "aclfile" => "?keep=aclfile",
        "rewrite" => "?keep=rewrite",
        _ => return Err(Error::invalid("persistence_mode must be aclfile or rewrite")),
    };
    let scheme = match fields.bool("tls")?.unwrap_or(before.tls) {
        true => "rediss",
        false => "redis",
    };
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host,
    };
    connection.connection_url = format!("{scheme}://{REDIS_ACCOUNT}{host}:{port}{keep}");
    Ok(())
}

/// What was said of a Redis server.
#[derive(Default)]
struct Redis {
    host: String,
    port: u64,
    tls: bool,
    persistence: String,
}

impl Redis {
    fn of(url: &str) -> Self {
        let read = || {
            let (scheme, rest) = url.split_once("://")?;
            let rest = rest.strip_prefix(REDIS_ACCOUNT)?;
            let (place, keep) = rest.split_once('?').unwrap_or((rest, ""));
            let (host, port) = place.rsplit_once(':')?;
            Some(Self {
                host: host.trim_matches(['[', ']']).to_owned(),
                port: port.parse().ok()?,
                tls: scheme == "rediss",
                persistence: keep.trim_start_matches("keep=").to_owned(),
            })
        };
        read().unwrap_or_default()
    }
}

/// Tells where a connection's database is, without anything that opens a door.
pub(super) fn tell(connection: &Connection, driver: Driver, details: &mut Map<String, Value>) {
    let mut tell = |name: &str, value: Value| details.insert(name.to_owned(), value);
    if driver == Driver::Redis {
        let redis = Redis::of(&connection.connection_url);
        tell("host", json!(redis.host));
        tell("port", json!(redis.port));
        tell("tls", json!(redis.tls));
        if !redis.persistence.is_empty() {
            tell("persistence_mode", json!(redis.persistence));
        }
        return;
    }
    let url = match connection.password.as_str() {
        "" => connection.connection_url.clone(),
        password => connection.connection_url.replace(password, "*****"),
    };
    tell("connection_url", json!(without_password(&url)));
}

/// Where the account of a connection string ends, and how it begins: `scheme://user:password@...` or
/// `user:password@tcp(...)/...`.
fn account(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + 3),
        None => ("", url),
    };
    // A password may hold any of these letters; the last of them that may stand there ends it.
    let end = match scheme {
        "" => rest.rfind('/').unwrap_or(rest.len()),
        _ => rest.len(),
    };
    let (before, _) = rest.split_at(end);
    let at = before.rfind('@')?;
    let (account, after) = rest.split_at(at);
    Some((scheme, account, after))
}

/// Whether a password is written into a connection string.
pub(super) fn holds_password(url: &str) -> bool {
    account(url)
        .and_then(|(_, account, _)| account.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty() && password != "{{password}}")
}

/// A connection string whose password, written into it, is hidden.
pub(super) fn without_password(url: &str) -> String {
    let hidden = || {
        let (scheme, account, after) = account(url)?;
        let (user, _) = account.split_once(':')?;
        holds_password(url).then(|| format!("{scheme}{user}:*****{after}"))
    };
    hidden().unwrap_or_else(|| url.to_owned())
}

/// A part of a connection string, in the encoding of its kind.
pub(super) fn part(url: &str, text: &str) -> String {
    match url.contains("://") {
        true => escape(text),
        // Nothing is escaped in the form of Go's MySQL driver, nor in key=value text.
        false => text.to_owned(),
    }
}

/// As a part of a URL (RFC 3986, unreserved characters stay).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_in_every_form() {
        for (url, hidden) in [
            ("postgresql://u:p@h/db", "postgresql://u:*****@h/db"),
            (
                "postgresql://{{username}}:{{password}}@h/db",
                "postgresql://{{username}}:{{password}}@h/db",
            ),
            (
                "root:password@tcp(localhost:3306)/",
                "root:*****@tcp(localhost:3306)/",
            ),
            ("u:p@ss/w@tcp(h)/db?tls=true", "u:*****@tcp(h)/db?tls=true"),
            (
                "{{username}}:{{password}}@tcp(h)/",
                "{{username}}:{{password}}@tcp(h)/",
            ),
            ("u@tcp(h)/", "u@tcp(h)/"),
        ] {
            assert_eq!(without_password(url), hidden);
            assert_eq!(holds_password(url), url != hidden, "{url}");
        }
    }

    #[test]
    fn redis_is_told_where_it_is_and_says_so_again() {
        let body = json!({"host": "::1", "port": 6380, "tls": true, "ca_cert": "PEM", "persistence_mode": "REWRITE"});
        let fields = Fields::new(body.as_object().unwrap());
        let mut connection = Connection {
            username: "u".to_owned(),
            password: Hidden::new("p".to_owned()),
            ..Connection::default()
        };
        take(&mut connection, Driver::Redis, &fields).unwrap();
        assert_eq!(
            connection.connection_url,
            "rediss://{{username}}:{{password}}@[::1]:6380?keep=rewrite"
        );
        assert_eq!(connection.tls_ca, "PEM");
        let mut told = Map::new();
        tell(&connection, Driver::Redis, &mut told);
        let known = json!({"host": "::1", "port": 6380, "tls": true, "persistence_mode": "rewrite"});
        assert_eq!(Value::Object(told), known);
        // What is not given stays.
        let body = json!({"port": "6381"});
        take(
            &mut connection,
            Driver::Redis,
            &Fields::new(body.as_object().unwrap()),
        )
        .unwrap();
        assert_eq!(
            connection.connection_url,
            "rediss://{{username}}:{{password}}@[::1]:6381?keep=rewrite"
        );
        for bad in [
            json!({"host": "a@b"}),
            json!({"port": 0}),
            json!({"insecure_tls": true}),
            json!({"persistence_mode": "x"}),
        ] {
            let fields = Fields::new(bad.as_object().unwrap());
            assert!(take(&mut connection, Driver::Redis, &fields).is_err(), "{bad}");
        }
    }
}
