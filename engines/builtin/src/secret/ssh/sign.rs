//! `sign/ROLE` and `issue/ROLE`: a certificate of a key that is shown, or of one that is made for it. Nothing is kept of either.

use std::collections::BTreeMap;

use conclave_engine_api::{Env, Error, Fields, Millis, Outcome, Reply, Request, Txn};
use serde_json::json;

use super::ca;
use super::certificate::{Certificate, Kind, seconds};
use super::key::{Key, Wish};
use super::public::{Family, PublicKey};
use super::role::Role;

/// How a certificate is called unless its role says otherwise, as Vault calls it.
const ID: &str = "vault-{{token_display_name}}-{{public_key_hash}}";
/// Longest id of a certificate in bytes.
const MAX_ID: usize = 1024;
/// Most names of a certificate, as OpenSSH takes.
const MAX_PRINCIPALS: usize = 256;

/// `write sign/ROLE`.
pub(super) fn sign(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let role = role(txn, name)?;
    let line = request.fields().string("public_key")?.unwrap_or_default();
    if line.is_empty() {
        return Err(Error::invalid("missing public_key"));
    }
    let key = PublicKey::parse(&line)?;
    let (serial, signed) = certify(txn, (name, &role), &key, request, env)?;
    Ok(Reply::json(json!({"serial_number": serial, "signed_key": signed})).into())
}

/// `write issue/ROLE`.
pub(super) fn issue(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let role = role(txn, name)?;
    let fields = request.fields();
    let kind = match fields.string("key_type")?.unwrap_or_default() {
        none if none.is_empty() => "rsa".to_owned(),
        kind => kind,
    };
    let wish = Wish::named(&kind, fields.count("key_bits")?.unwrap_or(0));
    let lengths = &role.allowed_user_key_lengths;
    let names = |wish: &Wish| {
        wish.family()
            .names()
            .iter()
            .any(|name| lengths.contains_key(*name))
    };
    if !lengths.is_empty() && !lengths.contains_key(&kind) && !wish.as_ref().is_ok_and(names) {
        return Err(Error::invalid(
            "provided key_type value not in allowed_user_key_types",
        ));
    }
    let wish = wish?;
    let key = match Key::make(wish, env)? {
        Ok(key) => key,
        Err(heavy) => return Ok(Outcome::Heavy(heavy)),
    };
    let (serial, signed) = certify(txn, (name, &role), &key.public()?, request, env)?;
    Ok(Reply::json(json!({
        "private_key": key.pem(env)?.as_str(),
        "private_key_type": key.family().name(),
        "serial_number": serial,
        "signed_key": signed,
    }))
    .into())
}

fn role(txn: &mut Txn<'_>, name: &str) -> Result<Role, Error> {
    Role::load(txn, name)?.ok_or_else(|| Error::invalid(format!("Unknown role: {name}")))
}

/// Serial number and text of a certificate.
fn certify(
    txn: &mut Txn<'_>,
    (name, role): (&str, &Role),
    key: &PublicKey,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<(String, String), Error> {
    let fields = request.fields();
    check_length(role, key)?;
    let kind = kind(role, &fields)?;
    let id = id(role, name, key, request)?;
    let principals = principals(role, kind, &fields)?;
    let ttl = ttl(role, request)?;
    let critical = critical(role, &fields)?;
    let extensions = extensions(role, &fields)?;
    let signer = ca::required(txn)?;
    let mut serial = [0; 8];
    env.fill(&mut serial);
    let serial = u64::from_be_bytes(serial);
    let now = env.now();
    let signed = Certificate {
        key,
        kind,
        serial,
        id: &id,
        principals: &principals,
        valid: (
            seconds(now.saturating_sub(role.not_before)),
            seconds(now.saturating_add(ttl)),
        ),
        critical: &critical,
        extensions: &extensions,
    }
    .signed(&signer, role.algorithm(), env)?;
    Ok((format!("{serial:016x}"), signed))
}

/// Whether the role takes keys of this kind and length.
fn check_length(role: &Role, key: &PublicKey) -> Result<(), Error> {
    if role.allowed_user_key_lengths.is_empty() {
        return Ok(());
    }
    let wrong =
        |why: String| Error::invalid(format!("public_key failed to meet the key requirements: {why}"));
    let names = key.family.names();
    let found: Vec<&Vec<u64>> = names
        .iter()
        .chain([&key.name])
        .filter_map(|name| role.allowed_user_key_lengths.get(*name))
        .collect();
    if found.is_empty() {
        let kind = names.last().unwrap_or(&key.name);
        return Err(wrong(format!("key of type {kind} is not allowed")));
    }
    let fits = |bits: &u64| *bits == 0 || usize::try_from(*bits) == Ok(key.bits);
    // A key of Ed25519 has one length only.
    let any =
        key.family == Family::Ed25519 || found.iter().any(|bits| bits.is_empty() || bits.iter().any(fits));
    match any {
        true => Ok(()),
        false => Err(wrong(format!("key is of an invalid size: {}", key.bits))),
    }
}

fn kind(role: &Role, fields: &Fields<'_>) -> Result<Kind, Error> {
    let refused = |kind| {
        Err(Error::invalid(format!(
            "cert_type '{kind}' is not allowed by role"
        )))
    };
    match fields.string("cert_type")?.unwrap_or_default().as_str() {
        "" | "user" if role.allow_user_certificates => Ok(Kind::User),
        "" | "user" => refused("user"),
        "host" if role.allow_host_certificates => Ok(Kind::Host),
        "host" => refused("host"),
        _ => Err(Error::invalid("cert_type must be either 'user' or 'host'")),
    }
}

/// What servers write into their logs.
fn id(role: &Role, name: &str, key: &PublicKey, request: &Request<'_>) -> Result<String, Error> {
    let asked = request.fields().string("key_id")?.unwrap_or_default();
    if !asked.is_empty() && !role.allow_user_key_ids {
        return Err(Error::invalid("setting key_id is not allowed by role"));
    }
    let id = match (asked.is_empty(), role.key_id_format.as_str()) {
        (false, _) => asked,
        (true, "") => filled(ID, name, key, request),
        (true, format) => filled(format, name, key, request),
    };
    match id.len() > MAX_ID || id.contains('\0') {
        true => Err(Error::TooLarge(format!(
            "the id of a certificate may have {MAX_ID} bytes and no NUL"
        ))),
        false => Ok(id),
    }
}

fn filled(format: &str, name: &str, key: &PublicKey, request: &Request<'_>) -> String {
    let hash = key.hash();
    let pairs = [
        ("{{token_display_name}}", request.display_name),
        ("{{role_name}}", name),
        ("{{public_key_hash}}", hash.as_str()),
    ];
    let mut out = String::new();
    let mut rest = format;
    // In one pass, so that nothing in a value is taken for a name.
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (taken, value) = pairs
            .iter()
            .find(|(pair, _)| from.starts_with(pair))
            .map_or((2, "{{"), |(pair, value)| (pair.len(), *value));
        out.push_str(value);
        rest = from.get(taken..).unwrap_or_default();
    }
    out + rest
}

/// As whom, or as which hosts.
fn principals(role: &Role, kind: Kind, fields: &Fields<'_>) -> Result<Vec<String>, Error> {
    let asked = fields.strings("valid_principals")?.unwrap_or_default();
    let (allowed, usual) = match kind {
        Kind::User => (role.allowed_users.as_str(), role.default_user.as_str()),
        Kind::Host => (role.allowed_domains.as_str(), ""),
    };
    let asked = match asked.is_empty() {
        true => split(usual).map(str::to_owned).collect(),
        false => asked,
    };
    let mut names: Vec<String> = Vec::new();
    for name in asked
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
    {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        return match role.allow_empty_principals {
            true => Ok(names),
            false => Err(Error::invalid(
                "refusing to issue unsafe, globally-valid certificate with no principals specified; set \
                 valid_principals or default_user",
            )),
        };
    }
    if names.len() > MAX_PRINCIPALS || names.iter().any(|name| name.contains(['\0', ','])) {
        return Err(Error::invalid(format!(
            "valid_principals may hold {MAX_PRINCIPALS} names without NUL"
        )));
    }
    if allowed.trim().is_empty() {
        return Err(Error::invalid("role is not configured to allow any principals"));
    }
    let fits = |name: &str| match kind {
        _ if allowed == "*" => true,
        Kind::User => split(allowed).any(|allowed| allowed == name),
        Kind::Host => split(allowed).any(|domain| {
            let beneath = name.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
            (role.allow_bare_domains && name == domain)
                || (role.allow_subdomains && beneath.is_some_and(|rest| !rest.is_empty()))
        }),
    };
    match names.iter().find(|name| !fits(name)) {
        Some(name) => Err(Error::invalid(format!(
            "{name} is not a valid value for valid_principals"
        ))),
        None => Ok(names),
    }
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn ttl(role: &Role, request: &Request<'_>) -> Result<Millis, Error> {
    let mount = request.mount;
    let or = |own: Millis, other: Millis| if own == 0 { other } else { own };
    let most = or(role.max_ttl, mount.max_lease_ttl);
    match request.fields().duration("ttl")?.unwrap_or(0) {
        0 => Ok(or(role.ttl, mount.default_lease_ttl).min(most)),
        asked if asked > most => Err(Error::invalid(format!(
            "ttl is larger than maximum allowed {}",
            most / 1000
        ))),
        asked => Ok(asked),
    }
}

fn critical(role: &Role, fields: &Fields<'_>) -> Result<BTreeMap<String, String>, Error> {
    let asked = fields.string_map("critical_options")?.unwrap_or_default();
    if asked.is_empty() {
        return Ok(role.default_critical_options.clone());
    }
    // Where none are named, all are allowed: they take rights, they give none.
    let allowed = role.allowed_critical_options.as_str();
    match beyond(&asked, allowed) {
        names if allowed.is_empty() || names.is_empty() => Ok(asked),
        names => Err(Error::invalid(format!(
            "critical options not on allowed list: [{names}]"
        ))),
    }
}

fn extensions(role: &Role, fields: &Fields<'_>) -> Result<BTreeMap<String, String>, Error> {
    let asked = fields.string_map("extensions")?.unwrap_or_default();
    if asked.is_empty() {
        return Ok(role.default_extensions.clone());
    }
    let allowed = role.allowed_extensions.as_str();
    match beyond(&asked, allowed) {
        names if allowed == "*" || names.is_empty() => Ok(asked),
        names => Err(Error::invalid(format!(
            "extensions [{names}] are not on allowed list"
        ))),
    }
}

/// Names that a list does not hold.
fn beyond(asked: &BTreeMap<String, String>, allowed: &str) -> String {
    let beyond = asked
        .keys()
        .filter(|name| !split(allowed).any(|allowed| allowed == *name));
    beyond.cloned().collect::<Vec<String>>().join(" ")
}
