//! Version 2 of the key-value API: every write of a key makes a version, and versions can be deleted softly, brought
//! back or destroyed. This file routes paths; it knows no rule of its own beyond that.
//!
//! Rows: `config` (settings of the mount), `m/<key>` (a key's record: settings, and what is known of each version),
//! `d/<key>/<number>` (the data of one version, written once). A read of any version takes two row reads; a write reads
//! `config` and the record and writes the record and one version.
//!
//! A version whose deletion time has passed is kept, as in Vault and OpenBao: reads compare the time, `undelete` brings
//! it back, and it goes with `destroy`, trimming or the key. So no row is written with a deadline.

mod body;
mod config;
mod custom;
mod data;
mod detailed;
mod import;
mod metadata;
mod record;
mod subkeys;
mod versions;
mod view;
mod watched;

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Env, Error, Operation, Outcome, Request, Txn};
use serde_json::{Map, Value};

pub(super) use watched::{happenings, readable_at, rows_of};

/// What a path addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Area {
    Config,
    Data,
    Metadata,
    Detailed,
    Subkeys,
    Delete,
    Undelete,
    Destroy,
    Import,
}

/// Whether what a write addresses exists; only data and metadata distinguish.
pub(super) fn exists(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
    match split(request) {
        Some((Area::Data | Area::Metadata, key)) => {
            let key = key.trim_end_matches('/');
            Ok(Some(!key.is_empty() && record::Record::load(txn, key)?.is_some()))
        }
        _ => Ok(None),
    }
}

/// Answers one request to a version 2 mount.
pub(super) fn handle(txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
    use Operation::{Create, Delete, List, Patch, Read, Scan, Update};
    let Some((area, key)) = split(request) else {
        return Err(no_such_path(request));
    };
    let operation = request.operation;
    let fields = request.fields();
    if area == Area::Config {
        return match operation {
            Read => config::read(txn),
            Create | Update => config::write(txn, fields),
            _ => Err(Error::UnsupportedOperation),
        };
    }
    let key = key_of(operation, key)?;
    let now = env.now();
    match (area, operation) {
        (Area::Data, Read) => data::read(txn, key, fields, now),
        (Area::Data, Create | Update) => data::write(txn, key, fields, now),
        (Area::Data, Patch) => data::patch(txn, key, fields, now),
        (Area::Data, Delete) => data::delete(txn, key, now),
        (Area::Metadata, Read) => metadata::read(txn, key),
        (Area::Metadata, Create | Update) => metadata::write(txn, key, fields, now),
        (Area::Metadata, Patch) => metadata::patch(txn, key, fields, now),
        (Area::Metadata, Delete) => metadata::delete(txn, key),
        (Area::Metadata, List) => Outcome::listing(txn.list(&record::dir(key), &fields.page()?)?),
        (Area::Metadata, Scan) => Ok(Outcome::scanned(txn.scan(&record::dir(key))?)),
        (Area::Detailed, List) => detailed::list(txn, key, fields),
        (Area::Detailed, Scan) => detailed::scan(txn, key),
        (Area::Subkeys, Read) => subkeys::read(txn, key, fields, now),
        (Area::Delete, Create | Update) => versions::delete(txn, key, fields, now),
        (Area::Undelete, Create | Update) => versions::undelete(txn, key, fields, now),
        (Area::Destroy, Create | Update) => versions::destroy(txn, key, fields),
        (Area::Import, Create | Update) => import::import(txn, key, fields, now),
        _ => Err(Error::UnsupportedOperation),
    }
}

/// Takes a secret in as the first version of a key that has none.
pub(super) fn adopt(
    txn: &mut Txn<'_>,
    key: &str,
    data: Option<&Map<String, Value>>,
    now: Millis,
) -> Result<(), Error> {
    data::append(
        txn,
        key,
        record::Record::new(now),
        &config::Config::default(),
        data,
        now,
    )
    .map(|_| ())
}

/// The area of a path and the key within it. Lists address directories, so a bare area is its root to them.
fn split<'a>(request: &Request<'a>) -> Option<(Area, &'a str)> {
    let lists = matches!(request.operation, Operation::List | Operation::Scan);
    let (area, key) = match request.path.split_once('/') {
        Some(parts) => parts,
        None if request.path == "config" && !lists => return Some((Area::Config, "")),
        None if lists => (request.path, ""),
        None => return None,
    };
    let area = match area {
        "data" => Area::Data,
        "metadata" => Area::Metadata,
        "detailed-metadata" => Area::Detailed,
        "subkeys" => Area::Subkeys,
        "delete" => Area::Delete,
        "undelete" => Area::Undelete,
        "destroy" => Area::Destroy,
        "import" => Area::Import,
        _ => return None,
    };
    Some((area, key))
}

/// The key without a trailing slash. Writes do not take one, nor an empty key.
fn key_of(operation: Operation, key: &str) -> Result<&str, Error> {
    let writes = operation.is_write() || operation == Operation::Patch;
    match key.strip_suffix('/') {
        Some(_) if writes => Err(Error::invalid("cannot write to a path ending in '/'")),
        None if writes && key.is_empty() => Err(Error::invalid("missing path")),
        Some(key) => Ok(key),
        None => Ok(key),
    }
}

/// The 404 that tells users of the version 1 API, or of a bare area, what to do instead.
fn no_such_path(request: &Request<'_>) -> Error {
    let text = match request.path {
        "metadata" | "data" | "delete" | "undelete" | "destroy" => {
            "Non-listing operations on the root of a K/V v2 mount are not supported.".to_owned()
        }
        _ => {
            let command = match request.operation {
                Operation::Create | Operation::Update => "put",
                Operation::Patch => "patch",
                Operation::Delete => "delete",
                Operation::List => "list",
                Operation::Scan => "scan",
                Operation::Read | Operation::Help => "get",
            };
            format!(
                "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints \
                 to use. If using the Conclave CLI, use 'conclave kv {command}' for this operation."
            )
        }
    };
    Error::NotFound { warnings: vec![text] }
}
