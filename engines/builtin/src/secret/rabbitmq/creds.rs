//! Users with a lease: `creds/ROLE` makes one, what it takes to drop it goes with the lease. A tag of the broker's says which
//! mount made a user.

use conclave_engine_api::{
    Action, Census, Effect, Env, Error, Hidden, LeaseSpec, Leased, Outcome, Plan, Reply, Request, Txn,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::role::{Permission, Role, TopicPermission};
use super::{lease, template};

/// Letters of a password, as in Vault.
const PASSWORD: usize = 36;
/// Longest name of a user in bytes: what AMQP calls a short string.
const MAX_USER: usize = 255;

/// `read creds/ROLE`.
pub(super) fn issue(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(|| Error::invalid(format!("unknown role: {name}")))?;
    let connection = Connection::required(txn)?;
    let names = template::Names {
        display_name: request.display_name,
        role_name: name,
        more: &[],
    };
    let username = template::fresh(connection.template(), &names, env)?;
    let wrong = |letter: char| letter.is_control();
    if username.len() > MAX_USER || username.contains(wrong) || matches!(username.as_str(), "." | "..") {
        return Err(Error::invalid(
            "username_template makes a name that RabbitMQ does not take",
        ));
    }
    let password = match connection.password_policy.as_str() {
        "" => Hidden::new(env.base62(PASSWORD)),
        policy => env.password(policy)?,
    };
    let mount = request.mount;
    let terms = lease::terms(txn)?;
    let or = |own, other| if own == 0 { other } else { own };
    let max_ttl = or(terms.max_ttl, mount.max_lease_ttl).min(mount.max_lease_ttl);
    Ok(Outcome::Effect(Box::new(Effect {
        plan: Plan {
            target: connection.target()?,
            action: Action::Make {
                account: username.clone(),
                statements: user(&role, &connection.mark, &username, &password)?,
            },
        },
        lease: Some(LeaseSpec {
            ttl: or(terms.ttl, mount.default_lease_ttl).min(max_ttl),
            max_ttl,
            renewable: true,
            internal: kept(&username),
        }),
        reply: Reply::json(json!({"username": username, "password": password.as_str()})),
        memo: Map::new(),
        session: None,
    })))
}

/// As the management API reads a user.
#[derive(Serialize)]
struct User<'a> {
    password: &'a str,
    tags: &'a str,
}

/// As it reads what a user may do at an exchange.
#[derive(Serialize)]
struct Topic<'a> {
    exchange: &'a str,
    #[serde(flatten)]
    permission: &'a TopicPermission,
}

/// How a user comes to be: before it has permissions it can do nothing in any virtual host.
fn user(role: &Role, mark: &str, username: &str, password: &str) -> Result<Vec<Hidden>, Error> {
    let tags = match role.tags.as_str() {
        "" => mark.to_owned(),
        tags => format!("{tags},{mark}"),
    };
    let account = escaped(username);
    let user = User {
        password,
        tags: &tags,
    };
    let mut made = vec![put(&format!("users/{account}"), &user)?];
    for (vhost, permission) in &role.vhosts {
        let path = format!("permissions/{}/{account}", escaped(vhost));
        made.push(put::<Permission>(&path, permission)?);
    }
    for (vhost, exchanges) in &role.vhost_topics {
        let path = format!("topic-permissions/{}/{account}", escaped(vhost));
        for (exchange, permission) in exchanges {
            made.push(put(&path, &Topic { exchange, permission })?);
        }
    }
    Ok(made)
}

/// A statement: what is put where.
fn put<T: Serialize>(path: &str, body: &T) -> Result<Hidden, Error> {
    let body = serde_json::to_string(body).map(Hidden::new);
    let body = body.map_err(|_| Error::internal("a statement cannot be written"))?;
    Ok(Hidden::new(format!("{path} {}", body.as_str())))
}

/// As one segment of a path: unreserved characters of RFC 3986 stay.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What a lease keeps.
pub(super) fn kept(username: &str) -> Map<String, Value> {
    Map::from_iter([("username".to_owned(), json!(username))])
}

/// The user that a lease is of.
pub(super) fn account<'l>(lease: &Leased<'l>) -> Option<&'l str> {
    lease.internal.get("username").and_then(Value::as_str)
}

/// How a user goes. One in the making goes only if it bears our mark: whether it was we who made it is not known.
pub(super) fn revocation(txn: &mut Txn<'_>, lease: &Leased<'_>) -> Result<Plan, Error> {
    let connection = Connection::required(txn)?;
    let account = account(lease).ok_or_else(|| Error::internal("a lease of a broker lacks what was kept"))?;
    let statements = match lease.session {
        "" => Vec::new(),
        _ => vec![Hidden::new(connection.mark.clone())],
    };
    Ok(Plan {
        target: connection.target()?,
        action: Action::Drop {
            account: account.to_owned(),
            statements,
            session: lease.session.to_owned(),
        },
    })
}

/// How the users of this mount are found: by their tag.
pub(super) fn census(txn: &mut Txn<'_>) -> Result<Vec<Census>, Error> {
    let Some(connection) = Connection::load(txn)? else {
        return Ok(Vec::new());
    };
    Ok(vec![Census {
        plan: Plan {
            target: connection.target()?,
            action: Action::List {
                prefix: String::new(),
                mark: connection.mark.clone(),
            },
        },
        certain: true,
        known: vec![connection.username],
    }])
}
