//! Fields of version 2 whose leniency is the key-value engine's own: maps, numbers where null means zero, check-and-set
//! parameters. Knows no rows.

use std::borrow::Cow;

use conclave_engine_api::{Error, Fields};
use serde_json::{Map, Value};

/// Most versions that can be kept of a key. A key is deleted, or trimmed after the setting was lowered, in one command,
/// which holds about 4,000 changes.
const MAX_VERSIONS: u32 = 4000;

/// A field that should be an object.
pub(super) enum Object<'a> {
    /// Not given.
    Absent,
    /// Given as null.
    Null,
    /// Given.
    Map(Cow<'a, Map<String, Value>>),
}

/// Reads an object; a list of objects counts as all of them together, as OpenBao's decoder has it (so `[]`, which some
/// languages write for an empty map, is one).
pub(super) fn object<'a>(fields: Fields<'a>, name: &str) -> Result<Object<'a>, Error> {
    match fields.value(name) {
        None if fields.given(name) => Ok(Object::Null),
        None => Ok(Object::Absent),
        Some(Value::Object(map)) => Ok(Object::Map(Cow::Borrowed(map))),
        Some(Value::Array(items)) => {
            let mut all = Map::new();
            for item in items {
                match item {
                    Value::Object(map) => all.extend(map.clone()),
                    other => return Err(fields.mistyped(name, "map[string]interface {}", other)),
                }
            }
            Ok(Object::Map(Cow::Owned(all)))
        }
        Some(other) => Err(fields.mistyped(name, "map[string]interface {}", other)),
    }
}

/// An integer; null is zero.
pub(super) fn int(fields: Fields<'_>, name: &str) -> Result<Option<i64>, Error> {
    match fields.int(name)? {
        None if fields.given(name) => Ok(Some(0)),
        found => Ok(found),
    }
}

/// A boolean; null is false.
pub(super) fn bool(fields: Fields<'_>, name: &str) -> Result<Option<bool>, Error> {
    match fields.bool(name)? {
        None if fields.given(name) => Ok(Some(false)),
        found => Ok(found),
    }
}

/// `max_versions`: 0 for "not set".
pub(super) fn max_versions(fields: Fields<'_>) -> Result<Option<u32>, Error> {
    let name = "max_versions";
    let number = int(fields, name)?;
    number
        .map(|number| {
            let number = u32::try_from(number)
                .ok()
                .filter(|number| *number <= MAX_VERSIONS);
            number.ok_or_else(|| fields.wrong(name, &format!("must be from 0 to {MAX_VERSIONS}")))
        })
        .transpose()
}

/// `options.cas`: the version that must be the current one, 0 for none. Null is zero.
pub(super) fn cas(fields: Fields<'_>) -> Result<Option<i64>, Error> {
    let Object::Map(options) = object(fields, "options")? else {
        return Ok(None);
    };
    if options.get("cas") == Some(&Value::String(String::new())) {
        return Ok(Some(0));
    }
    int(Fields::new(&options), "cas").map_err(|_| Error::invalid("error parsing check-and-set parameter"))
}

/// `version`: the version to read, or `None` for the current one. Zero and negative numbers mean the current one.
pub(super) fn version(fields: Fields<'_>) -> Result<Option<u64>, Error> {
    let number = fields.int("version")?;
    Ok(number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0))
}

/// `versions`: the version numbers to act on. Negative numbers name no version and are dropped.
pub(super) fn versions(fields: Fields<'_>, missing: &str) -> Result<Vec<u64>, Error> {
    let numbers = match fields.value("versions") {
        Some(Value::Object(map)) if map.is_empty() => Vec::new(),
        _ => fields.ints("versions")?.unwrap_or_default(),
    };
    if numbers.is_empty() {
        return Err(Error::invalid(missing));
    }
    Ok(numbers
        .into_iter()
        .filter_map(|number| u64::try_from(number).ok())
        .collect())
}
