//! The AWS engine: users of IAM with a lease, and temporary credentials of STS, at Vault's paths. It says what is to be asked of
//! AWS; it asks nothing itself.

mod config;
mod creds;
mod form;
mod lease;
mod policy;
mod role;
mod rotation;

use conclave_engine_api::Operation::{Create, Delete, List, Read, Update};
use conclave_engine_api::{
    Census, Effect, Engine, Env, Error, Failure, Leased, Mount, Outcome, Plan, Reply, Request, Route, Terms,
    Txn,
};
use serde_json::{Map, Value};

use super::name::area_and_name;
use super::template;

/// The AWS engine.
pub(crate) struct Aws;

impl Engine for Aws {
    fn kind(&self) -> &'static str {
        "aws"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        let (area, name) = area_and_name(request.path)?;
        match (area, name, request.operation) {
            ("config", "root", Create | Update) => config::write(txn, request, env),
            ("config", "root", Read) => config::read(txn),
            ("config", "lease", Create | Update) => lease::write(txn, request),
            ("config", "lease", Read) => lease::read(txn),
            ("config", "rotate-root", Create | Update) | ("rotate-root", "", Create | Update) => {
                rotation::begin(txn, env)
            }
            ("config", "root" | "lease" | "rotate-root", _) | ("rotate-root", "", _) => {
                Err(Error::UnsupportedOperation)
            }
            ("roles", "", List) => Outcome::listing(txn.list(role::DIRECTORY, &request.fields().page()?)?),
            ("roles" | "creds" | "sts", "", _) => Err(Error::UnsupportedOperation),
            ("roles", name, Create | Update) => role::write(txn, name, request),
            ("roles", name, Read) => role::read(txn, name),
            ("roles", name, Delete) => role::delete(txn, name),
            ("creds" | "sts", name, Read | Create | Update) => creds::issue(txn, (area, name), request, env),
            ("roles" | "creds" | "sts", ..) => Err(Error::UnsupportedOperation),
            ("static-roles" | "static-creds", ..) => {
                Err(Error::Unsupported("static roles of the aws engine".to_owned()))
            }
            _ => Err(Error::UnsupportedPath),
        }
    }

    fn acts_when_due(&self, path: &str) -> bool {
        path == config::ROW
    }

    fn due_outside(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        _path: &str,
        env: &mut Env<'_>,
    ) -> Result<Option<Box<Effect>>, Error> {
        rotation::go_on(txn, env)
    }

    fn settle(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        memo: &Map<String, Value>,
        result: Result<&[String], &Failure>,
        env: &mut Env<'_>,
    ) -> Result<Result<Reply, Error>, Error> {
        rotation::settle(txn, memo, result, env)
    }

    fn issued(&self, reply: Reply, told: &[String]) -> Result<Reply, Error> {
        creds::issued(reply, told)
    }

    fn revocation(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        lease: &Leased<'_>,
        env: &mut Env<'_>,
    ) -> Result<Plan, Error> {
        creds::revocation(txn, lease, env)
    }

    fn terms(&self, txn: &mut Txn<'_>, _mount: &Mount, lease: &Leased<'_>) -> Result<Terms, Error> {
        creds::terms(txn, lease)
    }

    fn census(&self, txn: &mut Txn<'_>, _mount: &Mount) -> Result<Vec<Census>, Error> {
        creds::census(txn)
    }

    fn account<'l>(&self, lease: &Leased<'l>) -> Option<&'l str> {
        creds::account(lease)
    }

    fn adopted(&self, _target: &str, account: &str) -> Map<String, Value> {
        creds::kept(account, "", 0)
    }
}

const ROUTES: &[Route] = &[
    Route {
        pattern: "config/root",
        operations: &[Create, Read, Update],
        summary: "Configure the credentials with which users and credentials are made.",
    },
    Route {
        pattern: "config/lease",
        operations: &[Create, Read, Update],
        summary: "Say how long users of IAM live unless their role says otherwise.",
    },
    Route {
        pattern: "config/rotate-root",
        operations: &[Update],
        summary: "Replace the access key of config/root by one that nobody knows.",
    },
    Route {
        pattern: "rotate-root",
        operations: &[Update],
        summary: "The same as config/rotate-root.",
    },
    Route {
        pattern: "roles",
        operations: &[List],
        summary: "List the roles.",
    },
    Route {
        pattern: "roles/:name",
        operations: &[Create, Read, Update, Delete],
        summary: "Say what credentials of a role may do and how long they live.",
    },
    Route {
        pattern: "creds/:name",
        operations: &[Read, Update],
        summary: "Make credentials that end with their lease.",
    },
    Route {
        pattern: "sts/:name",
        operations: &[Read, Update],
        summary: "The same as creds, for roles with temporary credentials.",
    },
];
