//! `detailed-metadata/<key>`: lists whose names come with their metadata.

use conclave_engine_api::{Error, Fields, Outcome, Reply, Txn};
use serde_json::{Map, Value};

use super::record::{self, Record};
use super::view;

/// Most names answered with their metadata at once.
const MAX_NAMES: usize = 10_000;

/// `LIST detailed-metadata/<dir>?after=..&limit=..`.
pub(super) fn list(txn: &mut Txn<'_>, dir: &str, fields: Fields<'_>) -> Result<Outcome, Error> {
    let keys = txn.list(&record::dir(dir), &fields.page()?)?;
    if keys.is_empty() {
        return Err(Error::not_found());
    }
    answer(txn, dir, keys)
}

/// `SCAN detailed-metadata/<dir>`.
pub(super) fn scan(txn: &mut Txn<'_>, dir: &str) -> Result<Outcome, Error> {
    let keys = txn.scan(&record::dir(dir))?;
    if keys.is_empty() {
        return Ok(Outcome::scanned(keys));
    }
    answer(txn, dir, keys)
}

/// A directory's entry is that of the key of the same name, or empty.
fn answer(txn: &mut Txn<'_>, dir: &str, keys: Vec<String>) -> Result<Outcome, Error> {
    if keys.len() > MAX_NAMES {
        return Err(Error::invalid(format!(
            "there are more than {MAX_NAMES} names here; list them in parts with after and limit"
        )));
    }
    let mut info = Map::new();
    for name in &keys {
        let key = name.trim_end_matches('/');
        let record = match dir {
            "" => Record::load(txn, key)?,
            dir => Record::load(txn, &format!("{dir}/{key}"))?,
        };
        let metadata = record.map(|record| view::key(&record)).unwrap_or_default();
        info.insert(name.clone(), Value::Object(metadata));
    }
    let mut reply = Reply::keys(keys);
    if let Some(data) = &mut reply.data {
        data.insert("key_info".to_owned(), Value::Object(info));
    }
    Ok(reply.into())
}
