//! approle: machines with the id of a role and, unless the role says otherwise, a secret id. Secret ids are kept as keyed
//! hashes and end by the due index, as everything here does.

mod login;
mod metadata;
mod role;
mod secret_id;
mod settings;

use conclave_engine_api::outcome::{RawBody, Status};
use conclave_engine_api::{
    Class, Engine, Env, Error, LoggedIn, Mount, Operation, Outcome, Renewal, Reply, Request, Route, Txn,
};
use serde_json::{Value, json};

use crate::auth::names::canonical;
use role::Role;

/// The approle auth method.
pub(crate) struct Approle;

/// What a path beneath the mount means.
enum Place<'p> {
    Login,
    Tidy,
    Roles,
    /// A role, and what is asked of it; empty: the role itself.
    Role(String, &'p str),
}

impl<'p> Place<'p> {
    fn of(path: &'p str) -> Result<Self, Error> {
        let path = path.trim_end_matches('/');
        match path {
            "login" => return Ok(Self::Login),
            "tidy/secret-id" => return Ok(Self::Tidy),
            "role" => return Ok(Self::Roles),
            _ => {}
        }
        let beneath = path.strip_prefix("role/").ok_or(Error::UnsupportedPath)?;
        let (name, rest) = beneath.split_once('/').unwrap_or((beneath, ""));
        Ok(Self::Role(canonical(name)?, rest))
    }
}

impl Engine for Approle {
    fn kind(&self) -> &'static str {
        "approle"
    }

    fn class(&self) -> Class {
        Class::Auth
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn logins(&self) -> &'static [&'static str] {
        &["login"]
    }

    fn exists(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
        match Place::of(request.path)? {
            Place::Role(name, "") => Ok(Some(Role::load(txn, &name)?.is_some())),
            _ => Ok(None),
        }
    }

    fn alias(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<String>, Error> {
        match Place::of(request.path)? {
            Place::Login => login::alias(txn, request),
            _ => Ok(None),
        }
    }

    fn role_name(&self, given: &str) -> Result<Option<String>, Error> {
        let name = canonical(given).map_err(|_| Error::invalid("role is not the name of a role"))?;
        Ok(Some(name))
    }

    fn login_role(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<String>, Error> {
        match Place::of(request.path)? {
            Place::Login => login::role(txn, request),
            _ => Ok(None),
        }
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        use Operation::{Create, Delete, List, Read, Update};
        let operation = request.operation;
        match (Place::of(request.path)?, operation) {
            (Place::Login, Create | Update) => login::login(txn, request, env),
            (Place::Tidy, Create | Update) => Ok(tidied()),
            (Place::Roles, List) => Outcome::listing(txn.list("role/", &request.fields().page()?)?),
            (Place::Role(name, ""), Read) => {
                let role = Role::load(txn, &name)?.ok_or_else(Error::not_found)?;
                Ok(Reply::data(role.describe()).into())
            }
            (Place::Role(name, ""), Create | Update) => role::write(txn, request, env, &name),
            (Place::Role(name, ""), Delete) => role::delete(txn, env, &name),
            (Place::Role(_, ""), _) | (Place::Login | Place::Tidy | Place::Roles, _) => {
                Err(Error::UnsupportedOperation)
            }
            (Place::Role(name, "secret-id"), List) => secret_id::list(txn, request, &name),
            (Place::Role(name, "secret-id"), Create | Update) => {
                secret_id::generate(txn, request, env, &name)
            }
            (Place::Role(name, "custom-secret-id"), Create | Update) => {
                secret_id::register(txn, request, env, &name)
            }
            (
                Place::Role(name, what @ ("secret-id/lookup" | "secret-id-accessor/lookup")),
                Create | Update,
            ) => secret_id::lookup(txn, request, env, &name, what),
            (
                Place::Role(name, what @ ("secret-id/destroy" | "secret-id-accessor/destroy")),
                Create | Update | Delete,
            ) => secret_id::destroy(txn, request, &name, what),
            (Place::Role(name, setting), _) => settings::handle(txn, request, &name, setting),
        }
    }

    fn knows(&self, txn: &mut Txn<'_>, alias: &str) -> Result<Option<bool>, Error> {
        Ok(Some(Role::by_id(txn, alias)?.is_some()))
    }

    fn renew(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        token: &LoggedIn<'_>,
        _env: &mut Env<'_>,
    ) -> Result<Renewal, Error> {
        let text = |name: &str| token.internal.get(name).and_then(Value::as_str);
        let (Some(name), Some(uid)) = (text("role_name"), text("role_uid")) else {
            return Err(Error::internal("a token does not say whose it is"));
        };
        let role = Role::load(txn, name)?.filter(|role| role.uid == uid);
        let gone = || Error::invalid(format!("role {name:?} does not exist during renewal"));
        Ok(Renewal::of(&role.ok_or_else(gone)?.token))
    }

    fn due(&self, txn: &mut Txn<'_>, _mount: &Mount, path: &str, env: &mut Env<'_>) -> Result<(), Error> {
        match path.split_once('/') {
            Some(("secret_id", _)) => secret_id::expire(txn, path, env.now()),
            Some(("closing", uid)) => secret_id::close(txn, path, uid),
            _ => Err(Error::internal("a row of this kind cannot fall due")),
        }
    }
}

/// There is nothing to tidy: what ends is removed when it ends.
fn tidied() -> Outcome {
    let reply = Reply {
        status: Status::Accepted,
        ..Reply::empty()
    };
    let text = "Tidy operation successfully started. Any information from the operation will be printed to OpenBao's \
                server logs.";
    reply.warn(text).into()
}

/// The role is not there: 404 with a text.
fn no_role(name: &str) -> Outcome {
    let text = format!("role {name:?} does not exist");
    let raw = RawBody {
        status: 404,
        content_type: "application/json",
        bytes: json!({"errors": [text]}).to_string().into_bytes(),
    };
    Outcome::Reply(Reply {
        raw: Some(raw),
        ..Reply::empty()
    })
}

/// The same where the original says so with another status.
fn unknown_role(name: &str) -> Error {
    Error::invalid(format!("role {name:?} does not exist"))
}

const WRITE: &[Operation] = &[Operation::Create, Operation::Update];
const END: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete];
const SETTING: &[Operation] = &[
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Delete,
];

const fn route(pattern: &'static str, operations: &'static [Operation], summary: &'static str) -> Route {
    Route {
        pattern,
        operations,
        summary,
    }
}

const ROUTES: &[Route] = &[
    route("login", WRITE, "Log in by a role's id and a secret id."),
    route("role", &[Operation::List], "List roles."),
    route("role/:role", SETTING, "Make, read, change or delete a role."),
    route(
        "role/:role/role-id",
        &[Operation::Create, Operation::Read, Operation::Update],
        "Read or choose the id that a role logs in by.",
    ),
    route(
        "role/:role/secret-id",
        &[Operation::Create, Operation::Update, Operation::List],
        "Make a secret id; list the accessors of all.",
    ),
    route(
        "role/:role/custom-secret-id",
        WRITE,
        "Register a secret id of one's own.",
    ),
    route(
        "role/:role/secret-id/lookup",
        WRITE,
        "What is known of a secret id.",
    ),
    route("role/:role/secret-id/destroy", END, "End a secret id."),
    route(
        "role/:role/secret-id-accessor/lookup",
        WRITE,
        "What is known of the secret id with an accessor.",
    ),
    route(
        "role/:role/secret-id-accessor/destroy",
        END,
        "End the secret id with an accessor.",
    ),
    route("role/:role/policies", SETTING, "Policies of the role's tokens."),
    route(
        "role/:role/bind-secret-id",
        SETTING,
        "Whether a login needs a secret id.",
    ),
    route(
        "role/:role/bound-cidr-list",
        SETTING,
        "The old name of secret-id-bound-cidrs.",
    ),
    route(
        "role/:role/secret-id-bound-cidrs",
        SETTING,
        "Networks from which secret ids are good.",
    ),
    route(
        "role/:role/token-bound-cidrs",
        SETTING,
        "Networks from which tokens are good.",
    ),
    route(
        "role/:role/secret-id-num-uses",
        SETTING,
        "Logins that a secret id is good for.",
    ),
    route("role/:role/secret-id-ttl", SETTING, "How long a secret id lives."),
    route(
        "role/:role/period",
        SETTING,
        "Life that each renewal of a token gives anew.",
    ),
    route(
        "role/:role/token-num-uses",
        SETTING,
        "Requests that a token is good for.",
    ),
    route("role/:role/token-ttl", SETTING, "How long a token lives."),
    route(
        "role/:role/token-max-ttl",
        SETTING,
        "How long a token lives through renewals.",
    ),
    route(
        "role/:role/local-secret-ids",
        &[Operation::Read],
        "Whether secret ids were asked to stay in their cluster.",
    ),
    route(
        "tidy/secret-id",
        WRITE,
        "Nothing to do: what ends is removed when it ends.",
    ),
];
