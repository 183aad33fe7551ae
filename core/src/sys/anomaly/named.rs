//! What somebody set about unusual access, one row a thing beneath a directory: listed, read, bounded in number, removed. Knows
//! none of the things.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use conclave_engine_api::Page;

use super::not_found;
use crate::catalog::decode_record;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Longest name in bytes.
const MAX_NAME: usize = 128;

/// The row of what the request names.
pub(super) fn row(call: &Call<'_, '_>, directory: &str) -> Result<String, Error> {
    let name = call.params.get("name");
    match name.len() > MAX_NAME {
        true => Err(Error::invalid("name is too long")),
        false => Ok(format!("{directory}{name}")),
    }
}

/// All of a directory, with what `describe` says of each: first what it is called.
pub(super) fn list<R: DeserializeOwned>(
    call: &mut Call<'_, '_>,
    directory: &str,
    describe: impl Fn(R) -> (String, Map<String, Value>),
) -> Result<Answer, Error> {
    let mut infos = Map::new();
    for name in call.work.config.list(directory, &Page::default())? {
        if let Some(row) = call.work.config.get(&format!("{directory}{name}"))? {
            let (name, info) = describe(decode_record(&row.value)?);
            infos.insert(name, Value::Object(info));
        }
    }
    some(infos)
}

/// A list, unless it is empty.
pub(super) fn some(infos: Map<String, Value>) -> Result<Answer, Error> {
    let mut names: Vec<_> = infos.keys().cloned().collect();
    names.sort_unstable();
    match names.is_empty() {
        true => Err(not_found()),
        false => Ok(Answer::data(object(json!({"keys": names, "key_info": infos})))),
    }
}

/// What is kept in a row, if it is there.
pub(super) fn load<R: DeserializeOwned>(call: &mut Call<'_, '_>, row: &str) -> Result<Option<R>, Error> {
    let row = call.work.config.get(row)?;
    row.map(|row| decode_record(&row.value)).transpose()
}

/// Refuses one more than may be; what is there already may be changed.
pub(super) fn bound(
    call: &mut Call<'_, '_>,
    directory: &str,
    row: &str,
    most: usize,
    full: &str,
) -> Result<(), Error> {
    let config = &mut call.work.config;
    match config.get(row)?.is_none() && config.list(directory, &Page::default())?.len() >= most {
        true => Err(Error::invalid(full)),
        false => Ok(()),
    }
}

/// Removes what may be there or not.
pub(super) fn remove(call: &mut Call<'_, '_>, row: &str) -> Result<Answer, Error> {
    if call.work.config.get(row)?.is_some() {
        call.work.config.delete(row)?;
    }
    Ok(Answer::empty())
}
