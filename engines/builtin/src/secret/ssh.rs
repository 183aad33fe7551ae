//! The ssh engine: certificates for users and hosts, at Vault's paths, signed by a key that never leaves. Nothing that it hands out has a
//! lease: a certificate ends by itself.

mod ca;
mod certificate;
mod import;
mod key;
mod public;
mod role;
mod sign;
mod wire;

use conclave_engine_api::Operation::{Create, Delete, List, Read, Update};
use conclave_engine_api::{Engine, Env, Error, Outcome, Request, Route, Txn};

use super::name::is_name;

/// The ssh engine.
pub(crate) struct Ssh;

impl Engine for Ssh {
    fn kind(&self) -> &'static str {
        "ssh"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn open_paths(&self) -> &'static [&'static str] {
        &["public_key"]
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        let path = request.path.trim_end_matches('/');
        match (path, request.operation) {
            ("config/ca", Create | Update) => return ca::write(txn, request, env),
            ("config/ca", Read) => return ca::read(txn),
            ("config/ca", Delete) => return ca::delete(txn),
            ("public_key", Read) => return ca::public_key(txn),
            ("roles", List) => return role::list(txn, request),
            ("config/ca" | "public_key" | "roles", _) => return Err(Error::UnsupportedOperation),
            _ => {}
        }
        let (area, name) = path.split_once('/').unwrap_or((path, ""));
        match (area, request.operation) {
            ("creds", _) | ("verify" | "lookup", _) => Err(Error::Unsupported(
                "key_type=otp of ssh: passwords for one login; only certificates are signed".to_owned(),
            )),
            ("config" | "issuers" | "issuer", _) => Err(Error::Unsupported(format!(
                "{path} of ssh: one key signs, that of config/ca"
            ))),
            ("roles" | "sign" | "issue", _) if !is_name(name) => Err(Error::UnsupportedPath),
            ("roles", Create | Update) => role::write(txn, name, request),
            ("roles", Read) => role::read(txn, name),
            ("roles", Delete) => role::delete(txn, name),
            ("sign", Create | Update) => sign::sign(txn, name, request, env),
            ("issue", Create | Update) => sign::issue(txn, name, request, env),
            ("roles" | "sign" | "issue", _) => Err(Error::UnsupportedOperation),
            _ => Err(Error::UnsupportedPath),
        }
    }
}

const ROUTES: &[Route] = &[
    Route {
        pattern: "config/ca",
        operations: &[Create, Read, Update, Delete],
        summary: "Make, bring or forget the key that signs.",
    },
    Route {
        pattern: "public_key",
        operations: &[Read],
        summary: "The public half of the key that signs, as a file; for anybody.",
    },
    Route {
        pattern: "roles",
        operations: &[List],
        summary: "List the roles.",
    },
    Route {
        pattern: "roles/:name",
        operations: &[Create, Read, Update, Delete],
        summary: "Say whose keys are signed, for which names and how long.",
    },
    Route {
        pattern: "sign/:name",
        operations: &[Update],
        summary: "Sign a public key.",
    },
    Route {
        pattern: "issue/:name",
        operations: &[Update],
        summary: "Make a key and sign it.",
    },
];
