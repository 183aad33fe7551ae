//! `subkeys/<key>`: the shape of a secret, for those who may see which fields it has but not what they hold.

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Error, Fields, Outcome, Txn};
use serde_json::{Map, Value};

use super::{data, record, view};

/// `GET subkeys/<key>?version=N&depth=D`. A depth of 0 shows all levels; others hide what lies deeper.
pub(super) fn read(txn: &mut Txn<'_>, key: &str, fields: Fields<'_>, now: Millis) -> Result<Outcome, Error> {
    let levels = match fields.int("depth")? {
        None | Some(0) => usize::MAX,
        Some(depth) => usize::try_from(depth).unwrap_or(1),
    };
    let (record, number, version) = data::find(txn, key, fields)?;
    let body = if version.is_readable(now) {
        let data = record::load_data(txn, key, number)?;
        Some(data.map_or(Value::Null, |data| Value::Object(shape(data, levels))))
    } else {
        None
    };
    Ok(view::read(
        "subkeys",
        body,
        view::version(&record, number, &version),
    ))
}

/// The same keys with null for every value but an object that is not empty, down to `levels` levels.
fn shape(data: Map<String, Value>, levels: usize) -> Map<String, Value> {
    let below = levels.saturating_sub(1);
    data.into_iter()
        .map(|(name, value)| match value {
            Value::Object(inner) if below > 0 && !inner.is_empty() => {
                (name, Value::Object(shape(inner, below)))
            }
            _ => (name, Value::Null),
        })
        .collect()
}
