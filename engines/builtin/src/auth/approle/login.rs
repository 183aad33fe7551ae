//! Logging in as a role. Every failure that tells something about roles or secret ids is answered in the same words.

use std::net::IpAddr;

use conclave_engine_api::cidr::admits;
use conclave_engine_api::{Env, Error, Login, Outcome, Request, Txn};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::auth::approle::role::Role;
use crate::auth::approle::secret_id::SecretId;

/// Said of every login that fails, whatever the reason.
const REFUSED: &str = "invalid role or secret ID";

/// Failures are counted for roles that there are: an id that nobody could guess is no account to lock.
pub(super) fn alias(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<String>, Error> {
    let role_id = request.fields().string("role_id")?.unwrap_or_default();
    Ok(Role::by_id(txn, &role_id)?.map(|_| role_id))
}

/// The role whose id is shown. What is no id names none: why it is not is for the login to say.
pub(super) fn role(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<String>, Error> {
    let Ok(Some(role_id)) = request.fields().string("role_id") else {
        return Ok(None);
    };
    Ok(Role::by_id(txn, &role_id)?.map(|(name, _)| name))
}

/// `login`.
pub(super) fn login(txn: &mut Txn<'_>, request: &Request<'_>, env: &Env<'_>) -> Result<Outcome, Error> {
    let role_id = request.fields().required("role_id")?;
    let refused = || Error::BadCredentials(REFUSED.to_owned());
    let (name, role) = Role::by_id(txn, &role_id)?.ok_or_else(refused)?;
    let mut token = role.token.clone();
    let mut metadata = BTreeMap::new();
    if role.bind_secret_id {
        let secret = request.fields().required("secret_id")?;
        let hash = role.hash(&secret)?;
        let found = SecretId::load(txn, &role, &hash, env.now())?.ok_or_else(refused)?;
        if !admits(&found.cidrs, request.remote) {
            return Err(refused());
        }
        if !found.token_cidrs.is_empty() {
            token.bound_cidrs.clone_from(&found.token_cidrs);
        }
        metadata.clone_from(&found.metadata);
        found.pay(txn, &role, &hash, env.now())?;
    }
    if !is_bound_to(&role, request.remote) || !admits(&token.bound_cidrs, request.remote) {
        return Err(refused());
    }
    metadata.insert("role_name".to_owned(), name.clone());
    let internal = [("role_name", name), ("role_uid", role.uid.clone())];
    let internal = internal.map(|(key, value)| (key.to_owned(), Value::from(value)));
    Ok(Outcome::Login(Box::new(Login {
        alias: role_id,
        display_name: String::new(),
        alias_metadata: metadata.clone(),
        metadata,
        internal: Map::from_iter(internal),
        token,
    })))
}

fn is_bound_to(role: &Role, remote: Option<IpAddr>) -> bool {
    admits(role.secret_id_bound_cidrs.as_deref().unwrap_or_default(), remote)
}
