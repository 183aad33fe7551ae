//! Where a MySQL server is, as Vault's users write it: the DSN of Go's driver, `user:password@tcp(host:3306)/db?tls=true`, or
//! a `mysql://` URL. Errors never repeat any of it.

use conclave_engine_api::Hidden;

/// The port of MySQL.
const PORT: u16 = 3306;
/// Parameters of Go's driver that change nothing here.
const IGNORED: &[&str] = &[
    "allowNativePasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "columnsWithAlias",
    "connectionAttributes",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
    "readTimeout",
    "rejectReadOnly",
    "timeout",
    "timeTruncate",
    "writeTimeout",
];

/// Where a server is, and as whom it is reached.
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Empty: nobody in particular.
    pub user: String,
    /// Its password.
    pub password: Hidden,
    /// Empty: none.
    pub database: String,
    /// Whether TLS is spoken; then the server's certificate is always verified. `None`: as is usual for such a host.
    pub tls: Option<bool>,
}

impl Address {
    /// Whether the server is on this machine, where nobody listens on the way.
    pub fn is_local(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// Reads where a server is.
///
/// # Errors
/// What is wrong with it, in words of our own.
pub fn parse(text: &str) -> Result<Address, String> {
    match text.split_once("://") {
        Some(("mysql" | "mariadb", rest)) => url(rest),
        // A password may hold anything, so only what looks like a scheme is one.
        Some((scheme, _)) if scheme.bytes().all(|letter| letter.is_ascii_alphanumeric()) => {
            Err("connection_url has a scheme that is not mysql".to_owned())
        }
        _ => dsn(text),
    }
}

/// `[user[:password]@][net[(address)]]/database[?parameters]`. Nothing in it is escaped but the parameters.
fn dsn(text: &str) -> Result<Address, String> {
    let (before, after) = text
        .rsplit_once('/')
        .ok_or_else(|| "connection_url lacks the / before the name of the database".to_owned())?;
    let (database, parameters) = after.split_once('?').unwrap_or((after, ""));
    let (account, place) = before.rsplit_once('@').unwrap_or(("", before));
    let (user, password) = account.split_once(':').unwrap_or((account, ""));
    let (network, inside) = match place.split_once('(') {
        Some((network, rest)) => (
            network,
            rest.strip_suffix(')')
                .ok_or_else(|| "connection_url has an address whose ( is not closed".to_owned())?,
        ),
        None => (place, ""),
    };
    if !matches!(network, "" | "tcp" | "tcp4" | "tcp6") {
        return Err("connection_url must name its server as tcp(host:port)".to_owned());
    }
    let (host, port) = host_and_port(if inside.is_empty() { "127.0.0.1" } else { inside })?;
    Ok(Address {
        host,
        port,
        user: user.to_owned(),
        password: Hidden::new(password.to_owned()),
        database: database.to_owned(),
        tls: options(parameters)?,
    })
}

/// `user:password@host:port/database?parameters`, percent-encoded.
fn url(text: &str) -> Result<Address, String> {
    let (before, parameters) = text.split_once('?').unwrap_or((text, ""));
    let (before, database) = before.split_once('/').unwrap_or((before, ""));
    let (account, place) = before.rsplit_once('@').unwrap_or(("", before));
    let (user, password) = account.split_once(':').unwrap_or((account, ""));
    let (host, port) = host_and_port(place)?;
    Ok(Address {
        host,
        port,
        user: crate::url::decoded(user)?.to_string(),
        password: crate::url::decoded(password)?,
        database: crate::url::decoded(database)?.to_string(),
        tls: options(parameters)?,
    })
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    crate::url::host_and_port(text, PORT)
}

/// What the parameters say of TLS.
fn options(text: &str) -> Result<Option<bool>, String> {
    let mut tls = None;
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value) {
            ("tls", "false" | "0") => tls = Some(false),
            // An answer that is not verified is worth nothing: what other clients do unverified is verified here.
            ("tls", "true" | "1" | "skip-verify" | "custom") => tls = Some(true),
            ("tls", "" | "preferred") => {}
            ("tls", _) => {
                return Err("tls in connection_url must be true, false or preferred".to_owned());
            }
            ("allowAllFiles" | "allowCleartextPasswords" | "allowOldPasswords", value) if is_true(value) => {
                return Err(format!(
                    "{name} in connection_url is unsupported: it would give a server what it must not have"
                ));
            }
            (
                "allowAllFiles"
                | "allowCleartextPasswords"
                | "allowOldPasswords"
                | "allowFallbackToPlaintext",
                _,
            ) => {}
            _ if IGNORED.contains(&name) => {}
            _ => return Err("connection_url has a parameter that is unsupported".to_owned()),
        }
    }
    Ok(tls)
}

fn is_true(value: &str) -> bool {
    matches!(value, "true" | "1" | "TRUE" | "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Known<'a> = (&'a str, u16, &'a str, &'a str, &'a str, Option<bool>);

    #[test]
    fn both_forms_are_read() {
        let cases: [(&str, Known<'_>); 8] = [
            (
                "root:password@tcp(localhost:3306)/",
                ("localhost", 3306, "root", "password", "", None),
            ),
            (
                "u:p@ss/w:o?r(d@tcp(h)/db?tls=true",
                ("h", 3306, "u", "p@ss/w:o?r(d", "db", Some(true)),
            ),
            (
                "u@tcp([::1]:3307)/?tls=false&parseTime=true",
                ("::1", 3307, "u", "", "", Some(false)),
            ),
            ("/", ("127.0.0.1", 3306, "", "", "", None)),
            ("u:p@/db", ("127.0.0.1", 3306, "u", "p", "db", None)),
            (
                "u:p@tcp(h:1)/db?tls=skip-verify",
                ("h", 1, "u", "p", "db", Some(true)),
            ),
            (
                "mysql://u%40x:p%2Fw@h:3308/db?tls=true",
                ("h", 3308, "u@x", "p/w", "db", Some(true)),
            ),
            ("mysql://u:p@h", ("h", 3306, "u", "p", "", None)),
        ];
        for (text, known) in cases {
            let read = parse(text).unwrap();
            let seen = (
                read.host.as_str(),
                read.port,
                read.user.as_str(),
                read.password.as_str(),
            );
            assert_eq!(seen, (known.0, known.1, known.2, known.3), "{text}");
            assert_eq!((read.database.as_str(), read.tls), (known.4, known.5), "{text}");
        }
    }

    #[test]
    fn others_are_refused_without_being_repeated() {
        for text in [
            "hunter2",
            "u:hunter2@unix(/run/mysqld.sock)/",
            "u:hunter2@tcp(h:3306/",
            "u:hunter2@tcp(h:hunter2)/",
            "u:p@tcp(h)/db?tls=hunter2",
            "u:p@tcp(h)/db?hunter2=1",
            "u:p@tcp(h)/db?allowAllFiles=true",
            "postgresql://u:hunter2@h/db",
            "mysql://u:%zzhunter2@h/db",
        ] {
            let error = parse(text).err().unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn local_servers_are_known() {
        for (text, local) in [
            ("/", true),
            ("u@tcp(localhost)/", true),
            ("u@tcp([::1])/", true),
            ("u@tcp(h)/", false),
        ] {
            assert_eq!(parse(text).unwrap().is_local(), local, "{text}");
        }
    }
}
