//! `config/keys` and `cache-config`: settings of the mount.

use conclave_engine_api::{Error, Operation, Outcome, Reply, Request, Txn};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record;

const FORMAT: u8 = 1;
const ROW: &str = "config/keys";

/// Smallest size of a cache that OpenBao takes.
const MIN_CACHE: i64 = 10;

#[derive(Default, Serialize, Deserialize)]
struct Config {
    disable_upsert: bool,
}

/// Whether `encrypt` must not make keys.
pub(super) fn upsert_is_disabled(txn: &mut Txn<'_>) -> Result<bool, Error> {
    Ok(load(txn)?.disable_upsert)
}

fn load(txn: &mut Txn<'_>) -> Result<Config, Error> {
    match txn.get(ROW)? {
        Some(row) => record::decode(FORMAT, &row.value),
        None => Ok(Config::default()),
    }
}

/// `GET|POST config/keys`.
pub(super) fn keys(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    let mut config = load(txn)?;
    if request.operation != Operation::Read
        && let Some(disable) = request.fields().bool("disable_upsert")?
    {
        config.disable_upsert = disable;
        txn.put(ROW, record::encode(FORMAT, &config)?)?;
    }
    Ok(Reply::json(json!({"disable_upsert": config.disable_upsert})).into())
}

/// `GET|POST cache-config`. Keys are found by their rows, whose cache is the node's and has its own bounds: the size is
/// accepted and means nothing.
pub(super) fn cache(request: &Request<'_>) -> Result<Outcome, Error> {
    if request.operation == Operation::Read {
        return Ok(Reply::json(json!({"size": 0})).into());
    }
    let size = request.fields().int("size")?.unwrap_or(0);
    if size != 0 && size < MIN_CACHE {
        return Err(Error::invalid("size must be 0 or a value greater or equal to 10"));
    }
    Ok(Reply::json(json!({"size": 0}))
        .warn("the size of the cache is the node's affair: it was not changed")
        .into())
}
