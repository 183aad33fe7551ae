//! Connections: `config/NAME`. How a database is reached and as whom. The password is written, used and rotated, and never
//! shown. While a rotation of it is under way both passwords are kept, so that after any crash one of them works.

use conclave_engine_api::{
    Action, Effect, Env, Error, Failure, Fields, Hidden, Millis, Outcome, Plan, Reply, Request, Target,
    TargetTls, Txn,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::dialect::{self, Purpose};
use super::statements::{self, replaced};
use super::{kind, password, place, template};
use crate::record;

const FORMAT: u8 = 1;
/// Connections to a database at once unless told otherwise, as Vault's; and at most.
const CONNECTIONS: u64 = 4;
const MAX_CONNECTIONS: u64 = 64;
/// Bytes of a digest of an account or a password: databases take names of sessions of 63 bytes.
const DIGEST: usize = 8;
/// How long a rotation may be open before it is looked at.
const OPEN_FOR: Millis = 30_000;

/// A connection as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Connection {
    pub plugin_name: String,
    pub connection_url: String,
    pub username: String,
    #[serde(with = "crate::wiped")]
    pub password: Hidden,
    /// Set before the database is told, empty when it is known whether the database took it.
    #[serde(with = "crate::wiped")]
    pub pending: Hidden,
    /// Whether nothing that tells the database of `pending` is on its way any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    pub allowed_roles: Vec<String>,
    pub verify_connection: bool,
    pub root_rotation_statements: Vec<String>,
    pub username_template: String,
    pub max_open_connections: u64,
    pub disable_escaping: bool,
    pub tls_ca: String,
    pub tls_certificate: String,
    #[serde(with = "crate::wiped")]
    pub private_key: Hidden,
    pub tls_server_name: String,
    /// What marks the accounts of this connection.
    pub tag: String,
    /// By which policy passwords are made; empty: as Vault makes them without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub password_policy: String,
    /// Whether the database is told a SCRAM verifier in place of a password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scram: bool,
    /// Another whenever somebody had it reached anew.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}

/// Where the rows of connections lie.
pub(super) const DIRECTORY: &str = "config/";

/// The row of a connection.
pub(super) fn row(name: &str) -> String {
    format!("{DIRECTORY}{name}")
}

impl Connection {
    pub fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, &row(name))
    }

    /// The connection that a role names.
    pub fn required(txn: &mut Txn<'_>, name: &str) -> Result<Self, Error> {
        let found = Self::load(txn, name)?;
        found
            .ok_or_else(|| Error::invalid(format!("failed to find entry for connection with name: {name:?}")))
    }

    pub fn save(&self, txn: &mut Txn<'_>, name: &str, deadline: Option<Millis>) -> Result<(), Error> {
        txn.put_due(&row(name), record::encode(FORMAT, self)?, deadline)
    }

    /// Whether a rotation of the password is under way.
    pub fn is_open(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a role may use it: `*`, its name, or a pattern with stars at its ends.
    pub fn allows(&self, role: &str) -> bool {
        self.allowed_roles.iter().any(|allowed| {
            let (open_start, rest) = match allowed.strip_prefix('*') {
                Some(rest) => (true, rest),
                None => (false, allowed.as_str()),
            };
            match (open_start, rest.strip_suffix('*')) {
                _ if allowed == "*" => true,
                (true, Some(middle)) => role.contains(middle),
                (true, None) => role.ends_with(rest),
                (false, Some(start)) => role.starts_with(start),
                (false, None) => role == rest,
            }
        })
    }

    /// What its accounts are marked with, where the database keeps marks.
    pub fn mark(&self) -> String {
        format!("conclave/{}", self.tag)
    }

    /// What a session is called that changes the password of an account, the same for all attempts: each ends those before it.
    pub fn session(&self, account: &str) -> String {
        format!("conclave/rotation/{}/{}", self.tag, digest(account))
    }

    /// Where its database is.
    pub fn target(&self, name: &str) -> Result<Target, Error> {
        Ok(Target {
            name: name.to_owned(),
            driver: kind::driver(&self.plugin_name)?,
            url: self.url(&self.password),
            fallback: self.is_open().then(|| self.url(&self.pending)),
            tls: TargetTls {
                ca: self.tls_ca.clone(),
                certificate: self.tls_certificate.clone(),
                key: self.private_key.clone(),
                server_name: self.tls_server_name.clone(),
            },
            max_connections: u32::try_from(self.max_open_connections).unwrap_or(1),
            epoch: self.epoch.clone(),
        })
    }

    fn url(&self, password: &str) -> Hidden {
        let escaped = |text: &str| match self.disable_escaping {
            true => text.to_owned(),
            false => place::part(&self.connection_url, text),
        };
        let (username, password) = (escaped(&self.username), Hidden::new(escaped(password)));
        Hidden::new(replaced(
            &self.connection_url,
            &[("{{username}}", &username), ("{{password}}", &password)],
        ))
    }

    /// What is answered to whoever wrote it.
    pub fn kept(&self) -> Reply {
        match place::holds_password(&self.connection_url) {
            true => Reply::empty().warn(
                "the password is written into connection_url: with {{username}} and {{password}} there, and both given \
                 apart, it could be rotated by rotate-root",
            ),
            false => Reply::empty(),
        }
    }

    pub fn template(&self) -> Result<&str, Error> {
        Ok(match self.username_template.as_str() {
            "" => kind::template(&self.plugin_name)?,
            template => template,
        })
    }
}

/// `write config/NAME`. Unless told otherwise it is kept only if the database lets us in.
pub(super) fn write(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let fields = request.fields().unprefixed();
    let before = Connection::load(txn, name)?;
    if before.as_ref().is_some_and(|before| before.is_open()) {
        return Err(unsettled());
    }
    let mut connection = before.clone().unwrap_or_else(|| Connection {
        verify_connection: true,
        max_open_connections: CONNECTIONS,
        tag: env.hex(8),
        ..Connection::default()
    });
    take(&mut connection, &fields, env)?;
    if !connection.verify_connection {
        connection.save(txn, name, None)?;
        return Ok(connection.kept().into());
    }
    let value =
        serde_json::to_value(&connection).map_err(|_| Error::internal("a record cannot be encoded"))?;
    Ok(Outcome::Effect(Box::new(Effect {
        plan: Plan {
            target: connection.target(name)?,
            action: Action::Check,
        },
        lease: None,
        reply: Reply::empty(),
        memo: memo("configure", name, [("connection", value)]),
        session: None,
    })))
}

fn take(connection: &mut Connection, fields: &Fields<'_>, env: &mut Env<'_>) -> Result<(), Error> {
    let text = |name: &str, place: &mut String| -> Result<(), Error> {
        if let Some(text) = fields.string(name)? {
            *place = text;
        }
        Ok(())
    };
    text("plugin_name", &mut connection.plugin_name)?;
    text("username", &mut connection.username)?;
    text("username_template", &mut connection.username_template)?;
    text("tls_ca", &mut connection.tls_ca)?;
    text("tls_certificate", &mut connection.tls_certificate)?;
    text("tls_server_name", &mut connection.tls_server_name)?;
    if let Some(password) = fields.string("password")? {
        connection.password = Hidden::new(password);
    }
    if let Some(key) = fields.string("private_key")? {
        connection.private_key = Hidden::new(key);
    }
    if let Some(roles) = fields.strings("allowed_roles")? {
        connection.allowed_roles = roles;
    }
    if let Some(verify) = fields.bool("verify_connection")? {
        connection.verify_connection = verify;
    }
    if let Some(disable) = fields.bool("disable_escaping")? {
        connection.disable_escaping = disable;
    }
    if let Some(most) = fields.count("max_open_connections")? {
        connection.max_open_connections = most;
    }
    for given in ["root_rotation_statements", "root_credentials_rotate_statements"] {
        if let Some(statements) = statements::read(fields, given)? {
            connection.root_rotation_statements = statements;
        }
    }
    if let Some(policy) = fields.string("password_policy")? {
        connection.password_policy = policy;
    }
    if let Some(how) = fields.string("password_authentication")? {
        connection.scram = match how.as_str() {
            "" | "password" => false,
            "scram-sha-256" => true,
            _ => {
                return Err(Error::invalid(
                    "password_authentication must be password or scram-sha-256",
                ));
            }
        };
    }
    if connection.plugin_name.is_empty() {
        return Err(Error::invalid("empty plugin name"));
    }
    place::take(connection, kind::driver(&connection.plugin_name)?, fields)?;
    if connection.max_open_connections == 0 || connection.max_open_connections > MAX_CONNECTIONS {
        return Err(Error::invalid(format!(
            "max_open_connections must be between 1 and {MAX_CONNECTIONS}"
        )));
    }
    let names = template::Names {
        display_name: "token",
        role_name: "role",
        more: &[],
    };
    template::fresh(connection.template()?, &names, env).map(|_| ())
}

/// `read config/NAME`, without anything that opens a door.
pub(super) fn read(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let connection = Connection::load(txn, name)?.ok_or_else(Error::not_found)?;
    let mut details = Map::new();
    place::tell(&connection, kind::driver(&connection.plugin_name)?, &mut details);
    let mut tell = |name: &str, value: Value| details.insert(name.to_owned(), value);
    tell("username", json!(connection.username));
    tell("max_open_connections", json!(connection.max_open_connections));
    if !connection.username_template.is_empty() {
        tell("username_template", json!(connection.username_template));
    }
    if connection.scram {
        tell("password_authentication", json!("scram-sha-256"));
    }
    if connection.disable_escaping {
        tell("disable_escaping", json!(true));
    }
    if !connection.tls_ca.is_empty() {
        tell("tls_ca", json!(connection.tls_ca));
    }
    if !connection.tls_certificate.is_empty() {
        tell("tls_certificate", json!(connection.tls_certificate));
    }
    Ok(Reply::json(json!({
        "plugin_name": connection.plugin_name,
        "plugin_version": "",
        "connection_details": details,
        "allowed_roles": connection.allowed_roles,
        "root_credentials_rotate_statements": connection.root_rotation_statements,
        "password_policy": connection.password_policy,
        "verify_connection": connection.verify_connection,
    }))
    .into())
}

/// `reset/NAME`: from now on no node uses the connections that it has. Whoever asks is told whether the database lets us in.
pub(super) fn reset(txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let mut connection = Connection::required(txn, name)?;
    if connection.is_open() {
        return Err(unsettled());
    }
    connection.epoch = env.hex(DIGEST);
    connection.save(txn, name, None)?;
    Ok(Outcome::Effect(Box::new(Effect {
        plan: Plan {
            target: connection.target(name)?,
            action: Action::Check,
        },
        lease: None,
        reply: Reply::empty(),
        memo: memo("reset", name, []),
        session: None,
    })))
}

/// `rotate-root/NAME`: a password that nobody but the database and this row knows.
pub(super) fn rotate(txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let mut connection = Connection::required(txn, name)?;
    if connection.is_open() {
        return Err(unsettled());
    }
    if connection.username.is_empty() || !connection.connection_url.contains("{{password}}") {
        return Err(Error::invalid(
            "unable to rotate root credentials: no username in configuration, or connection_url without {{password}}",
        ));
    }
    let driver = kind::driver(&connection.plugin_name)?;
    let fresh = password::make(&connection, "", env)?;
    let told = password::told(&connection, &fresh, env)?;
    let filling = statements::Filling {
        username: &connection.username,
        password: &told,
        expires: None,
    };
    let plan = Plan {
        target: connection.target(name)?,
        action: Action::Run {
            statements: dialect::told(
                driver,
                Purpose::Rotate,
                &connection.root_rotation_statements,
                &filling,
            )?,
        },
    };
    connection.pending = fresh;
    connection.quiet = false;
    connection.save(txn, name, Some(env.now().saturating_add(OPEN_FOR)))?;
    Ok(Outcome::Effect(Box::new(Effect {
        plan,
        lease: None,
        reply: Reply::empty(),
        memo: memo(
            "rotate-root",
            name,
            [("told", json!(digest(&connection.pending)))],
        ),
        session: Some(connection.session(&connection.username)),
    })))
}

/// A rotation that nobody settled. First the session ends that told the database of the new password, by whichever of the two
/// lets us in: its statement may still be on its way. Only then it is asked which of them the database takes.
pub(super) fn look(txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<Option<Box<Effect>>, Error> {
    let Some(connection) = Connection::load(txn, name)? else {
        return Ok(None);
    };
    if !connection.is_open() {
        connection.save(txn, name, None)?;
        return Ok(None);
    }
    let either = connection.target(name)?;
    let (target, step) = match connection.quiet {
        false => (either, "quiet"),
        true => {
            let fresh = Target {
                url: connection.url(&connection.pending),
                fallback: None,
                ..either
            };
            (fresh, "look")
        }
    };
    connection.save(txn, name, Some(env.now().saturating_add(OPEN_FOR)))?;
    Ok(Some(Box::new(Effect {
        plan: Plan {
            target,
            action: Action::Check,
        },
        lease: None,
        reply: Reply::empty(),
        memo: memo(step, name, [("told", json!(digest(&connection.pending)))]),
        session: Some(connection.session(&connection.username)),
    })))
}

/// Nothing that tells the database of the new password is on its way any more: it is asked at once.
pub(super) fn quieted(
    txn: &mut Txn<'_>,
    name: &str,
    told: &str,
    result: Result<&[String], &Failure>,
    env: &Env<'_>,
) -> Result<Result<Reply, Error>, Error> {
    if let Err(failure) = result {
        return Ok(Err(Error::Target(format!(
            "it is not known yet which password holds: {failure}"
        ))));
    }
    if let Some(mut connection) = Connection::load(txn, name)?.filter(|now| digest(&now.pending) == told) {
        connection.quiet = true;
        connection.save(txn, name, Some(env.now()))?;
    }
    Ok(Ok(Reply::empty()))
}

fn unsettled() -> Error {
    Error::invalid(
        "a rotation of this connection's password is not settled yet; it is looked at every half minute, try again then",
    )
}

/// Tells rotations apart by what they tell a database: what came of one says nothing of the next.
pub(super) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()).get(..DIGEST).unwrap_or_default())
}

/// An engine's note to itself.
pub(super) fn memo<const N: usize>(step: &str, name: &str, more: [(&str, Value); N]) -> Map<String, Value> {
    let mut memo = Map::new();
    memo.insert("step".to_owned(), json!(step));
    memo.insert("name".to_owned(), json!(name));
    memo.extend(more.map(|(name, value)| (name.to_owned(), value)));
    memo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_escaped_where_a_url_wants_it() {
        let connection = Connection {
            connection_url: "postgresql://{{username}}:{{password}}@h/db".to_owned(),
            username: "a b".to_owned(),
            password: Hidden::new("p@ss:/?#%".to_owned()),
            ..Connection::default()
        };
        assert_eq!(
            connection.url(&connection.password).as_str(),
            "postgresql://a%20b:p%40ss%3A%2F%3F%23%25@h/db"
        );
        let connection = Connection {
            connection_url: "{{username}}:{{password}}@tcp(h)/db".to_owned(),
            ..connection
        };
        assert_eq!(
            connection.url(&connection.password).as_str(),
            "a b:p@ss:/?#%@tcp(h)/db"
        );
    }

    #[test]
    fn roles_are_allowed_by_name_or_pattern() {
        let allows = |allowed: &str, role| {
            let connection = Connection {
                allowed_roles: vec![allowed.to_owned()],
                ..Connection::default()
            };
            connection.allows(role)
        };
        assert!(allows("*", "x") && allows("x", "x") && allows("app-*", "app-x") && allows("*-ro", "a-ro"));
        assert!(!allows("x", "y") && !allows("app-*", "ap") && !Connection::default().allows("x"));
    }
}
