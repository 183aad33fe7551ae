//! The RabbitMQ engine: users of a broker that are made when somebody asks and dropped when their lease ends, at Vault's paths.
//! It says what is to be put into the broker's management API; it reaches none itself.

mod connection;
mod creds;
mod lease;
mod role;

use conclave_engine_api::Operation::{Create, Delete, List, Read, Update};
use conclave_engine_api::{
    Census, Engine, Env, Error, Failure, Leased, Mount, Outcome, Plan, Reply, Request, Route, Terms, Txn,
};
use serde_json::{Map, Value};

use super::name::is_name;
use super::template;

/// The RabbitMQ engine.
pub(crate) struct RabbitMq;

impl Engine for RabbitMq {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        let path = request.path.trim_end_matches('/');
        match (path.split_once('/').unwrap_or((path, "")), request.operation) {
            (("config", "connection"), Create | Update) => connection::write(txn, request, env),
            (("config", "lease"), Create | Update) => lease::write(txn, request),
            (("config", "lease"), Read) => lease::read(txn),
            (("config", "connection" | "lease"), _) => Err(Error::UnsupportedOperation),
            (("roles", ""), List) => Outcome::listing(txn.list(role::DIRECTORY, &request.fields().page()?)?),
            (("roles", ""), _) => Err(Error::UnsupportedOperation),
            (("roles" | "creds", name), _) if !is_name(name) => Err(Error::UnsupportedPath),
            (("roles", name), Create | Update) => role::write(txn, name, request),
            (("roles", name), Read) => role::read(txn, name),
            (("roles", name), Delete) => role::delete(txn, name),
            (("creds", name), Read) => creds::issue(txn, name, request, env),
            (("roles" | "creds", _), _) => Err(Error::UnsupportedOperation),
            _ => Err(Error::UnsupportedPath),
        }
    }

    fn settle(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        memo: &Map<String, Value>,
        result: Result<&[String], &Failure>,
        _env: &mut Env<'_>,
    ) -> Result<Result<Reply, Error>, Error> {
        connection::settle(txn, memo, result)
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

    fn terms(&self, txn: &mut Txn<'_>, _mount: &Mount, _lease: &Leased<'_>) -> Result<Terms, Error> {
        lease::terms(txn)
    }

    fn census(&self, txn: &mut Txn<'_>, _mount: &Mount) -> Result<Vec<Census>, Error> {
        creds::census(txn)
    }

    fn account<'l>(&self, lease: &Leased<'l>) -> Option<&'l str> {
        creds::account(lease)
    }

    fn adopted(&self, _target: &str, account: &str) -> Map<String, Value> {
        creds::kept(account)
    }
}

const ROUTES: &[Route] = &[
    Route {
        pattern: "config/connection",
        operations: &[Update],
        summary: "Configure how the broker is reached and as whom.",
    },
    Route {
        pattern: "config/lease",
        operations: &[Read, Update],
        summary: "Say how long users live.",
    },
    Route {
        pattern: "roles",
        operations: &[List],
        summary: "List the roles.",
    },
    Route {
        pattern: "roles/:name",
        operations: &[Read, Update, Delete],
        summary: "Say what users of a role may do.",
    },
    Route {
        pattern: "creds/:name",
        operations: &[Read],
        summary: "Make a user that ends with its lease.",
    },
];
