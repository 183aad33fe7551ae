//! `encrypt/`, `decrypt/`, `rewrap/` and `datakey/`.

use conclave_engine_api::{Env, Error, Operation, Outcome, Reply, Request, Txn};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::batch::{Batch, Done, Item};
use super::keyring::{Bound, Keyring};
use super::kind::Kind;
use super::policy::Policy;
use super::{config, text};

/// Said when a key that should have been made was there already.
const MADE_BEFOREHAND: &str =
    "Attempted creation of the key during the encrypt operation, but it was created beforehand";

/// `POST encrypt/<name>`. A key that is not there is made, unless the mount says otherwise.
pub(super) fn encrypt(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let batch = Batch::read(request, &["plaintext", "context", "associated_data"])?;
    check_given(&batch, "plaintext", "missing plaintext to encrypt")?;
    let has_context = batch.check_contexts()?;
    let (policy, found) = match Policy::load(txn, name)? {
        Some(policy) => (policy, true),
        None if request.operation == Operation::Create => {
            (make(txn, name, request, has_context, env)?, false)
        }
        None => return Err(not_found()),
    };
    batch.check_size(policy.kind)?;
    let mut keyring = Keyring::new(policy);
    let mut done = Vec::with_capacity(batch.items.len());
    for (index, item) in batch.items.iter().enumerate() {
        done.push(encrypt_one(&mut keyring, txn, env, item, index));
    }
    let mut reply = batch.answer_with_status(request.fields(), done, None)?;
    if found && request.operation == Operation::Create {
        reply = reply.warn(MADE_BEFOREHAND);
    }
    Ok(with_ignored(reply, request).into())
}

fn encrypt_one(
    keyring: &mut Keyring,
    txn: &mut Txn<'_>,
    env: &mut Env<'_>,
    item: &Item<'_>,
    index: usize,
) -> Done {
    let plaintext = text::decode(item.text("plaintext"))?;
    let bound = bound(item, index, keyring)?;
    let (ciphertext, version) = keyring.encrypt(txn, env, item.version, &bound, &plaintext)?;
    Ok(encrypted(&ciphertext, version))
}

fn encrypted(ciphertext: &str, version: u64) -> Map<String, Value> {
    Map::from_iter([
        ("ciphertext".to_owned(), json!(ciphertext)),
        ("key_version".to_owned(), json!(version)),
    ])
}

/// Context and associated data of an item.
fn bound(item: &Item<'_>, index: usize, keyring: &Keyring) -> Result<Bound, Error> {
    let mut bound = Bound {
        context: text::decode(item.text("context"))?,
        ..Bound::default()
    };
    let aad = item.text("associated_data");
    if aad.is_empty() {
        return Ok(bound);
    }
    let kind = keyring.policy.kind;
    if !kind.is_symmetric() {
        return Err(Error::invalid(format!(
            "'[{index}].associated_data' provided for non-AEAD cipher suite {}",
            kind.name()
        )));
    }
    keyring.policy.check_usable()?;
    bound.aad = text::decode(aad).map_err(|error| {
        Error::invalid(format!(
            "unable to get associated_data/additional_data from factory[0]: {error}"
        ))
    })?;
    Ok(bound)
}

/// The key that `encrypt` makes on the way.
fn make(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    derived: bool,
    env: &mut Env<'_>,
) -> Result<Policy, Error> {
    let fields = request.fields();
    let convergent = fields.bool("convergent_encryption")?.unwrap_or(false);
    if convergent && !derived {
        return Err(Error::invalid(
            "convergent encryption requires derivation to be enabled, so context is required",
        ));
    }
    let kind = fields
        .string("type")?
        .unwrap_or_else(|| Kind::Aes256.name().to_owned());
    let kind = match Kind::named(&kind) {
        Some(kind) if kind.is_symmetric() => kind,
        Some(found) if found.curve().is_some() => {
            return Err(Error::invalid(format!(
                "key type {kind} not supported for this operation"
            )));
        }
        _ => return Err(Error::invalid(format!("unknown key type {kind}"))),
    };
    if config::upsert_is_disabled(txn)? {
        return Err(not_found());
    }
    let mut policy = Policy::new(name, kind);
    policy.derived = derived;
    policy.convergent = convergent;
    policy.convergent_version = if convergent { -1 } else { 0 };
    policy.add_version(txn, None, env)?;
    Ok(policy)
}

/// `POST decrypt/<name>`.
pub(super) fn decrypt(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let batch = Batch::read(request, &["ciphertext", "context", "associated_data"])?;
    check_given(&batch, "ciphertext", "missing ciphertext to decrypt")?;
    batch.check_contexts()?;
    let mut keyring = load(txn, name)?;
    batch.check_size(keyring.policy.kind)?;
    let mut done = Vec::with_capacity(batch.items.len());
    for (index, item) in batch.items.iter().enumerate() {
        done.push(decrypt_one(&mut keyring, txn, env, item, index));
    }
    let blank = Some(("plaintext", json!("")));
    let reply = batch.answer_with_status(request.fields(), done, blank)?;
    Ok(with_ignored(reply, request).into())
}

fn decrypt_one(
    keyring: &mut Keyring,
    txn: &mut Txn<'_>,
    env: &Env<'_>,
    item: &Item<'_>,
    index: usize,
) -> Done {
    let plaintext = opened(keyring, txn, env, item, index)?;
    Ok(Map::from_iter([(
        "plaintext".to_owned(),
        json!(text::encode(&plaintext)),
    )]))
}

fn opened(
    keyring: &mut Keyring,
    txn: &mut Txn<'_>,
    env: &Env<'_>,
    item: &Item<'_>,
    index: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let ciphertext = item.text("ciphertext");
    if ciphertext.is_empty() {
        return Err(Error::invalid("missing ciphertext to decrypt"));
    }
    let bound = bound(item, index, keyring)?;
    keyring.decrypt(txn, env, &bound, ciphertext)
}

/// `POST rewrap/<name>`: the same plaintext under another version, without showing it.
pub(super) fn rewrap(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let batch = Batch::read(request, &["ciphertext", "context"])?;
    check_given(&batch, "ciphertext", "missing ciphertext to decrypt")?;
    batch.check_contexts()?;
    let mut keyring = load(txn, name)?;
    batch.check_size(keyring.policy.kind)?;
    let mut done = Vec::with_capacity(batch.items.len());
    for (index, item) in batch.items.iter().enumerate() {
        done.push(rewrap_one(&mut keyring, txn, env, item, index));
    }
    Ok(batch.answer(done, None)?.into())
}

fn rewrap_one(
    keyring: &mut Keyring,
    txn: &mut Txn<'_>,
    env: &mut Env<'_>,
    item: &Item<'_>,
    index: usize,
) -> Done {
    let plaintext = opened(keyring, txn, env, item, index)?;
    let bound = bound(item, index, keyring)?;
    let (ciphertext, version) = keyring.encrypt(txn, env, item.version, &bound, &plaintext)?;
    Ok(encrypted(&ciphertext, version))
}

/// `POST datakey/plaintext|wrapped/<name>`: a fresh key, encrypted, and in the clear if the path says so.
pub(super) fn datakey(
    txn: &mut Txn<'_>,
    how: &str,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    if !matches!(how, "plaintext" | "wrapped") {
        return Err(Error::invalid("Invalid path, must be 'plaintext' or 'wrapped'"));
    }
    let fields = request.fields();
    let context = fields.string("context")?.unwrap_or_default();
    let bound = Bound {
        context: text::decode(&context).map_err(|_| Error::invalid("failed to base64-decode context"))?,
        ..Bound::default()
    };
    let mut keyring = load(txn, name)?;
    let length = match fields.int("bits")?.unwrap_or(256) {
        128 => 16,
        256 => 32,
        512 => 64,
        _ => return Err(Error::invalid("invalid bit length")),
    };
    let mut key = Zeroizing::new(vec![0; length]);
    env.fill(&mut key);
    let asked = fields.int("key_version")?.unwrap_or(0);
    let (ciphertext, version) = keyring.encrypt(txn, env, asked, &bound, &key)?;
    let mut data = encrypted(&ciphertext, version);
    if how == "plaintext" {
        data.insert("plaintext".to_owned(), json!(text::encode(&key)));
    }
    Ok(with_ignored(Reply::data(data), request).into())
}

fn load(txn: &mut Txn<'_>, name: &str) -> Result<Keyring, Error> {
    let policy = Policy::load(txn, name)?.ok_or_else(not_found)?;
    Ok(Keyring::new(policy))
}

/// A key that is not there.
pub(super) fn not_found() -> Error {
    Error::invalid("encryption key not found")
}

/// Items of a batch must have the field; for a request for one it may be empty text where that means something.
fn check_given(batch: &Batch<'_>, name: &str, missing: &str) -> Result<(), Error> {
    let lacks = batch.items.iter().position(|item| item.get(name).is_none());
    match lacks {
        None => Ok(()),
        Some(index) if batch.is_many() => Err(Error::invalid(format!(
            "failed to parse batch input: '[{index}].{name}' {missing}"
        ))),
        Some(_) => Err(Error::invalid(missing)),
    }
}

/// Nonces are the engine's: one that is given is not used, and the client hears so.
fn with_ignored(reply: Reply, request: &Request<'_>) -> Reply {
    if request.data.contains_key("nonce") {
        reply.warn("Endpoint ignored these unrecognized parameters: [nonce]")
    } else {
        reply
    }
}
