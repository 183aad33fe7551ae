//! Accounts with a lease: `creds/ROLE` makes one; what it takes to extend and to drop it goes with the lease.

use conclave_engine_api::{
    Action, Census, Driver, Effect, Env, Error, Heavy, Hidden, LeaseSpec, Leased, Millis, Outcome, Page,
    Plan, Reply, Request, Terms, Txn,
};
use serde_json::{Map, Value, json};

use super::connection::{self, Connection};
use super::dialect::{self, Purpose};
use super::role::Role;
use super::{kind, password, statements, static_role, template};

/// `read creds/ROLE`.
pub(super) fn issue(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(|| Error::invalid(format!("unknown role: {name}")))?;
    let connection = Connection::required(txn, &role.db_name)?;
    if !connection.allows(name) {
        return Err(Error::invalid(format!("{name:?} is not an allowed role")));
    }
    let mount = request.mount;
    let or = |own: Millis, other: Millis| if own == 0 { other } else { own };
    let max_ttl = or(role.max_ttl, mount.max_lease_ttl).min(mount.max_lease_ttl);
    let ttl = or(role.default_ttl, mount.default_lease_ttl).min(max_ttl);
    let names = template::Names {
        display_name: request.display_name,
        role_name: name,
        more: &[],
    };
    let username = template::fresh(connection.template()?, &names, env)?;
    if username.contains(['\0', '"', '\'', '\\', '`']) {
        return Err(Error::invalid("username_template makes a name with quotes in it"));
    }
    let driver = kind::driver(&connection.plugin_name)?;
    let expires = env.now().saturating_add(ttl);
    let made = credential(&role, &connection, (&username, expires), &names, env)?;
    let (told, reply) = match made {
        Ok(made) => made,
        Err(heavy) => return Ok(Outcome::Heavy(heavy)),
    };
    let filling = statements::Filling {
        username: &username,
        password: &told,
        expires: Some(expires),
    };
    let mut made = dialect::told(driver, Purpose::Create, &role.creation_statements, &filling)?;
    made.extend(mark(&connection, &username));
    let mut internal = kept(&role.db_name, &username, name, &role.revocation_statements);
    if !role.rollback_statements.is_empty() {
        internal.insert("rollback_statements".to_owned(), json!(role.rollback_statements));
    }
    Ok(Outcome::Effect(Box::new(Effect {
        plan: Plan {
            target: connection.target(&role.db_name)?,
            action: Action::Make {
                account: username.clone(),
                statements: made,
            },
        },
        lease: Some(LeaseSpec {
            ttl,
            max_ttl,
            // A certificate that is out cannot be told that it lives longer.
            renewable: role.certificate.is_none(),
            internal,
        }),
        reply: Reply::json(reply),
        memo: Map::new(),
        session: None,
    })))
}

/// What an account logs in with: what the database is told of it, and what is answered. Or what must be computed for it first.
fn credential(
    role: &Role,
    connection: &Connection,
    (username, expires): (&str, Millis),
    names: &template::Names<'_>,
    env: &mut Env<'_>,
) -> Result<Result<(Hidden, Value), Heavy>, Error> {
    let Some(authority) = &role.certificate else {
        let password = password::make(connection, &role.password_policy, env)?;
        let reply = json!({"username": username, "password": password.as_str()});
        return Ok(Ok((password::told(connection, &password, env)?, reply)));
    };
    if kind::driver(&connection.plugin_name)? == Driver::Redis {
        return Err(Error::Unsupported("certificates of users of Redis".to_owned()));
    }
    let issued = authority.issue(username, names, expires, env)?;
    Ok(issued.map(|issued| {
        let reply = json!({
            "username": username,
            "client_certificate": issued.certificate,
            "private_key": issued.private_key.as_str(),
            "private_key_type": issued.kind,
        });
        (Hidden::default(), reply)
    }))
}

/// Marks an account as one of this connection's, where the database lets us: then one that lost its lease is found.
fn mark(connection: &Connection, username: &str) -> Option<Hidden> {
    if connection.tag.is_empty() || kind::driver(&connection.plugin_name) != Ok(Driver::Postgresql) {
        return None;
    }
    let tag = connection.mark();
    Some(Hidden::new(format!(
        "DO $conclave$ BEGIN COMMENT ON ROLE \"{username}\" IS '{tag}'; EXCEPTION WHEN OTHERS THEN NULL; END $conclave$"
    )))
}

/// How the accounts of a connection are found in its database. PostgreSQL keeps our mark; elsewhere a name says the little
/// it says, and one of a template that begins with nothing fixed says nothing.
pub(super) fn census(txn: &mut Txn<'_>) -> Result<Vec<Census>, Error> {
    let known = static_role::usernames(txn)?;
    let mut found = Vec::new();
    for name in txn.list(connection::DIRECTORY, &Page::default())? {
        let Some(connection) = Connection::load(txn, &name)? else {
            continue;
        };
        let marked =
            kind::driver(&connection.plugin_name)? == Driver::Postgresql && !connection.tag.is_empty();
        let (prefix, mark) = match marked {
            true => (String::new(), connection.mark()),
            false => (
                kind::fixed_start(connection.template()?).to_owned(),
                String::new(),
            ),
        };
        if prefix.is_empty() && mark.is_empty() {
            continue;
        }
        let mut known = known.clone();
        known.push(connection.username.clone());
        found.push(Census {
            plan: Plan {
                target: connection.target(&name)?,
                action: Action::List { prefix, mark },
            },
            certain: marked,
            known,
        });
    }
    Ok(found)
}

/// The account that a lease is of.
pub(super) fn account<'l>(lease: &Leased<'l>) -> Option<&'l str> {
    lease.internal.get("username").and_then(Value::as_str)
}

/// What is kept of an account that nobody has a lease of: it is dropped as is usual, for its role is not known.
pub(super) fn adopted(db_name: &str, username: &str) -> Map<String, Value> {
    kept(db_name, username, "", &[])
}

fn kept(db_name: &str, username: &str, role: &str, revocation: &[String]) -> Map<String, Value> {
    let mut kept = Map::new();
    for (key, value) in [
        ("username", json!(username)),
        ("role", json!(role)),
        ("db_name", json!(db_name)),
        ("revocation_statements", json!(revocation)),
    ] {
        kept.insert(key.to_owned(), value);
    }
    kept
}

/// How an account goes. One that was still in the making goes by the statements that its role has for that, if any.
pub(super) fn revocation(txn: &mut Txn<'_>, lease: &Leased<'_>) -> Result<Plan, Error> {
    let kept = Kept::of(lease)?;
    let connection = Connection::required(txn, kept.db_name)?;
    let filling = statements::Filling {
        username: kept.username,
        password: "",
        expires: None,
    };
    // Those that the role has now, for wrong ones are put right there; of a role that speaks of another database none. What was
    // adopted has no role.
    let role = match kept.role {
        "" => None,
        role => Role::load(txn, role)?.filter(|role| role.db_name == kept.db_name),
    };
    let (revocation, rollback) = match &role {
        Some(role) => (&role.revocation_statements, &role.rollback_statements),
        None => (&kept.revocation_statements, &kept.rollback_statements),
    };
    let own = match lease.session.is_empty() || rollback.is_empty() {
        true => revocation,
        false => rollback,
    };
    let driver = kind::driver(&connection.plugin_name)?;
    Ok(Plan {
        target: connection.target(kept.db_name)?,
        action: Action::Drop {
            account: kept.username.to_owned(),
            statements: dialect::told(driver, Purpose::Revoke, own, &filling)?,
            session: lease.session.to_owned(),
        },
    })
}

/// What life a renewed account would be given now.
pub(super) fn terms(txn: &mut Txn<'_>, lease: &Leased<'_>) -> Result<Terms, Error> {
    let kept = Kept::of(lease)?;
    let role = Role::load(txn, kept.role)?;
    let role = role.ok_or_else(|| {
        Error::invalid(format!(
            "error during renew: could not find role with name {:?}",
            kept.role
        ))
    })?;
    Ok(Terms {
        ttl: role.default_ttl,
        max_ttl: role.max_ttl,
    })
}

/// How an account is told that it lives longer.
pub(super) fn extension(
    txn: &mut Txn<'_>,
    lease: &Leased<'_>,
    expires: Millis,
) -> Result<Option<Plan>, Error> {
    let kept = Kept::of(lease)?;
    let connection = Connection::required(txn, kept.db_name)?;
    let own = Role::load(txn, kept.role)?
        .map(|role| role.renew_statements)
        .unwrap_or_default();
    let filling = statements::Filling {
        username: kept.username,
        password: "",
        expires: Some(expires),
    };
    let driver = kind::driver(&connection.plugin_name)?;
    let statements = dialect::told(driver, Purpose::Renew, &own, &filling)?;
    if statements.is_empty() {
        return Ok(None);
    }
    Ok(Some(Plan {
        target: connection.target(kept.db_name)?,
        action: Action::Run { statements },
    }))
}

/// What a lease keeps.
struct Kept<'a> {
    username: &'a str,
    role: &'a str,
    db_name: &'a str,
    revocation_statements: Vec<String>,
    rollback_statements: Vec<String>,
}

impl<'a> Kept<'a> {
    fn of(lease: &Leased<'a>) -> Result<Self, Error> {
        let text = |name: &str| {
            let text = lease.internal.get(name).and_then(Value::as_str);
            text.ok_or_else(|| Error::internal("a lease of a database lacks what was kept"))
        };
        let statements = |name: &str| -> Vec<String> {
            let list = lease.internal.get(name).and_then(Value::as_array);
            let list = list.map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Self {
            username: text("username")?,
            role: text("role")?,
            db_name: text("db_name")?,
            revocation_statements: statements("revocation_statements"),
            rollback_statements: statements("rollback_statements"),
        })
    }
}
