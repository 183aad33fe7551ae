//! The transit engine: named keys that encrypt, sign and hash for callers who never see them. Knows the paths; what each
//! does stands in a file of its own.

mod agree;
mod backup;
mod batch;
mod certificates;
mod config;
mod crypt;
mod csr;
pub(super) mod der;
pub(super) mod ec;
pub(super) mod ed;
mod entry;
mod export;
pub(super) mod hash;
mod hmac;
mod import;
mod keyring;
mod keys;
mod kind;
mod policy;
mod public;
pub(super) mod rsa;
mod sign;
mod symmetric;
mod text;
mod tools;
mod wrap;

use conclave_engine_api::Operation::{self, Create, Delete, List, Read, Update};
use conclave_engine_api::{Engine, Env, Error, Mount, Outcome, Request, Route, Txn};

pub use wrap::wrap as wrap_key;

use super::name::is_name;
use kind::Kind;
use policy::policy_row;

/// The transit engine.
pub(crate) struct Transit;

impl Engine for Transit {
    fn kind(&self) -> &'static str {
        "transit"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    /// Only encrypting can make the key it names.
    fn exists(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
        match request.path.split_once('/') {
            Some(("encrypt", name)) if is_name(name) => Ok(Some(txn.get(&policy_row(name))?.is_some())),
            _ => Ok(None),
        }
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        let path = request.path.trim_end_matches('/');
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["keys"] => match request.operation {
                List => keys::list(txn, request),
                _ => Err(Error::UnsupportedOperation),
            },
            ["keys", name, action @ ..] if is_name(name) => handle_key(txn, name, action, request, env),
            ["export", part, name, version @ ..] if is_name(name) && version.len() <= 1 => {
                only(Read, request)?;
                export::export(txn, part, name, version.first().unwrap_or(&""), request)
            }
            ["backup", name] if is_name(name) => {
                only(Read, request)?;
                backup::backup(txn, name, env)
            }
            ["restore"] => {
                only(Update, request)?;
                backup::restore(txn, "", request, env)
            }
            ["restore", name] if is_name(name) => {
                only(Update, request)?;
                backup::restore(txn, name, request, env)
            }
            ["config", "keys"] => {
                read_or_write(request)?;
                config::keys(txn, request)
            }
            ["cache-config"] => {
                read_or_write(request)?;
                config::cache(request)
            }
            ["wrapping_key"] => {
                only(Read, request)?;
                wrap::wrapping_key(txn, env)
            }
            ["byok-export", to, from, version @ ..] if is_name(to) && is_name(from) && version.len() <= 1 => {
                only(Read, request)?;
                wrap::export(txn, (to, from, version.first().unwrap_or(&"")), request, env)
            }
            ["derive-key", name] if is_name(name) => {
                only(Update, request)?;
                agree::derive_key(txn, name, request, env)
            }
            _ => use_key(txn, &segments, request, env),
        }
    }

    fn due(&self, txn: &mut Txn<'_>, _mount: &Mount, path: &str, env: &mut Env<'_>) -> Result<(), Error> {
        match path.strip_prefix("policy/") {
            Some(name) => keys::rotate_due(txn, name, env),
            None => Err(Error::internal("a row fell due that never does")),
        }
    }
}

fn handle_key(
    txn: &mut Txn<'_>,
    name: &str,
    action: &[&str],
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    match (action, request.operation) {
        ([], Read) => keys::read(txn, name, request),
        ([], Create | Update) => keys::create(txn, name, request, env),
        ([], Delete) => keys::delete(txn, name),
        (["config"], Create | Update) => keys::configure(txn, name, request),
        (["rotate"], Create | Update) => keys::rotate(txn, name, env),
        (["trim"], Create | Update) => keys::trim(txn, name, request),
        (["soft-delete"], Delete) => keys::set_soft_deleted(txn, name, true),
        (["soft-delete-restore"], Create | Update) => keys::set_soft_deleted(txn, name, false),
        (["import"], Create | Update) => import::import(txn, name, request, env),
        (["import_version"], Create | Update) => import::import_version(txn, name, request, env),
        (["csr"], Create | Update) => csr::create(txn, name, request, env),
        (["set-certificate"], Create | Update) => certificates::set(txn, name, request),
        (
            [
                "config"
                | "rotate"
                | "trim"
                | "soft-delete"
                | "soft-delete-restore"
                | "import"
                | "import_version"
                | "csr"
                | "set-certificate",
            ]
            | [],
            _,
        ) => Err(Error::UnsupportedOperation),
        _ => Err(Error::UnsupportedPath),
    }
}

/// The paths that use keys, and those that need none: all are writes.
fn use_key(
    txn: &mut Txn<'_>,
    segments: &[&str],
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let uses = [
        "encrypt", "decrypt", "rewrap", "datakey", "sign", "verify", "hmac", "random", "hash",
    ];
    if !segments.first().is_some_and(|first| uses.contains(first)) {
        return Err(Error::UnsupportedPath);
    }
    only(Update, request)?;
    match segments {
        ["encrypt", name] if is_name(name) => crypt::encrypt(txn, name, request, env),
        ["decrypt", name] if is_name(name) => crypt::decrypt(txn, name, request, env),
        ["rewrap", name] if is_name(name) => crypt::rewrap(txn, name, request, env),
        ["datakey", how, name] if is_name(name) => crypt::datakey(txn, how, name, request, env),
        ["sign", name] if is_name(name) => sign::sign(txn, name, "", request, env),
        ["sign", name, hash] if is_name(name) => sign::sign(txn, name, hash, request, env),
        ["verify", name] if is_name(name) => sign::verify(txn, name, "", request, env),
        ["verify", name, hash] if is_name(name) => sign::verify(txn, name, hash, request, env),
        ["hmac", name] if is_name(name) => hmac::make(txn, name, "", request),
        ["hmac", name, hash] if is_name(name) => hmac::make(txn, name, hash, request),
        ["random", rest @ ..] if rest.len() <= 2 => tools::random(rest, request, env),
        ["hash"] => tools::hash("", request),
        ["hash", name] => tools::hash(name, request),
        _ => Err(Error::UnsupportedPath),
    }
}

/// Refuses every operation but one; `Update` stands for `Create` too.
fn only(operation: Operation, request: &Request<'_>) -> Result<(), Error> {
    let same = request.operation == operation || operation.is_write() && request.operation.is_write();
    same.then_some(()).ok_or(Error::UnsupportedOperation)
}

fn read_or_write(request: &Request<'_>) -> Result<(), Error> {
    only(Read, request).or_else(|_| only(Update, request))
}

const WRITE: &[Operation] = &[Update];

const fn route(pattern: &'static str, operations: &'static [Operation], summary: &'static str) -> Route {
    Route {
        pattern,
        operations,
        summary,
    }
}

const ROUTES: &[Route] = &[
    route("keys", &[List], "List keys."),
    route(
        "keys/:name",
        &[Read, Update, Delete],
        "Make, show and delete a key.",
    ),
    route("keys/:name/config", WRITE, "Change the settings of a key."),
    route("keys/:name/rotate", WRITE, "Add a version to a key."),
    route("keys/:name/trim", WRITE, "Remove old versions of a key for ever."),
    route("keys/:name/soft-delete", &[Delete], "Stop all use of a key."),
    route(
        "keys/:name/soft-delete-restore",
        WRITE,
        "Allow a key to be used again.",
    ),
    route(
        "keys/:name/import",
        WRITE,
        "Take in a wrapped key of somebody else, or the public half of one.",
    ),
    route(
        "keys/:name/import_version",
        WRITE,
        "Take in a key as the next version, or the private half of a version.",
    ),
    route(
        "keys/:name/csr",
        WRITE,
        "Make a request for a certificate, signed by the key.",
    ),
    route(
        "keys/:name/set-certificate",
        WRITE,
        "Keep certificates with a version of a key.",
    ),
    route(
        "derive-key/:name",
        WRITE,
        "Agree on a key with the holder of another one (ECDH).",
    ),
    route("wrapping_key", &[Read], "The public key to wrap keys with."),
    route(
        "byok-export/:destination/:name",
        &[Read],
        "Wrap all versions of a key with another one.",
    ),
    route(
        "byok-export/:destination/:name/:version",
        &[Read],
        "Wrap one version of a key with another one.",
    ),
    route(
        "encrypt/:name",
        &[Create, Update],
        "Encrypt, making the key if there is none.",
    ),
    route("decrypt/:name", WRITE, "Decrypt."),
    route(
        "rewrap/:name",
        WRITE,
        "Encrypt a ciphertext anew under another version.",
    ),
    route(
        "datakey/:how/:name",
        WRITE,
        "Make a fresh key, encrypted by this one.",
    ),
    route("sign/:name", WRITE, "Sign."),
    route("sign/:name/:algorithm", WRITE, "Sign with this hash algorithm."),
    route("verify/:name", WRITE, "Verify a signature or a keyed hash."),
    route(
        "verify/:name/:algorithm",
        WRITE,
        "Verify with this hash algorithm.",
    ),
    route("hmac/:name", WRITE, "Make a keyed hash."),
    route(
        "hmac/:name/:algorithm",
        WRITE,
        "Make a keyed hash with this hash algorithm.",
    ),
    route("random", WRITE, "Draw random bytes."),
    route(
        "random/:bytes",
        WRITE,
        "Draw this many random bytes, or from this source.",
    ),
    route(
        "random/:source/:bytes",
        WRITE,
        "Draw this many random bytes from this source.",
    ),
    route("hash", WRITE, "Hash."),
    route("hash/:algorithm", WRITE, "Hash with this algorithm."),
    route(
        "export/:part/:name",
        &[Read],
        "Show key material of all versions.",
    ),
    route(
        "export/:part/:name/:version",
        &[Read],
        "Show key material of one version.",
    ),
    route(
        "backup/:name",
        &[Read],
        "Show a whole key, to be restored elsewhere.",
    ),
    route("restore", WRITE, "Restore a key."),
    route("restore/:name", WRITE, "Restore a key under another name."),
    route(
        "config/keys",
        &[Read, Update],
        "Settings for all keys of the mount.",
    ),
    route("cache-config", &[Read, Update], "Accepted, without meaning here."),
];
