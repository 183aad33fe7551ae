//! Roles: `roles/NAME`. What an account of a database may do and how long it lives.

use conclave_engine_api::{Env, Error, Millis, Outcome, Reply, Request, Txn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::certificate::{Authority, unknown};
use super::connection::Connection;
use super::{statements, template};
use crate::record;

const FORMAT: u8 = 1;
/// The field of `credential_config` for passwords.
const POLICY: &str = "password_policy";

/// A role as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    pub db_name: String,
    pub default_ttl: Millis,
    pub max_ttl: Millis,
    pub creation_statements: Vec<String>,
    pub revocation_statements: Vec<String>,
    pub rollback_statements: Vec<String>,
    pub renew_statements: Vec<String>,
    /// Who signs the certificates that its accounts have in place of passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Authority>,
    /// The policy of their passwords, in place of the connection's; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub password_policy: String,
}

fn row(name: &str) -> String {
    format!("role/{name}")
}

impl Role {
    pub fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, &row(name))
    }
}

/// What its accounts log in with: passwords, or certificates. What is not said again stays.
fn credential(role: &mut Role, request: &Request<'_>) -> Result<(), Error> {
    let fields = request.fields().unprefixed();
    let kind = fields.string("credential_type")?;
    let certifies = match kind.as_deref() {
        Some("client_certificate") => true,
        None => role.certificate.is_some(),
        Some(_) => false,
    };
    if !certifies {
        role.certificate = None;
        if let Some(policy) = password_policy(request)? {
            role.password_policy = policy;
        }
        return Ok(());
    }
    role.password_policy = String::new();
    match (fields.pairs("credential_config")?, &role.certificate) {
        (Some(config), _) => role.certificate = Some(Authority::read(config)?),
        (None, Some(_)) => {}
        (None, None) => {
            return Err(Error::invalid(
                "credential_type=client_certificate wants a credential_config with ca_cert, ca_private_key and key_type",
            ));
        }
    }
    Ok(())
}

/// The policy of a role's passwords, if one is given. Nothing else is to be said of them, and nothing else is handed out: no database
/// here lets anybody in by a bare key of RSA, and certificates of static roles would have nothing to rotate.
pub(super) fn password_policy(request: &Request<'_>) -> Result<Option<String>, Error> {
    let fields = request.fields().unprefixed();
    match fields.string("credential_type")?.unwrap_or_default().as_str() {
        "" | "password" => {}
        other @ ("rsa_private_key" | "client_certificate") => {
            return Err(Error::Unsupported(format!("the credential type {other:?}")));
        }
        _ => return Err(Error::invalid("invalid credential_type")),
    }
    let config = fields.pairs("credential_config")?.unwrap_or_default();
    if let Some(other) = config.keys().find(|name| *name != POLICY) {
        return Err(unknown(other));
    }
    Ok(config.into_values().next())
}

/// What is said of a role's passwords beside their kind.
pub(super) fn tell_policy(told: &mut Map<String, Value>, policy: &str) {
    if !policy.is_empty() {
        told.insert("credential_config".to_owned(), json!({ POLICY: policy }));
    }
}

/// `write roles/NAME`: what is given replaces, what is not stays.
pub(super) fn write(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let fields = request.fields().unprefixed();
    let mut role = Role::load(txn, name)?.unwrap_or_default();
    credential(&mut role, request)?;
    if let Some(db_name) = fields.string("db_name")? {
        role.db_name = db_name;
    }
    if role.db_name.is_empty() {
        return Err(Error::invalid("database name is required"));
    }
    if let Some(ttl) = fields.duration("default_ttl")? {
        role.default_ttl = ttl;
    }
    if let Some(ttl) = fields.duration("max_ttl")? {
        role.max_ttl = ttl;
    }
    if role.max_ttl > 0 && role.default_ttl > role.max_ttl {
        return Err(Error::invalid("default_ttl exceeds max_ttl"));
    }
    for (name, place) in [
        ("creation_statements", &mut role.creation_statements),
        ("revocation_statements", &mut role.revocation_statements),
        ("rollback_statements", &mut role.rollback_statements),
        ("renew_statements", &mut role.renew_statements),
    ] {
        if let Some(statements) = statements::read(&fields, name)? {
            *place = statements;
        }
    }
    if let Some(connection) = Connection::load(txn, &role.db_name)? {
        // A long name of a role may leave no room for what makes names differ.
        let names = template::Names {
            display_name: "token",
            role_name: name,
            more: &[],
        };
        template::fresh(connection.template()?, &names, env)?;
    }
    txn.put(&row(name), record::encode(FORMAT, &role)?)?;
    Ok(Reply::empty().into())
}

/// `read roles/NAME`.
pub(super) fn read(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(Error::not_found)?;
    let kind = match role.certificate {
        Some(_) => "client_certificate",
        None => "password",
    };
    let mut told = json!({
        "db_name": role.db_name,
        "default_ttl": role.default_ttl / 1000,
        "max_ttl": role.max_ttl / 1000,
        "creation_statements": role.creation_statements,
        "revocation_statements": role.revocation_statements,
        "rollback_statements": role.rollback_statements,
        "renew_statements": role.renew_statements,
        "credential_type": kind,
    });
    if let Some(told) = told.as_object_mut() {
        tell_policy(told, &role.password_policy);
        if let Some(certificate) = &role.certificate {
            told.insert("credential_config".to_owned(), certificate.told());
        }
    }
    Ok(Reply::json(told).into())
}

/// `delete roles/NAME`. Leases of it are revoked as they were issued.
pub(super) fn delete(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    txn.delete(&row(name))?;
    Ok(Reply::empty().into())
}
