//! `sign/` and `verify/` by signature.

use conclave_engine_api::{Env, Error, Fields, Outcome, Request, Txn};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::batch::{Batch, Done, Item};
use super::hash::Hash;
use super::keyring::{Keyring, TOO_OLD, derive, prefixed, unprefixed};
use super::kind::Kind;
use super::policy::{Policy, Version, draw};
use super::rsa::{self, Salt, Scheme};
use super::{ed, hmac, text};

/// How a signature is to be made or read.
struct Options {
    /// `None`: the input is a hash already, and nobody says by which algorithm.
    hash: Option<Hash>,
    prehashed: bool,
    marshaling: Marshaling,
    scheme: Result<Scheme, Error>,
}

/// How a signature is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marshaling {
    Asn1,
    Jws,
}

impl Options {
    fn read(fields: Fields<'_>, in_path: &str) -> Result<Self, Error> {
        let prehashed = fields.bool("prehashed")?.unwrap_or(false);
        let algorithm = fields.string("signature_algorithm")?.unwrap_or_default();
        let marshaling = fields
            .string("marshaling_algorithm")?
            .unwrap_or_else(|| "asn1".to_owned());
        let salt = salt_of(&fields.string("salt_length")?.unwrap_or_default())?;
        let scheme = match algorithm.as_str() {
            "" | "pss" => Ok(Scheme::Pss(salt)),
            "pkcs1v15" => Ok(Scheme::Pkcs1),
            other => Err(Error::invalid(format!(
                "unsupported rsa signature algorithm {other}"
            ))),
        };
        Ok(Self {
            hash: hash_of(fields, in_path, prehashed && algorithm == "pkcs1v15")?,
            prehashed,
            marshaling: match marshaling.as_str() {
                "asn1" => Marshaling::Asn1,
                "jws" => Marshaling::Jws,
                other => return Err(Error::invalid(format!("invalid marshaling type {other:?}"))),
            },
            scheme,
        })
    }

    /// What is signed: the input, or its hash for keys that sign hashes.
    fn message(&self, kind: Kind, input: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let input = text::decode(input)
            .map_err(|error| Error::invalid(format!("unable to decode input as base64: {error}")))?;
        match self.hash {
            Some(hash) if kind.hashes_input() && !self.prehashed => {
                Ok(Zeroizing::new(hash.digest(&[&input])))
            }
            _ => Ok(input),
        }
    }
}

/// The hash algorithm: in the path, else `hash_algorithm`, else the old `algorithm`, else SHA-256.
fn hash_of(fields: Fields<'_>, in_path: &str, may_be_none: bool) -> Result<Option<Hash>, Error> {
    let mut name = in_path.to_owned();
    for field in ["hash_algorithm", "algorithm"] {
        if name.is_empty() {
            name = fields.string(field)?.unwrap_or_default();
        }
    }
    match name.as_str() {
        "" => Ok(Some(Hash::Sha256)),
        "none" if may_be_none => Ok(None),
        "none" => Err(Error::invalid(
            "hash_algorithm=none requires both prehashed=true and signature_algorithm=pkcs1v15",
        )),
        name => match Hash::named(name) {
            Some(hash) => Ok(Some(hash)),
            None => Err(Error::invalid(format!("invalid hash algorithm {name:?}"))),
        },
    }
}

fn salt_of(text: &str) -> Result<Salt, Error> {
    match text.to_lowercase().as_str() {
        "" | "auto" | "0" => Ok(Salt::Auto),
        "hash" | "-1" => Ok(Salt::Hash),
        other => match other.parse::<i64>() {
            Ok(bytes) => usize::try_from(bytes)
                .map(Salt::Bytes)
                .map_err(|_| Error::invalid(format!("salt length is invalid: {bytes}"))),
            Err(_) => Err(Error::invalid(format!(
                "salt length neither 'auto', 'hash', nor an int: {text}"
            ))),
        },
    }
}

/// `POST sign/<name>[/<hash algorithm>]`.
pub(super) fn sign(
    txn: &mut Txn<'_>,
    name: &str,
    in_path: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let options = Options::read(request.fields(), in_path)?;
    let policy = Policy::load(txn, name)?.ok_or_else(|| Error::invalid("signing key not found"))?;
    check_kind(policy.kind, "signing")?;
    let batch = Batch::read(request, &["input", "context"])?;
    batch.check_size(policy.kind)?;
    let asked = request.fields().int("key_version")?.unwrap_or(0);
    let mut keyring = Keyring::new(policy);
    let mut done = Vec::with_capacity(batch.items.len());
    for item in &batch.items {
        done.push(sign_one(
            &mut keyring,
            txn,
            env,
            &options,
            asked,
            item,
            batch.is_many(),
        ));
    }
    Ok(batch.answer(done, Some(("key_version", json!(0))))?.into())
}

fn sign_one(
    keyring: &mut Keyring,
    txn: &mut Txn<'_>,
    env: &mut Env<'_>,
    options: &Options,
    asked: i64,
    item: &Item<'_>,
    is_many: bool,
) -> Done {
    let message = options.message(keyring.policy.kind, input_of(item, is_many)?)?;
    let context = context_of(item)?;
    keyring.policy.check_usable()?;
    let number = keyring.version_to_make(asked, "signing")?;
    let (kind, derived) = (keyring.policy.kind, keyring.policy.derived);
    let version = keyring.version(txn, number)?;
    version.check_private("requested version for signing does not contain a private part")?;
    let mut public = None;
    let signature = match (kind.curve(), kind) {
        (Some(curve), _) => {
            let (scalar, point) = (version.key.expose(), &version.public);
            let fixed = env.heavy(|| curve.sign(scalar, point, &message))??;
            match options.marshaling {
                Marshaling::Asn1 => curve.to_asn1(&fixed),
                Marshaling::Jws => fixed,
            }
        }
        (None, Kind::Ed25519) if derived => {
            let key = derived_key(version, &context)?;
            public = Some(text::encode(ed::public_of(&key)));
            ed::sign(&key, &message)?
        }
        (None, Kind::Ed25519) => ed::sign(version.key.expose(), &message)?,
        (None, _) => {
            let scheme = options.scheme.clone()?;
            rsa_signature(version, scheme, options.hash, &message, env)?
        }
    };
    let encoded = match options.marshaling {
        Marshaling::Asn1 => text::encode(&signature),
        Marshaling::Jws => text::encode_url(&signature),
    };
    let mut data = Map::from_iter([
        ("signature".to_owned(), json!(prefixed(number, &encoded))),
        ("key_version".to_owned(), json!(number)),
    ]);
    if let Some(public) = public {
        let name = if is_many { "publickey" } else { "public_key" };
        data.insert(name.to_owned(), json!(public));
    }
    Ok(data)
}

fn rsa_signature(
    version: &Version,
    scheme: Scheme,
    hash: Option<Hash>,
    message: &[u8],
    env: &mut Env<'_>,
) -> Result<Vec<u8>, Error> {
    let key = version.key.expose();
    if let Some(hash) = hash.filter(|hash| rsa::is_usual(*hash)) {
        return env.heavy(|| rsa::sign(key, scheme, hash, message))?;
    }
    let encoded = rsa::encode(&version.public, scheme, hash, message, |bytes| draw(env, bytes))?;
    env.heavy(|| rsa::raise(key, &encoded))?
}

/// `POST verify/<name>[/<hash algorithm>]`: by `signature`, or by `hmac`.
pub(super) fn verify(
    txn: &mut Txn<'_>,
    name: &str,
    in_path: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let batch = Batch::read(request, &["input", "context", "signature", "hmac"])?;
    if is_by_hmac(&batch)? {
        return hmac::verify(txn, name, in_path, request, &batch);
    }
    let options = Options::read(request.fields(), in_path)?;
    let policy =
        Policy::load(txn, name)?.ok_or_else(|| Error::invalid("signature verification key not found"))?;
    check_kind(policy.kind, "verification")?;
    batch.check_size(policy.kind)?;
    let mut keyring = Keyring::new(policy);
    let mut done = Vec::with_capacity(batch.items.len());
    for item in &batch.items {
        let valid = verify_one(&mut keyring, txn, env, &options, item, batch.is_many());
        done.push(valid.map(|valid| Map::from_iter([("valid".to_owned(), Value::Bool(valid))])));
    }
    Ok(batch.answer(done, Some(("valid", Value::Bool(false))))?.into())
}

/// Whether the batch is to be verified by keyed hashes; all its items must agree. A signature goes before a keyed hash.
fn is_by_hmac(batch: &Batch<'_>) -> Result<bool, Error> {
    let signatures = batch.items.iter().filter(|item| item.get("signature").is_some());
    let signatures = signatures.count();
    let only_hmac = |item: &&Item<'_>| item.get("signature").is_none() && item.get("hmac").is_some();
    let hmacs = batch.items.iter().filter(only_hmac).count();
    let missing = batch.items.len() - signatures - hmacs;
    let refused = match (batch.is_many(), signatures > 0, hmacs > 0, missing > 0) {
        (false, false, false, _) => "neither a 'signature' nor an 'hmac' were given to verify",
        (_, true, true, _) => "elements of batch_input must all provide 'signature' or all provide 'hmac'",
        (_, true, false, true) => "some elements of batch_input are missing 'signature'",
        (_, false, true, true) => "some elements of batch_input are missing 'hmac'",
        (_, false, false, _) => "no batch_input elements have 'signature' or 'hmac'",
        _ => return Ok(hmacs > 0),
    };
    Err(Error::invalid(refused))
}

fn verify_one(
    keyring: &mut Keyring,
    txn: &mut Txn<'_>,
    env: &Env<'_>,
    options: &Options,
    item: &Item<'_>,
    is_many: bool,
) -> Result<bool, Error> {
    let message = options.message(keyring.policy.kind, input_of(item, is_many)?)?;
    let context = context_of(item)?;
    keyring.policy.check_usable()?;
    let (version, encoded) = unprefixed("signature", item.text("signature"))?;
    let number = keyring.version_that_made(version, "signature", TOO_OLD)?;
    let signature = match options.marshaling {
        Marshaling::Asn1 => text::decode(encoded),
        Marshaling::Jws => text::decode_url(encoded),
    };
    let signature = signature.map_err(|_| Error::invalid("invalid base64 signature value"))?;
    let (kind, derived) = (keyring.policy.kind, keyring.policy.derived);
    let version = keyring.version(txn, number)?;
    match (kind.curve(), kind) {
        (Some(curve), _) => {
            let fixed = match options.marshaling {
                Marshaling::Asn1 => curve.of_asn1(&signature)?,
                Marshaling::Jws => {
                    halves(&signature).and_then(|(r, s)| Some([curve.padded(r)?, curve.padded(s)?].concat()))
                }
            };
            let Some(fixed) = fixed else {
                return Ok(false);
            };
            env.heavy(|| curve.verify(&version.public, &message, &fixed))?
        }
        (None, Kind::Ed25519) if derived => {
            let key = derived_key(version, &context)?;
            Ok(ed::verify(ed::public_of(&key), &message, &signature))
        }
        (None, Kind::Ed25519) => Ok(ed::verify(&version.public, &message, &signature)),
        (None, _) => {
            let scheme = options.scheme.clone()?;
            let public = &version.public;
            env.heavy(|| rsa::verify(public, scheme, options.hash, &message, &signature))?
        }
    }
}

fn halves(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len() / 2)
}

/// The key that a derived Ed25519 key has for a context.
pub(super) fn derived_key(version: &Version, context: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let seed = derive(version, context, ed::SEED_LEN).map_err(|error| match error {
        Error::Invalid(text) => Error::Invalid(format!("error deriving key: {text}")),
        other => other,
    })?;
    ed::key_of(&seed)
}

fn check_kind(kind: Kind, what: &str) -> Result<(), Error> {
    if kind.signs() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "key type {} does not support {what}",
        kind.name()
    )))
}

/// The input of an item; a request for one item may leave it out, which means empty.
fn input_of<'i>(item: &'i Item<'_>, is_many: bool) -> Result<&'i str, Error> {
    match item.get("input") {
        None if is_many => Err(Error::invalid("missing input")),
        input => Ok(input.unwrap_or_default()),
    }
}

fn context_of(item: &Item<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    text::decode(item.text("context")).map_err(|_| Error::invalid("failed to base64-decode context"))
}
