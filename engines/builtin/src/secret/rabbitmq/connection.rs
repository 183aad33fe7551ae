//! `config/connection`: where the broker's management API is, and as whom it is asked. The password is written and used, and
//! never shown.

use conclave_engine_api::{
    Action, Driver, Effect, Env, Error, Failure, Fields, Hidden, Outcome, Plan, Reply, Request, Target,
    TargetTls, Txn,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::template;
use crate::record;

const FORMAT: u8 = 1;
const ROW: &str = "config/connection";
/// The one target of a mount.
const TARGET: &str = "rabbitmq";
/// Requests to a broker at once.
const CONNECTIONS: u32 = 8;
/// Longest text of a field in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Vault's template of names.
const TEMPLATE: &str = r#"{{ printf "%s-%s" (.DisplayName) (uuid) }}"#;

/// As stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Connection {
    pub connection_uri: String,
    pub username: String,
    #[serde(with = "crate::wiped")]
    pub password: Hidden,
    /// By which policy passwords are made; empty: as Vault makes them without one.
    pub password_policy: String,
    pub username_template: String,
    /// Authorities to trust, PEM; empty: those of the operating system.
    pub tls_ca: String,
    /// What the tag of users says that this mount made.
    pub mark: String,
}

impl Connection {
    pub fn load(txn: &mut Txn<'_>) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, ROW)
    }

    /// The connection that everything else needs.
    pub fn required(txn: &mut Txn<'_>) -> Result<Self, Error> {
        Self::load(txn)?.ok_or_else(|| Error::invalid("no connection is configured: write config/connection"))
    }

    /// Where the broker is, as the driver reads it.
    pub fn target(&self) -> Result<Target, Error> {
        let reach = Reach {
            uri: &self.connection_uri,
            username: &self.username,
            password: &self.password,
        };
        let url = serde_json::to_string(&reach).map_err(|_| Error::internal("a target cannot be written"))?;
        Ok(Target {
            name: TARGET.to_owned(),
            driver: Driver::RabbitMq,
            url: Hidden::new(url),
            fallback: None,
            tls: TargetTls {
                ca: self.tls_ca.clone(),
                ..TargetTls::default()
            },
            max_connections: CONNECTIONS,
            epoch: String::new(),
        })
    }

    /// How names are made.
    pub fn template(&self) -> &str {
        match self.username_template.as_str() {
            "" => TEMPLATE,
            own => own,
        }
    }
}

/// As the driver reads it.
#[derive(Serialize)]
struct Reach<'a> {
    uri: &'a str,
    username: &'a str,
    password: &'a str,
}

/// `write config/connection`: what is not given is as if it had never been, as in Vault. Unless told otherwise it is kept only
/// if the broker lets us make users.
pub(super) fn write(txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let connection = Connection {
        connection_uri: required(&fields, "connection_uri")?,
        username: required(&fields, "username")?,
        password: Hidden::new(required(&fields, "password")?),
        password_policy: text(&fields, "password_policy")?,
        username_template: text(&fields, "username_template")?,
        tls_ca: text(&fields, "tls_ca")?,
        mark: match Connection::load(txn)? {
            Some(before) => before.mark,
            None => format!("conclave-{}", env.hex(8)),
        },
    };
    let verify = fields.bool("verify_connection")?.unwrap_or(true);
    check(&connection, env)?;
    if !verify {
        return save(txn, &connection).map(Outcome::from);
    }
    let value =
        serde_json::to_value(&connection).map_err(|_| Error::internal("a record cannot be encoded"))?;
    Ok(Outcome::Effect(Box::new(Effect {
        plan: Plan {
            target: connection.target()?,
            action: Action::Check,
        },
        lease: None,
        reply: Reply::empty(),
        memo: Map::from_iter([("connection".to_owned(), value)]),
        session: None,
    })))
}

fn required(fields: &Fields<'_>, name: &str) -> Result<String, Error> {
    match text(fields, name)? {
        none if none.is_empty() => Err(Error::invalid(format!("missing {name}"))),
        text => Ok(text),
    }
}

fn text(fields: &Fields<'_>, name: &str) -> Result<String, Error> {
    let text = fields.string(name)?.unwrap_or_default();
    match text.len() > MAX_TEXT {
        true => Err(Error::TooLarge(format!("{name} is longer than {MAX_TEXT} bytes"))),
        false => Ok(text),
    }
}

fn check(connection: &Connection, env: &mut Env<'_>) -> Result<(), Error> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| connection.connection_uri.strip_prefix(scheme));
    let is_uri = rest.is_some_and(|rest| {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"@?#\\".contains(&byte);
        !rest.is_empty() && rest.bytes().all(plain)
    });
    if !is_uri {
        return Err(Error::invalid(
            "connection_uri must be https://HOST:PORT or http://HOST:PORT of the management API, without credentials or query",
        ));
    }
    // Requests bear both as `username:password`.
    if connection.username.contains(':') {
        return Err(Error::invalid("username must not hold a colon"));
    }
    let names = template::Names {
        display_name: "token",
        role_name: "role",
        more: &[],
    };
    template::fresh(connection.template(), &names, env).map(|_| ())
}

/// The connection was tried.
pub(super) fn settle(
    txn: &mut Txn<'_>,
    memo: &Map<String, Value>,
    result: Result<&[String], &Failure>,
) -> Result<Result<Reply, Error>, Error> {
    if let Err(failure) = result {
        let text = format!("failed to validate the connection: {failure}");
        return Ok(Err(Error::Target(text)));
    }
    let value = memo.get("connection").cloned().unwrap_or_default();
    let mut connection: Connection =
        serde_json::from_value(value).map_err(|_| Error::internal("a connection got lost on the way"))?;
    if let Some(now) = Connection::load(txn)? {
        // Whoever came first has said how users are marked.
        connection.mark = now.mark;
    }
    save(txn, &connection).map(Ok)
}

fn save(txn: &mut Txn<'_>, connection: &Connection) -> Result<Reply, Error> {
    txn.put(ROW, record::encode(FORMAT, connection)?)?;
    let open = connection.connection_uri.starts_with("http://");
    Ok(match open && !is_here(&connection.connection_uri) {
        true => Reply::empty().warn(
            "connection_uri is http://: passwords of users, and that of whoever makes them, travel in the clear",
        ),
        false => Reply::empty(),
    })
}

/// Whether a broker is on this machine, as its address is written.
fn is_here(uri: &str) -> bool {
    let place = uri.strip_prefix("http://").unwrap_or_default();
    let host = place.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    matches!(host, "localhost" | "[::1]") || host.starts_with("127.")
}
