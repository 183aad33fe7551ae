//! `hmac/`, and `verify/` by keyed hash. Every key can do it: each version comes with a key for it.

use conclave_engine_api::{Error, Fields, Outcome, Request, Txn};
use serde_json::{Map, Value, json};

use super::batch::{Batch, Done, Item};
use super::crypt::not_found;
use super::hash::Hash;
use super::keyring::{Keyring, PREFIX, prefixed, unprefixed};
use super::policy::Policy;
use super::text;

/// Said of a keyed hash by a version that may verify no more.
const TOO_OLD: &str = "cannot verify HMAC: version is too old (disallowed by policy)";

/// `POST hmac/<name>[/<algorithm>]`.
pub(super) fn make(
    txn: &mut Txn<'_>,
    name: &str,
    in_path: &str,
    request: &Request<'_>,
) -> Result<Outcome, Error> {
    let asked = request.fields().int("key_version")?.unwrap_or(0);
    let policy = Policy::load(txn, name)?.ok_or_else(not_found)?;
    let latest = policy.latest;
    let number = match u64::try_from(asked) {
        Ok(0) => latest,
        Ok(version) if version != latest && version < policy.min_encryption => {
            return Err(Error::invalid(
                "cannot generate HMAC: version is too old (disallowed by policy)",
            ));
        }
        Ok(version) if version > latest => {
            return Err(Error::invalid(format!(
                "key version does not exist; latest key version is {latest}"
            )));
        }
        Ok(version) => version,
        Err(_) => {
            return Err(Error::invalid("key version does not exist (cannot be negative)"));
        }
    };
    policy.check_usable()?;
    let mut keyring = Keyring::new(policy);
    keyring.version(txn, number)?;
    let hash = algorithm(request.fields(), in_path)?;
    let batch = Batch::read(request, &["input"])?;
    batch.check_size(keyring.policy.kind)?;
    let mut done = Vec::with_capacity(batch.items.len());
    for item in &batch.items {
        done.push(make_one(&mut keyring, txn, number, hash, item));
    }
    Ok(batch.answer(done, None)?.into())
}

fn make_one(keyring: &mut Keyring, txn: &mut Txn<'_>, number: u64, hash: Hash, item: &Item<'_>) -> Done {
    let input = item
        .get("input")
        .ok_or_else(|| Error::invalid("missing input for HMAC"))?;
    let input = decode_input(input)?;
    let key = &keyring.version(txn, number)?.hmac_key;
    let made = text::encode(&hash.hmac(key.expose(), &input));
    Ok(Map::from_iter([(
        "hmac".to_owned(),
        json!(prefixed(number, &made)),
    )]))
}

/// `POST verify/<name>[/<algorithm>]` with `hmac`.
pub(super) fn verify(
    txn: &mut Txn<'_>,
    name: &str,
    in_path: &str,
    request: &Request<'_>,
    batch: &Batch<'_>,
) -> Result<Outcome, Error> {
    let policy = Policy::load(txn, name)?.ok_or_else(not_found)?;
    let hash = algorithm(request.fields(), in_path)?;
    batch.check_size(policy.kind)?;
    let mut keyring = Keyring::new(policy);
    let mut done = Vec::with_capacity(batch.items.len());
    for item in &batch.items {
        let valid = verify_one(&mut keyring, txn, hash, item, batch.is_many());
        done.push(valid.map(|valid| Map::from_iter([("valid".to_owned(), Value::Bool(valid))])));
    }
    Ok(batch.answer(done, None)?.into())
}

fn verify_one(
    keyring: &mut Keyring,
    txn: &mut Txn<'_>,
    hash: Hash,
    item: &Item<'_>,
    is_many: bool,
) -> Result<bool, Error> {
    let input = match item.get("input") {
        None if is_many => return Err(Error::invalid("missing input")),
        input => decode_input(input.unwrap_or_default())?,
    };
    let shown = item.text("hmac");
    if !shown.starts_with(PREFIX) {
        return Err(Error::invalid("invalid HMAC to verify: no prefix"));
    }
    let (version, encoded) = unprefixed("HMAC", shown)?;
    let given = text::decode(encoded)
        .map_err(|error| Error::invalid(format!("unable to decode verification HMAC as base64: {error}")))?;
    let number = keyring.version_that_made(version, "HMAC", TOO_OLD)?;
    keyring.policy.check_usable()?;
    let key = &keyring.version(txn, number)?.hmac_key;
    let expected = hash.hmac(key.expose(), &input);
    Ok(aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &given).is_ok())
}

fn decode_input(input: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    text::decode(input).map_err(|error| Error::invalid(format!("unable to decode input as base64: {error}")))
}

/// In the path, else `algorithm`, else SHA-256.
fn algorithm(fields: Fields<'_>, in_path: &str) -> Result<Hash, Error> {
    let name = match in_path {
        "" => fields.string("algorithm")?.unwrap_or_default(),
        name => name.to_owned(),
    };
    match name.as_str() {
        "" => Ok(Hash::Sha256),
        name => Hash::named(name).ok_or_else(|| Error::invalid(format!("unsupported algorithm {name:?}"))),
    }
}
