//! userpass: people with a name and a password. A name that nobody has costs as much as a wrong password and is answered
//! in the same words; verified passwords are not remembered.

mod password;

use conclave_engine_api::cidr::admits;
use conclave_engine_api::{
    Class, Engine, Env, Error, Fields, Heavy, LoggedIn, Login, Mount, Operation, Outcome, Renewal, Reply,
    Request, Route, TokenSettings, Txn,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

use crate::auth::names::canonical;
use crate::auth::old_names::OldNames;
use crate::record;

/// Format of a user's row.
const FORMAT: u8 = 1;
/// What parameters were called before.
const OLD_NAMES: &[(&str, &str)] = &[
    ("policies", "token_policies"),
    ("ttl", "token_ttl"),
    ("max_ttl", "token_max_ttl"),
    ("bound_cidrs", "token_bound_cidrs"),
];
/// Said of every login that fails, whatever the reason.
const REFUSED: &str = "invalid username or password";

/// The userpass auth method. Users lie at `user/<name>`.
pub(crate) struct Userpass;

/// A user as stored.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    /// PHC string or bcrypt hash.
    #[serde(with = "crate::wiped")]
    hash: Zeroizing<String>,
    /// What tokens may be.
    token: TokenSettings,
    old_names: OldNames,
}

/// What a path beneath the mount means.
enum Place {
    Users,
    User(String),
    Password(String),
    Policies(String),
    Login(String),
}

impl Place {
    fn of(path: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        Ok(match parts.as_slice() {
            ["users"] => Self::Users,
            ["users", name] => Self::User(canonical(name)?),
            ["users", name, "password"] => Self::Password(canonical(name)?),
            ["users", name, "policies"] => Self::Policies(canonical(name)?),
            ["login", name] => Self::Login(canonical(name)?),
            _ => return Err(Error::UnsupportedPath),
        })
    }
}

impl Engine for Userpass {
    fn kind(&self) -> &'static str {
        "userpass"
    }

    fn class(&self) -> Class {
        Class::Auth
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn logins(&self) -> &'static [&'static str] {
        &["login/*username"]
    }

    fn exists(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
        match Place::of(request.path)? {
            Place::User(name) => Ok(Some(User::load(txn, &name)?.is_some())),
            _ => Ok(None),
        }
    }

    fn alias(&self, _txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<String>, Error> {
        match Place::of(request.path)? {
            Place::Login(name) => Ok(Some(name)),
            _ => Ok(None),
        }
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        use Operation::{Create, Delete, List, Read, Update};
        match (Place::of(request.path)?, request.operation) {
            (Place::Users, List) => Outcome::listing(txn.list("user/", &request.fields().page()?)?),
            (Place::User(name), Read) => {
                let user = User::load(txn, &name)?.ok_or_else(Error::not_found)?;
                Ok(Reply::data(user.describe()).into())
            }
            (Place::User(name), Create | Update) => write(txn, request, env, &name),
            (Place::User(name), Delete) => {
                txn.delete(&row(&name))?;
                Ok(Reply::empty().into())
            }
            (Place::Password(name), Create | Update) => set_password(txn, request, env, &name),
            (Place::Policies(name), Create | Update) => set_policies(txn, request, &name),
            (Place::Login(name), Create | Update) => login(txn, request, env, &name),
            _ => Err(Error::UnsupportedOperation),
        }
    }

    fn knows(&self, txn: &mut Txn<'_>, alias: &str) -> Result<Option<bool>, Error> {
        Ok(Some(User::load(txn, alias)?.is_some()))
    }

    fn renew(
        &self,
        txn: &mut Txn<'_>,
        _mount: &Mount,
        token: &LoggedIn<'_>,
        _env: &mut Env<'_>,
    ) -> Result<Renewal, Error> {
        let name = token.internal.get("username").and_then(Value::as_str);
        let name = name.ok_or_else(|| Error::internal("a token does not say whose it is"))?;
        let Some(user) = User::load(txn, name)? else {
            return Ok(Renewal::Gone);
        };
        if !user.token.gives(token.policies) {
            return Err(Error::invalid("policies have changed, not renewing"));
        }
        Ok(Renewal::of(&user.token))
    }
}

/// Makes or changes a user. Without a password an existing user keeps theirs.
fn write(txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>, name: &str) -> Result<Outcome, Error> {
    let known = User::load(txn, name)?;
    let given = Given::of(&request.fields().unprefixed())?;
    let mut user = match (known, &given) {
        (Some(user), _) => user,
        (None, None) => return Err(missing_password()),
        (None, Some(_)) => User {
            hash: Zeroizing::default(),
            token: TokenSettings::default(),
            old_names: OldNames::default(),
        },
    };
    let body = user.old_names.renamed(request.data, OLD_NAMES);
    user.token.read(&Fields::new(&body).unprefixed())?;
    if let Some(given) = given {
        match given.hash(env) {
            Ok(hash) => user.hash = hash,
            Err(heavy) => return Ok(Outcome::Heavy(heavy)),
        }
    }
    user.store(txn, name)?;
    Ok(Reply::empty().into())
}

fn set_password(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    env: &mut Env<'_>,
    name: &str,
) -> Result<Outcome, Error> {
    let mut user = User::load(txn, name)?.ok_or_else(no_such_user)?;
    let given = Given::of(&request.fields())?.ok_or_else(missing_password)?;
    match given.hash(env) {
        Ok(hash) => user.hash = hash,
        Err(heavy) => return Ok(Outcome::Heavy(heavy)),
    }
    user.store(txn, name)?;
    Ok(Reply::empty().into())
}

fn set_policies(txn: &mut Txn<'_>, request: &Request<'_>, name: &str) -> Result<Outcome, Error> {
    let mut user = User::load(txn, name)?.ok_or_else(no_such_user)?;
    let body = user.old_names.renamed(request.data, OLD_NAMES);
    user.token.policies = Fields::new(&body).strings("token_policies")?.unwrap_or_default();
    user.store(txn, name)?;
    Ok(Reply::empty().into())
}

fn login(txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>, name: &str) -> Result<Outcome, Error> {
    let password = request.fields().string("password")?.map(Zeroizing::new);
    let password = password
        .filter(|password| !password.is_empty())
        .ok_or_else(|| Error::invalid("missing password"))?;
    check_length(&password)?;
    let user = User::load(txn, name)?;
    let hash = user.as_ref().map_or(password::NOBODY, |user| user.hash.as_str());
    let verified = match password::verify(env, &password, hash) {
        Ok(verified) => verified,
        Err(heavy) => return Ok(Outcome::Heavy(heavy)),
    };
    // From outside its networks a right password is as wrong as any other, so that nobody there can try passwords.
    let welcome = |user: &User| verified && admits(&user.token.bound_cidrs, request.remote);
    let Some(mut user) = user.filter(welcome) else {
        return Err(Error::BadCredentials(REFUSED.to_owned()));
    };
    if password::is_foreign(&user.hash) {
        match password::hash(env, &password) {
            Ok(hash) => user.hash = Zeroizing::new(hash),
            Err(heavy) => return Ok(Outcome::Heavy(heavy)),
        }
        user.store(txn, name)?;
    }
    let named = Value::from(name);
    Ok(Outcome::Login(Box::new(Login {
        alias: name.to_owned(),
        display_name: name.to_owned(),
        metadata: BTreeMap::from([("username".to_owned(), name.to_owned())]),
        alias_metadata: BTreeMap::new(),
        internal: Map::from_iter([("username".to_owned(), named)]),
        token: user.token,
    })))
}

/// What a user's password is set to.
enum Given {
    Password(Zeroizing<String>),
    Hash(Zeroizing<String>),
}

impl Given {
    fn of(fields: &Fields<'_>) -> Result<Option<Self>, Error> {
        let text = |name| -> Result<_, Error> {
            let text = fields.string(name)?.map(Zeroizing::new);
            Ok(text.filter(|text| !text.is_empty()))
        };
        match (text("password")?, text("password_hash")?) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Error::invalid(
                "only one of password or password_hash may be provided",
            )),
            (Some(password), None) => {
                check_length(&password)?;
                Ok(Some(Self::Password(password)))
            }
            (None, Some(hash)) => {
                password::check_foreign(&hash)?;
                Ok(Some(Self::Hash(hash)))
            }
        }
    }

    fn hash(self, env: &mut Env<'_>) -> Result<Zeroizing<String>, Heavy> {
        match self {
            Self::Password(password) => Ok(Zeroizing::new(password::hash(env, &password)?)),
            Self::Hash(hash) => Ok(hash),
        }
    }
}

impl User {
    fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        let stored = txn.get(&row(name))?;
        stored.map(|row| record::decode(FORMAT, &row.value)).transpose()
    }

    fn store(&self, txn: &mut Txn<'_>, name: &str) -> Result<(), Error> {
        if self.hash.is_empty() {
            return Err(Error::internal("a password was not hashed"));
        }
        txn.put(&row(name), record::encode(FORMAT, self)?)
    }

    fn describe(&self) -> Map<String, Value> {
        let mut data = Map::new();
        self.token.describe(&mut data);
        self.old_names.describe(&mut data, OLD_NAMES);
        data
    }
}

fn row(name: &str) -> String {
    format!("user/{name}")
}

fn check_length(password: &str) -> Result<(), Error> {
    if password.len() > password::MAX_PASSWORD_BYTES {
        return Err(Error::invalid(format!(
            "a password may have at most {} bytes",
            password::MAX_PASSWORD_BYTES
        )));
    }
    Ok(())
}

fn missing_password() -> Error {
    Error::invalid("must provide either password or password_hash")
}

fn no_such_user() -> Error {
    Error::invalid("username does not exist")
}

const WRITE: &[Operation] = &[Operation::Create, Operation::Update];

const ROUTES: &[Route] = &[
    Route {
        pattern: "users",
        operations: &[Operation::List],
        summary: "List users.",
    },
    Route {
        pattern: "users/:username",
        operations: &[
            Operation::Create,
            Operation::Read,
            Operation::Update,
            Operation::Delete,
        ],
        summary: "Make, read, change or delete a user: password or password_hash (bcrypt), and what tokens may be.",
    },
    Route {
        pattern: "users/:username/password",
        operations: WRITE,
        summary: "Set a user's password.",
    },
    Route {
        pattern: "users/:username/policies",
        operations: WRITE,
        summary: "Set a user's policies.",
    },
    Route {
        pattern: "login/:username",
        operations: WRITE,
        summary: "Log in by a password.",
    },
];
