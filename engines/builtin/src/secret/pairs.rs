//! Maps of texts in the forms that Vault's clients write them in.

use std::collections::BTreeMap;

use conclave_engine_api::{Error, Fields};
use serde_json::Value;

/// An object, a list of `key=value`, or such a list as text.
pub(super) fn read(fields: &Fields<'_>, name: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
    match fields.value(name) {
        None => return Ok(None),
        Some(Value::Object(_)) => return fields.string_map(name),
        Some(_) => {}
    }
    let pairs = fields.strings(name)?.unwrap_or_default();
    let pair = |pair: &String| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    let read: Option<BTreeMap<_, _>> = pairs.iter().map(pair).collect();
    read.map(Some)
        .ok_or_else(|| fields.wrong(name, "expected key=value"))
}
