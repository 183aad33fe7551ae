//! Version 1 of the key-value API: a path holds one object, and a write replaces it. Knows nothing of versions.

use conclave_engine_api::{
    ChangedRow, Error, Fields, Happening, Mount, Operation, Outcome, Reply, Request, Stored, Txn, What,
};
use serde_json::{Map, Value};

use crate::secret::document;

/// Where version 1 keeps its rows.
const DIR: &str = "v1/";

/// Whether what a write addresses exists.
pub(super) fn exists(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<bool, Error> {
    Ok(!request.path.is_empty() && txn.get(&row(request.path)?)?.is_some())
}

/// Answers one request to a version 1 mount.
pub(super) fn handle(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    match request.operation {
        Operation::Read => read(txn, request),
        Operation::Create | Operation::Update => write(txn, request),
        Operation::Delete => {
            if !request.path.is_empty() {
                txn.delete(&row(request.path)?)?;
            }
            Ok(Reply::empty().into())
        }
        Operation::List => Outcome::listing(txn.list(&dir(request.path), &request.fields().page()?)?),
        Operation::Scan => Ok(Outcome::scanned(txn.scan(&dir(request.path))?)),
        Operation::Patch | Operation::Help => Err(Error::UnsupportedOperation),
    }
}

/// The row of a key, and of those beneath it.
pub(super) fn rows_of(key: &str) -> String {
    format!("{DIR}{key}")
}

/// What happened, by the rows that were changed.
pub(super) fn happenings(rows: &[ChangedRow]) -> Vec<Happening> {
    let known = rows.iter().filter_map(|row| {
        Some(Happening {
            key: row.path.strip_prefix(DIR)?.to_owned(),
            what: if row.removed { What::Removed } else { What::Written },
            versions: Vec::new(),
        })
    });
    let mut all: Vec<_> = known.collect();
    all.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    all
}

/// The keys of every secret.
pub(super) fn keys(txn: &mut Txn<'_>) -> Result<Vec<String>, Error> {
    txn.scan(DIR)
}

/// Removes a secret and gives its row.
pub(super) fn take(txn: &mut Txn<'_>, key: &str) -> Result<Option<Stored>, Error> {
    let row = row(key)?;
    let stored = txn.get(&row)?;
    txn.delete(&row)?;
    Ok(stored)
}

fn read(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    if request.path.is_empty() || request.path.ends_with('/') {
        return Err(Error::not_found());
    }
    let stored = txn.get(&row(request.path)?)?.ok_or_else(Error::not_found)?;
    let data = document::decode(&stored.value)?.unwrap_or_default();
    let mut reply = Reply::empty();
    reply.lease_duration_hint = Some(hint(&data, request.mount));
    reply.data = Some(data);
    Ok(reply.into())
}

fn write(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    if request.path.is_empty() {
        return Err(Error::invalid("missing path"));
    }
    if request.data.is_empty() {
        return Err(Error::invalid("missing data fields"));
    }
    txn.put(&row(request.path)?, document::encode(Some(request.data))?)?;
    Ok(Reply::empty().into())
}

/// Seconds after which a reader should read again: the secret's `ttl`, else its `lease`, else the mount's default. A
/// negative one counts as zero; one that is no duration as absent.
fn hint(data: &Map<String, Value>, mount: &Mount) -> u64 {
    let fields = Fields::new(data);
    let name = if fields.given("ttl") { "ttl" } else { "lease" };
    let ms = match data.get(name) {
        Some(Value::Null) => Some(0),
        _ => fields.signed_duration(name).ok().flatten(),
    };
    let ms = ms.map_or(mount.default_lease_ttl, |ms| u64::try_from(ms).unwrap_or(0));
    ms / 1000
}

fn row(path: &str) -> Result<String, Error> {
    if path.ends_with('/') {
        return Err(Error::invalid("cannot write to a path ending in '/'"));
    }
    Ok(format!("{DIR}{path}"))
}

fn dir(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => DIR.to_owned(),
        path => format!("{DIR}{path}/"),
    }
}
