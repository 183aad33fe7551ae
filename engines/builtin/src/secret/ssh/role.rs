//! Roles: `roles/NAME`. Whose keys are signed, for which names, how long and with what rights.

use std::collections::BTreeMap;

use conclave_engine_api::{Error, Fields, Millis, Outcome, Reply, Request, Txn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::key::Algorithm;
use crate::record;

const FORMAT: u8 = 1;
/// Where roles lie.
pub(super) const DIRECTORY: &str = "role/";
/// How long before it is signed a certificate is valid from, unless told otherwise: clocks differ.
const NOT_BEFORE: Millis = 30_000;
/// Longest text of a field, and most entries of a map.
const MAX_TEXT: usize = 64 * 1024;
const MAX_ENTRIES: usize = 256;

/// A role as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    pub algorithm_signer: String,
    pub allow_bare_domains: bool,
    pub allow_empty_principals: bool,
    pub allow_host_certificates: bool,
    pub allow_subdomains: bool,
    pub allow_user_certificates: bool,
    pub allow_user_key_ids: bool,
    pub allowed_critical_options: String,
    pub allowed_domains: String,
    pub allowed_extensions: String,
    pub allowed_user_key_lengths: BTreeMap<String, Vec<u64>>,
    pub allowed_users: String,
    pub default_critical_options: BTreeMap<String, String>,
    pub default_extensions: BTreeMap<String, String>,
    pub default_user: String,
    pub key_id_format: String,
    pub max_ttl: Millis,
    pub not_before: Millis,
    pub ttl: Millis,
}

fn row(name: &str) -> String {
    format!("{DIRECTORY}{name}")
}

impl Role {
    pub fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, &row(name))
    }

    /// How a key of RSA signs for it.
    pub fn algorithm(&self) -> Algorithm {
        match self.algorithm_signer.as_str() {
            "rsa-sha2-256" => Algorithm::RsaSha256,
            "rsa-sha2-512" => Algorithm::RsaSha512,
            _ => Algorithm::Usual,
        }
    }
}

/// `write roles/NAME`: what is not given is as if it had never been, as in Vault.
pub(super) fn write(txn: &mut Txn<'_>, name: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    match fields.string("key_type")?.unwrap_or_default().as_str() {
        "ca" => {}
        "" => return Err(Error::invalid("missing key type")),
        "otp" => {
            return Err(Error::Unsupported(
                "key_type=otp: passwords for one login; only certificates are signed".to_owned(),
            ));
        }
        "dynamic" => {
            return Err(Error::invalid("dynamic key type roles are no longer supported"));
        }
        _ => return Err(Error::invalid("invalid key type")),
    }
    refuse_templates(&fields)?;
    let role = taken(&fields)?;
    if !role.allow_user_certificates && !role.allow_host_certificates {
        return Err(Error::invalid(
            "Either 'allow_user_certificates' or 'allow_host_certificates' must be set to 'true'",
        ));
    }
    if role.max_ttl > 0 && role.ttl > role.max_ttl {
        return Err(Error::invalid(
            "\"ttl\" value must be less than \"max_ttl\" when both are specified",
        ));
    }
    txn.put(&row(name), record::encode(FORMAT, &role)?)?;
    Ok(Reply::empty().into())
}

/// Names of entities are not known here.
fn refuse_templates(fields: &Fields<'_>) -> Result<(), Error> {
    for name in [
        "allowed_users_template",
        "default_user_template",
        "allowed_domains_template",
        "default_extensions_template",
        "allow_commas_in_identity_templates",
        "allow_wildcards_in_identity_templates",
    ] {
        if fields.bool(name)?.unwrap_or(false) {
            return Err(Error::Unsupported(format!("{name} of a role of ssh")));
        }
    }
    match fields.string("issuer_ref")?.unwrap_or_default().as_str() {
        "" | "default" => Ok(()),
        _ => Err(Error::Unsupported("more than one issuer of ssh".to_owned())),
    }
}

fn taken(fields: &Fields<'_>) -> Result<Role, Error> {
    let text = |name: &str| {
        let text = fields.string(name)?.unwrap_or_default();
        match text.len() > MAX_TEXT || text.contains('\0') {
            true => Err(Error::TooLarge(format!(
                "{name} is longer than {MAX_TEXT} bytes, or holds a NUL"
            ))),
            false => Ok(text),
        }
    };
    let listed = |name: &str| match fields.value(name) {
        Some(Value::Array(_)) => Ok(fields.strings(name)?.unwrap_or_default().join(",")),
        _ => text(name),
    };
    let flag = |name: &str| Ok::<_, Error>(fields.bool(name)?.unwrap_or(false));
    let options = |name: &str| {
        let map = fields.string_map(name)?.unwrap_or_default();
        match map.len() > MAX_ENTRIES {
            true => Err(Error::TooLarge(format!("{name} may hold {MAX_ENTRIES} entries"))),
            false => Ok(map),
        }
    };
    Ok(Role {
        algorithm_signer: signer(&text("algorithm_signer")?)?,
        allow_bare_domains: flag("allow_bare_domains")?,
        allow_empty_principals: flag("allow_empty_principals")?,
        allow_host_certificates: flag("allow_host_certificates")?,
        allow_subdomains: flag("allow_subdomains")?,
        allow_user_certificates: flag("allow_user_certificates")?,
        allow_user_key_ids: flag("allow_user_key_ids")?,
        allowed_critical_options: listed("allowed_critical_options")?,
        allowed_domains: listed("allowed_domains")?,
        allowed_extensions: listed("allowed_extensions")?,
        allowed_user_key_lengths: lengths(fields)?,
        allowed_users: listed("allowed_users")?,
        default_critical_options: options("default_critical_options")?,
        default_extensions: options("default_extensions")?,
        default_user: text("default_user")?,
        key_id_format: text("key_id_format")?,
        max_ttl: fields.duration("max_ttl")?.unwrap_or(0),
        not_before: fields.duration("not_before_duration")?.unwrap_or(NOT_BEFORE),
        ttl: fields.duration("ttl")?.unwrap_or(0),
    })
}

fn signer(name: &str) -> Result<String, Error> {
    match name {
        "" | "default" => Ok("default".to_owned()),
        "rsa-sha2-256" | "rsa-sha2-512" => Ok(name.to_owned()),
        "ssh-rsa" => Err(Error::Unsupported(
            "algorithm_signer=ssh-rsa: SHA-1, which no server takes any more".to_owned(),
        )),
        _ => Err(Error::invalid(format!("unknown algorithm signer {name:?}"))),
    }
}

/// Kinds of keys and their bits: one number, a list, or numbers with commas.
fn lengths(fields: &Fields<'_>) -> Result<BTreeMap<String, Vec<u64>>, Error> {
    const NAME: &str = "allowed_user_key_lengths";
    let wrong =
        |what: &Value| Error::invalid(format!("error processing {NAME}: {what} is no number of bits"));
    let number = |value: &Value| match value {
        Value::String(text) => text.trim().parse().map_err(|_| wrong(value)),
        other => other.as_u64().ok_or_else(|| wrong(other)),
    };
    let given = fields.object(NAME)?.into_iter().flatten();
    let mut found = BTreeMap::new();
    for (kind, value) in given {
        let bits = match value {
            Value::Array(all) => all.iter().map(number).collect::<Result<Vec<u64>, Error>>()?,
            Value::String(text) if text.contains(',') => text
                .split(',')
                .map(|part| part.trim().parse().map_err(|_| wrong(value)))
                .collect::<Result<Vec<u64>, Error>>()?,
            one => vec![number(one)?],
        };
        found.insert(kind.clone(), bits);
    }
    match found.len() > MAX_ENTRIES {
        true => Err(Error::TooLarge(format!("{NAME} may hold {MAX_ENTRIES} entries"))),
        false => Ok(found),
    }
}

/// `read roles/NAME`.
pub(super) fn read(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(Error::not_found)?;
    Ok(Reply::json(json!({
        "algorithm_signer": role.algorithm_signer,
        "allow_bare_domains": role.allow_bare_domains,
        "allow_commas_in_identity_templates": false,
        "allow_empty_principals": role.allow_empty_principals,
        "allow_host_certificates": role.allow_host_certificates,
        "allow_subdomains": role.allow_subdomains,
        "allow_user_certificates": role.allow_user_certificates,
        "allow_user_key_ids": role.allow_user_key_ids,
        "allow_wildcards_in_identity_templates": false,
        "allowed_critical_options": role.allowed_critical_options,
        "allowed_domains": role.allowed_domains,
        "allowed_domains_template": false,
        "allowed_extensions": role.allowed_extensions,
        "allowed_user_key_lengths": role.allowed_user_key_lengths,
        "allowed_users": role.allowed_users,
        "allowed_users_template": false,
        "default_critical_options": role.default_critical_options,
        "default_extensions": role.default_extensions,
        "default_extensions_template": false,
        "default_user": role.default_user,
        "default_user_template": false,
        "issuer_ref": "default",
        "key_id_format": role.key_id_format,
        "key_type": "ca",
        "max_ttl": role.max_ttl / 1000,
        "not_before_duration": role.not_before / 1000,
        "ttl": role.ttl / 1000,
    }))
    .into())
}

/// `list roles`, with what each hands out.
pub(super) fn list(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    let keys = txn.list(DIRECTORY, &request.fields().page()?)?;
    if keys.is_empty() {
        return Err(Error::not_found());
    }
    let told = |name: &String| (name.clone(), json!({"issuer_ref": "default", "key_type": "ca"}));
    let info: Map<String, Value> = keys.iter().map(told).collect();
    let mut reply = Reply::keys(keys);
    if let Some(data) = &mut reply.data {
        data.insert("key_info".to_owned(), Value::Object(info));
    }
    Ok(reply.into())
}

/// `delete roles/NAME`.
pub(super) fn delete(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    txn.delete(&row(name))?;
    Ok(Reply::empty().into())
}
