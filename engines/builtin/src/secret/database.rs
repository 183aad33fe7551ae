//! The database engine: accounts that are made when somebody asks and dropped when their lease ends, at Vault's paths. It says
//! what is to be done in which database; it reaches none itself.

mod certificate;
mod connection;
mod creds;
mod cron;
mod dialect;
mod kind;
mod password;
mod place;
mod role;
mod statements;
mod static_role;

use conclave_engine_api::Operation::{Create, Delete, List, Read, Update};
use conclave_engine_api::{
    Census, Done, Effect, Engine, Env, Error, Failure, Hidden, Leased, Millis, Mount, Outcome, Plan, Reply,
    Request, Route, Terms, Txn,
};
use serde_json::{Map, Value};

use super::name::{area_and_name, is_name};
use super::template;
use connection::Connection;

/// The database engine.
pub(crate) struct Database;

impl Engine for Database {
    fn kind(&self) -> &'static str {
        "database"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn plugins(&self) -> Vec<&'static str> {
        kind::built_plugins()
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        let (area, name) = area_and_name(request.path)?;
        if name.is_empty() {
            return match (area, request.operation) {
                ("config" | "roles" | "static-roles", List) => list(txn, area, request),
                ("config" | "roles" | "static-roles", _) => Err(Error::UnsupportedOperation),
                _ => Err(Error::UnsupportedPath),
            };
        }
        if matches!(request.operation, Create | Update)
            && matches!(area, "config" | "roles" | "static-roles")
            && !is_name(name)
        {
            return Err(Error::UnsupportedPath);
        }
        match (area, request.operation) {
            ("config", Create | Update) => connection::write(txn, name, request, env),
            ("config", Read) => connection::read(txn, name),
            ("config", Delete) => {
                txn.delete(&connection::row(name))?;
                Ok(Reply::empty().into())
            }
            ("reset", Create | Update) => connection::reset(txn, name, env),
            ("rotate-root", Create | Update) => connection::rotate(txn, name, env),
            ("roles", Create | Update) => role::write(txn, name, request, env),
            ("roles", Read) => role::read(txn, name),
            ("roles", Delete) => role::delete(txn, name),
            ("creds", Read) => creds::issue(txn, name, request, env),
            ("static-roles", Create | Update) => static_role::write(txn, name, request, env),
            ("static-roles", Read) => static_role::read(txn, name),
            ("static-roles", Delete) => static_role::delete(txn, name),
            ("static-creds", Read) => static_role::credentials(txn, name, env),
            ("rotate-role", Create | Update) => static_role::rotate(txn, name, env),
            (
                "config" | "reset" | "rotate-root" | "roles" | "creds" | "static-roles" | "static-creds"
                | "rotate-role",
                _,
            ) => Err(Error::UnsupportedOperation),
            _ => Err(Error::UnsupportedPath),
        }
    }

    fn acts_when_due(&self, path: &str) -> bool {
        path.starts_with("config/") || path.starts_with("static-role/")
    }

    fn due_outside(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        path: &str,
        env: &mut Env<'_>,
    ) -> Result<Option<Box<Effect>>, Error> {
        match path.split_once('/') {
            Some(("config", name)) => connection::look(txn, name, env),
            Some(("static-role", name)) => static_role::due(txn, name, env),
            _ => Err(Error::internal("a row fell due that never does")),
        }
    }

    fn settle(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        memo: &Map<String, Value>,
        result: Result<&[String], &Failure>,
        env: &mut Env<'_>,
    ) -> Result<Result<Reply, Error>, Error> {
        let text = |key: &str| memo.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        match text("step") {
            "configure" => configure(txn, name, memo, result),
            "reset" => Ok(result
                .map(|_| Reply::empty())
                .map_err(|failure| Error::Target(format!("error verifying connection: {failure}")))),
            "quiet" => connection::quieted(txn, name, text("told"), result, env),
            "rotate-root" | "look" => rotated(txn, name, (text("told"), text("step") == "look"), result),
            "rotate-role" => static_role::settle(txn, name, text("told"), result, env),
            _ => Err(Error::internal("an effect of a database that nobody asked for")),
        }
    }

    fn revocation(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        lease: &Leased<'_>,
        _env: &mut Env<'_>,
    ) -> Result<Plan, Error> {
        creds::revocation(txn, lease)
    }

    fn census(&self, txn: &mut Txn<'_>, _mount: &Mount) -> Result<Vec<Census>, Error> {
        creds::census(txn)
    }

    fn account<'l>(&self, lease: &Leased<'l>) -> Option<&'l str> {
        creds::account(lease)
    }

    fn adopted(&self, target: &str, account: &str) -> Map<String, Value> {
        creds::adopted(target, account)
    }

    fn terms(&self, txn: &mut Txn<'_>, _mount: &Mount, lease: &Leased<'_>) -> Result<Terms, Error> {
        creds::terms(txn, lease)
    }

    fn extension(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        lease: &Leased<'_>,
        expires: Millis,
        _env: &mut Env<'_>,
    ) -> Result<Option<Plan>, Error> {
        creds::extension(txn, lease, expires)
    }
}

fn list(txn: &mut Txn<'_>, area: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let dir = match area {
        "roles" => "role/",
        "static-roles" => "static-role/",
        _ => "config/",
    };
    Outcome::listing(txn.list(dir, &request.fields().page()?)?)
}

/// A connection is kept if the database let us in.
fn configure(
    txn: &mut Txn<'_>,
    name: &str,
    memo: &Map<String, Value>,
    result: Result<&[String], &Failure>,
) -> Result<Result<Reply, Error>, Error> {
    if let Err(failure) = result {
        return Ok(Err(Error::invalid(format!(
            "error creating database object: error verifying connection: {failure}"
        ))));
    }
    let value = memo.get("connection").cloned().unwrap_or_default();
    let connection: Connection =
        serde_json::from_value(value).map_err(|_| Error::internal("a connection got lost on the way"))?;
    let now = Connection::load(txn, name)?;
    if now.as_ref().is_some_and(|now| now.is_open()) {
        return Ok(Err(Error::invalid(
            "the connection's password is being rotated; try again",
        )));
    }
    connection.save(txn, name, None)?;
    Ok(Ok(connection.kept()))
}

/// The new root password holds if the database took it; if it refused, the old one does; else both are kept, and looked at
/// again. `told`: which one was told. `looked`: the question was whether it lets us in.
fn rotated(
    txn: &mut Txn<'_>,
    name: &str,
    (told, looked): (&str, bool),
    result: Result<&[String], &Failure>,
) -> Result<Result<Reply, Error>, Error> {
    let Some(mut connection) = Connection::load(txn, name)? else {
        return Ok(Err(Error::invalid("the connection was deleted meanwhile")));
    };
    if connection::digest(&connection.pending) != told {
        return Ok(result.map(|_| Reply::empty()).map_err(|failure| {
            Error::Target(format!(
                "unable to rotate root credentials: {failure}; that is settled by now"
            ))
        }));
    }
    let answer = match result {
        Ok(_) => {
            connection.password = std::mem::take(&mut connection.pending);
            connection.quiet = false;
            Ok(Reply::empty())
        }
        Err(failure) => {
            let holds = match failure.done {
                Done::Denied => true,
                Done::Nothing | Done::There | Done::Refused => !looked,
                Done::Unknown => false,
            };
            if !holds {
                return Ok(Err(Error::Target(format!(
                    "unable to rotate root credentials: {failure}; both passwords are kept until it is known which holds"
                ))));
            }
            connection.pending = Hidden::default();
            connection.quiet = false;
            Err(Error::Target(format!(
                "unable to rotate root credentials: {failure}"
            )))
        }
    };
    connection.save(txn, name, None)?;
    Ok(answer)
}

const ROUTES: &[Route] = &[
    Route {
        pattern: "config",
        operations: &[List],
        summary: "List the connections to databases.",
    },
    Route {
        pattern: "config/:name",
        operations: &[Create, Read, Update, Delete],
        summary: "Configure how a database is reached.",
    },
    Route {
        pattern: "reset/:name",
        operations: &[Update],
        summary: "Reach a database anew.",
    },
    Route {
        pattern: "rotate-root/:name",
        operations: &[Update],
        summary: "Give the account that makes accounts a password nobody knows.",
    },
    Route {
        pattern: "roles",
        operations: &[List],
        summary: "List the roles.",
    },
    Route {
        pattern: "roles/:name",
        operations: &[Create, Read, Update, Delete],
        summary: "Say what accounts of a role may do and how long they live.",
    },
    Route {
        pattern: "static-roles",
        operations: &[List],
        summary: "List the static roles.",
    },
    Route {
        pattern: "static-roles/:name",
        operations: &[Create, Read, Update, Delete],
        summary: "Keep an account whose password changes by period or schedule.",
    },
    Route {
        pattern: "static-creds/:name",
        operations: &[Read],
        summary: "Read the password of a static role.",
    },
    Route {
        pattern: "rotate-role/:name",
        operations: &[Update],
        summary: "Change the password of a static role now.",
    },
    Route {
        pattern: "creds/:name",
        operations: &[Read],
        summary: "Make an account that ends with its lease.",
    },
];
