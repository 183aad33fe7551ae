//! The Kubernetes engine: service accounts that are made when somebody asks and go when their lease ends, and tokens of those
//! that are there, at Vault's paths. It says what is to be sent to the API server; it reaches none itself.

mod config;
mod creds;
mod kind;
mod role;
mod rules;
mod token;

use conclave_engine_api::Operation::{Create, Delete, List, Read, Update};
use conclave_engine_api::{
    Census, Engine, Env, Error, Failure, Leased, Mount, Outcome, Plan, Reply, Request, Route, Txn,
};
use serde_json::{Map, Value};

use super::name::is_name;
use super::template;

/// The Kubernetes engine.
pub(crate) struct Kubernetes;

impl Engine for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn exists(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
        match request.path.trim_end_matches('/').split_once('/') {
            Some(("roles", name)) if is_name(name) => Ok(Some(role::is_there(txn, name)?)),
            _ => Ok(None),
        }
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        let path = request.path.trim_end_matches('/');
        match (path.split_once('/').unwrap_or((path, "")), request.operation) {
            (("config", ""), Create | Update) => config::write(txn, request, env),
            (("config", ""), Read) => config::read(txn),
            (("config", ""), Delete) => config::delete(txn),
            (("check", ""), Read) => config::check(txn),
            (("roles", ""), List) => role::list(txn, request),
            (("config" | "check" | "roles", ""), _) => Err(Error::UnsupportedOperation),
            (("roles" | "creds", name), _) if !is_name(name) => Err(Error::UnsupportedPath),
            (("roles", name), Create | Update) => role::write(txn, name, request, env),
            (("roles", name), Read) => role::read(txn, name),
            (("roles", name), Delete) => role::delete(txn, name),
            (("creds", name), Create | Update) => creds::issue(txn, name, request, env),
            (("roles" | "creds", _), _) => Err(Error::UnsupportedOperation),
            _ => Err(Error::UnsupportedPath),
        }
    }

    fn settle(
        &self,
        _txn: &mut Txn<'_>,
        _mount: &Mount,
        _memo: &Map<String, Value>,
        result: Result<&[String], &Failure>,
        _env: &mut Env<'_>,
    ) -> Result<Result<Reply, Error>, Error> {
        Ok(config::checked(result))
    }

    fn issued(&self, reply: Reply, told: &[String]) -> Result<Reply, Error> {
        token::issued(reply, told)
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

    fn adopted(&self, _target: &str, account: &str) -> Map<String, Value> {
        creds::kept(account, None)
    }
}

const ROUTES: &[Route] = &[
    Route {
        pattern: "config",
        operations: &[Read, Update, Delete],
        summary: "Configure how the API server is reached and as whom.",
    },
    Route {
        pattern: "check",
        operations: &[Read],
        summary: "Ask the API server whether it knows us.",
    },
    Route {
        pattern: "roles",
        operations: &[List],
        summary: "List the roles.",
    },
    Route {
        pattern: "roles/:name",
        operations: &[Create, Read, Update, Delete],
        summary: "Say whose tokens are handed out, or what accounts are made and what they may do.",
    },
    Route {
        pattern: "creds/:name",
        operations: &[Update],
        summary: "Make a token, and the account it is for, which ends with its lease.",
    },
];
