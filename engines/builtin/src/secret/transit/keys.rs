//! `keys/`: making, showing, listing, deleting, configuring, rotating and trimming keys, and deleting them softly.

use conclave_engine_api::{Env, Error, Fields, Millis, Outcome, Reply, Request, Txn};
use serde_json::{Map, Value, json};

use super::kind::{Kind, MAX_HMAC_BYTES, MIN_HMAC_BYTES};
use super::policy::{Policy, Version};
use super::{ed, public, sign, text};

/// Shortest time after which a key is rotated by itself.
const MIN_ROTATE_PERIOD: Millis = 3_600_000;

/// `LIST keys`.
pub(super) fn list(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    Outcome::listing(txn.list("policy/", &request.fields().page()?)?)
}

/// `POST keys/<name>`.
pub(super) fn create(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let mut policy = wanted(name, request.fields())?;
    if let Some(found) = Policy::load(txn, name)? {
        return Ok(described(txn, &found, &[])?.into());
    }
    rotated(txn, &mut policy, env)
}

/// The key that a request describes, without versions.
fn wanted(name: &str, fields: Fields<'_>) -> Result<Policy, Error> {
    let kind = fields
        .string("type")?
        .unwrap_or_else(|| Kind::Aes256.name().to_owned());
    let derived = fields.bool("derived")?.unwrap_or(false);
    let convergent = fields.bool("convergent_encryption")?.unwrap_or(false);
    let period = rotate_period(fields)?.unwrap_or(0);
    if convergent && !derived {
        return Err(Error::invalid(
            "convergent encryption requires derivation to be enabled",
        ));
    }
    let kind = Kind::named(&kind).ok_or_else(|| Error::invalid(format!("unknown key type {kind}")))?;
    let key_size = key_size(kind, fields)?;
    if derived && !kind.derives() {
        return Err(Error::invalid(format!(
            "key derivation and convergent encryption not supported for keys of type {}",
            kind.name()
        )));
    }
    if convergent && !kind.is_symmetric() {
        return Err(Error::invalid(format!(
            "convergent encryption not supported for keys of type {}",
            kind.name()
        )));
    }
    let mut policy = Policy::new(name, kind);
    policy.derived = derived;
    policy.convergent = convergent;
    policy.convergent_version = if convergent { -1 } else { 0 };
    policy.exportable = fields.bool("exportable")?.unwrap_or(false);
    policy.allow_plaintext_backup = fields.bool("allow_plaintext_backup")?.unwrap_or(false);
    policy.auto_rotate_period = period;
    policy.key_size = key_size;
    Ok(policy)
}

fn key_size(kind: Kind, fields: Fields<'_>) -> Result<usize, Error> {
    let size = fields.int("key_size")?.unwrap_or(0);
    if size == 0 {
        return Ok(if kind == Kind::Hmac { MIN_HMAC_BYTES } else { 0 });
    }
    if kind != Kind::Hmac {
        return Err(Error::invalid(format!(
            "key_size is not valid for algorithm {}",
            kind.name()
        )));
    }
    usize::try_from(size)
        .ok()
        .filter(|size| (MIN_HMAC_BYTES..=MAX_HMAC_BYTES).contains(size))
        .ok_or_else(|| Error::invalid(format!("invalid key_size {size}")))
}

/// After how long a key is rotated by itself, if that is said.
pub(super) fn rotate_period(fields: Fields<'_>) -> Result<Option<Millis>, Error> {
    let period = fields.duration("auto_rotate_period")?;
    if period.is_some_and(|period| period != 0 && period < MIN_ROTATE_PERIOD) {
        return Err(Error::invalid(
            "auto rotate period must be 0 to disable or at least an hour",
        ));
    }
    Ok(period)
}

/// `POST keys/<name>/rotate`.
pub(super) fn rotate(txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let mut policy = Policy::load(txn, name)?.ok_or_else(|| Error::invalid("key not found"))?;
    policy.check_usable()?;
    if policy.imported && !policy.imported_may_rotate {
        return Err(Error::invalid(format!(
            "imported key {name} does not allow rotation within Vault"
        )));
    }
    rotated(txn, &mut policy, env)
}

/// Adds a version and describes the key. A version that takes seconds to make is asked for first.
fn rotated(txn: &mut Txn<'_>, policy: &mut Policy, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let made = match policy.slow_key().map(|slow| env.compute(slow)) {
        Some(Err(slow)) => return Ok(Outcome::Heavy(slow)),
        Some(Ok(made)) => Some(made),
        None => None,
    };
    policy.add_version(txn, made, env)?;
    Ok(described(txn, policy, &[])?.into())
}

/// The key is due for its next version.
pub(super) fn rotate_due(txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<(), Error> {
    let Some(mut policy) = Policy::load(txn, name)? else {
        return Ok(());
    };
    let due = policy.rotated.saturating_add(policy.auto_rotate_period);
    if policy.soft_deleted || policy.auto_rotate_period == 0 || due > env.now() {
        return policy.store(txn);
    }
    if policy.is_full() {
        // Nobody asked, so nobody can be told; the key stays as it is and is looked at again a period later.
        policy.rotated = env.now();
        return policy.store(txn);
    }
    let made = match policy.slow_key() {
        Some(slow) => Some(env.heavy(|| (slow.run)())?),
        None => None,
    };
    policy.add_version(txn, made.as_ref().map(|made| made.as_slice()), env)
}

/// `GET keys/<name>[?context=..]`.
pub(super) fn read(txn: &mut Txn<'_>, name: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let context = request.fields().string("context")?.unwrap_or_default();
    let context = text::decode(&context).map_err(|_| Error::invalid("failed to base64-decode context"))?;
    let policy = Policy::load(txn, name)?.ok_or_else(Error::not_found)?;
    Ok(described(txn, &policy, &context)?.into())
}

/// `DELETE keys/<name>`.
pub(super) fn delete(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let refused = |why: &str| Error::invalid(format!("error deleting policy {name}: {why}"));
    let policy = Policy::load(txn, name)?.ok_or_else(|| refused("could not delete key; not found"))?;
    if !policy.deletion_allowed {
        return Err(refused("deletion is not allowed for this key"));
    }
    policy.remove(txn)?;
    Ok(Reply::empty().into())
}

/// `DELETE keys/<name>/soft-delete` and `POST keys/<name>/soft-delete-restore`.
pub(super) fn set_soft_deleted(txn: &mut Txn<'_>, name: &str, deleted: bool) -> Result<Outcome, Error> {
    let Some(mut policy) = Policy::load(txn, name)? else {
        return Ok(Reply::empty().into());
    };
    policy.soft_deleted = deleted;
    policy.store(txn)?;
    Ok(described(txn, &policy, &[])?.into())
}

/// `POST keys/<name>/config`.
pub(super) fn configure(txn: &mut Txn<'_>, name: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let policy = Policy::load(txn, name)?;
    let mut policy =
        policy.ok_or_else(|| Error::invalid(format!("no existing key named {name} could be found")))?;
    let forced = set_minimums(&mut policy, fields)?;
    if let Some(allowed) = fields.bool("deletion_allowed")? {
        policy.deletion_allowed = allowed;
    }
    // What may leave the engine can be widened, not narrowed: it may have left already.
    policy.exportable |= fields.bool("exportable")?.unwrap_or(false);
    policy.allow_plaintext_backup |= fields.bool("allow_plaintext_backup")?.unwrap_or(false);
    if let Some(period) = rotate_period(fields)? {
        policy.auto_rotate_period = period;
    }
    if policy.min_available > policy.min_encryption {
        return Err(Error::invalid(
            "min encryption version should not be less than min available version",
        ));
    }
    if policy.min_available > policy.min_decryption {
        return Err(Error::invalid(
            "min decryption version should not be less then min available version",
        ));
    }
    policy.store(txn)?;
    let reply = described(txn, &policy, &[])?;
    Ok(if forced {
        reply.warn(
            "since Vault 0.3 (prior to the OpenBao fork), transit key numbering starts at 1; forcing minimum to 1",
        )
    } else {
        reply
    }
    .into())
}

/// Sets the lowest versions that may decrypt and encrypt. Whether the first was raised from 0 to 1.
fn set_minimums(policy: &mut Policy, fields: Fields<'_>) -> Result<bool, Error> {
    let latest = policy.latest;
    let minimum = |name: &str, what: &str| -> Result<Option<u64>, Error> {
        let Some(asked) = fields.int(name)? else {
            return Ok(None);
        };
        let asked = u64::try_from(asked)
            .map_err(|_| Error::invalid(format!("min {what} version cannot be negative")))?;
        if asked > latest {
            return Err(Error::invalid(format!(
                "cannot set min {what} version of {asked}, latest key version is {latest}"
            )));
        }
        Ok(Some(asked))
    };
    let decryption = minimum("min_decryption_version", "decryption")?;
    let encryption = minimum("min_encryption_version", "encryption")?;
    if let Some(asked) = decryption {
        policy.min_decryption = asked.max(1);
    }
    if let Some(asked) = encryption {
        policy.min_encryption = asked;
    }
    let (encryption, least) = (policy.min_encryption, policy.min_decryption);
    if encryption > 0 && encryption < least {
        return Err(Error::invalid(format!(
            "cannot set min encryption/decryption values; min encryption version of {encryption} must be greater than \
             or equal to min decryption version of {least}"
        )));
    }
    Ok(decryption == Some(0))
}

/// `POST keys/<name>/trim`: removes versions for ever.
pub(super) fn trim(txn: &mut Txn<'_>, name: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let asked = request.fields().int("min_available_version")?;
    let asked = asked.ok_or_else(|| Error::invalid("missing min_available_version"))?;
    let policy = Policy::load(txn, name)?;
    let mut policy = policy.ok_or_else(|| Error::invalid("invalid key name"))?;
    policy.check_usable()?;
    let asked = u64::try_from(asked).unwrap_or(0);
    let refused = if policy.min_encryption == 0 {
        "minimum available version cannot be set when minimum encryption version is not set"
    } else if asked == 0 || asked < policy.min_available {
        "minimum available version cannot be decremented"
    } else if asked > policy.min_encryption {
        "minimum available version cannot be greater than minmum encryption version"
    } else if asked > policy.min_decryption {
        "minimum available version cannot be greater than minimum decryption version"
    } else {
        policy.trim(txn, asked)?;
        policy.store(txn)?;
        return Ok(described(txn, &policy, &[])?.into());
    };
    Err(Error::invalid(refused))
}

/// What is said of a key.
fn described(txn: &mut Txn<'_>, policy: &Policy, context: &[u8]) -> Result<Reply, Error> {
    let kind = policy.kind;
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("name", json!(policy.name));
    put("type", json!(kind.name()));
    put("derived", json!(policy.derived));
    put("deletion_allowed", json!(policy.deletion_allowed));
    put("min_available_version", json!(policy.min_available));
    put("min_decryption_version", json!(policy.min_decryption));
    put("min_encryption_version", json!(policy.min_encryption));
    put("latest_version", json!(policy.latest));
    put("exportable", json!(policy.exportable));
    put("allow_plaintext_backup", json!(policy.allow_plaintext_backup));
    put("supports_encryption", json!(kind.encrypts()));
    put("supports_decryption", json!(kind.encrypts()));
    put("supports_signing", json!(kind.signs()));
    put("supports_derivation", json!(kind.derives()));
    put("auto_rotate_period", json!(policy.auto_rotate_period / 1000));
    put("imported_key", json!(policy.imported));
    put("soft_deleted", json!(policy.soft_deleted));
    if policy.key_size != 0 {
        put("key_size", json!(policy.key_size));
    }
    if policy.imported {
        put("imported_key_allow_rotation", json!(policy.imported_may_rotate));
    }
    for (name, stamp) in [("backup_info", &policy.backup), ("restore_info", &policy.restore)] {
        if let Some(stamp) = stamp {
            put(name, json!({"time": stamp.time, "version": stamp.version}));
        }
    }
    if policy.derived {
        put("kdf", json!("hkdf_sha256"));
        put("convergent_encryption", json!(policy.convergent));
        if policy.convergent {
            put("convergent_encryption_version", json!(policy.convergent_version));
        }
    }
    if kind != Kind::Hmac {
        let keys = versions(txn, policy, context)?;
        put("keys", Value::Object(keys));
    }
    Ok(Reply::data(data))
}

/// The usable versions: when each was made, and public keys of those that have one.
fn versions(txn: &mut Txn<'_>, policy: &Policy, context: &[u8]) -> Result<Map<String, Value>, Error> {
    let mut keys = Map::new();
    for number in policy.usable() {
        let version = policy.kept_version(txn, number)?;
        let about = if policy.kind.signs() {
            json!({
                "certificate_chain": version.certificates,
                "creation_time": version.time,
                "name": policy.kind.curve().map_or(policy.kind.name(), |curve| curve.name()),
                "public_key": public_text(policy, &version, context)?,
            })
        } else {
            json!(version.created)
        };
        keys.insert(number.to_string(), about);
    }
    Ok(keys)
}

/// A public key as it is shown. A derived key has one for every context, and none without.
fn public_text(policy: &Policy, version: &Version, context: &[u8]) -> Result<String, Error> {
    Ok(match (policy.derived, context.is_empty()) {
        (true, true) => String::new(),
        (true, false) => text::encode(ed::public_of(&sign::derived_key(version, context)?)),
        (false, _) => public::written(policy.kind, &version.public),
    })
}
