//! `data/<key>`: reading a version, and writing, patching and softly deleting the latest.

use conclave_engine_api::env::Millis;
use conclave_engine_api::outcome::Status;
use conclave_engine_api::{Error, Fields, Outcome, Reply, Txn};
use serde_json::{Map, Value};

use super::body::{self, Object};
use super::config::Config;
use super::record::{self, Record, Version};
use super::view;

/// `GET data/<key>?version=N`.
pub(super) fn read(txn: &mut Txn<'_>, key: &str, fields: Fields<'_>, now: Millis) -> Result<Outcome, Error> {
    let (record, number, version) = find(txn, key, fields)?;
    let body = if version.is_readable(now) {
        let data = record::load_data(txn, key, number)?;
        Some(data.map_or(Value::Null, Value::Object))
    } else {
        None
    };
    Ok(view::read("data", body, view::version(&record, number, &version)))
}

/// The version that a read asks for; a key or version that never was or is trimmed is a 404.
pub(super) fn find(
    txn: &mut Txn<'_>,
    key: &str,
    fields: Fields<'_>,
) -> Result<(Record, u64, Version), Error> {
    let asked = body::version(fields)?;
    if key.is_empty() {
        return Err(Error::not_found());
    }
    let record = Record::load(txn, key)?.ok_or_else(Error::not_found)?;
    let number = asked.unwrap_or(record.current);
    let version = *record.versions.get(&number).ok_or_else(Error::not_found)?;
    Ok((record, number, version))
}

/// `POST data/<key>`: a new version, whatever was there.
pub(super) fn write(txn: &mut Txn<'_>, key: &str, fields: Fields<'_>, now: Millis) -> Result<Outcome, Error> {
    let fields = fields.unprefixed();
    let data = match body::object(fields, "data")? {
        Object::Absent => return Err(Error::invalid("no data provided")),
        Object::Null => None,
        Object::Map(map) => Some(map),
    };
    let config = Config::load(txn)?;
    let record = Record::load(txn, key)?.unwrap_or_else(|| Record::new(now));
    check_cas(fields, &config, &record)?;
    append(txn, key, record, &config, data.as_deref(), now)
}

/// `PATCH data/<key>`: a new version, made from the latest by a JSON merge patch (RFC 7396). There must be one that is
/// neither deleted nor destroyed.
pub(super) fn patch(txn: &mut Txn<'_>, key: &str, fields: Fields<'_>, now: Millis) -> Result<Outcome, Error> {
    let patch = match body::object(fields, "data")? {
        Object::Absent => return Err(Error::invalid("no data provided")),
        Object::Null => None,
        Object::Map(map) => Some(map),
    };
    let record = Record::load(txn, key)?.ok_or_else(Error::not_found)?;
    let config = Config::load(txn)?;
    check_cas(fields, &config, &record)?;
    let current = record.current;
    let version = record.versions.get(&current).ok_or_else(Error::not_found)?;
    if !version.is_readable(now) {
        let mut reply = Reply::data(view::version(&record, current, version));
        reply.status = Status::NotFoundWithBody;
        return Ok(reply.into());
    }
    let merged = match patch {
        None => None,
        Some(patch) => {
            let mut data = record::load_data(txn, key, current)?.unwrap_or_default();
            merge(&mut data, patch.into_owned());
            Some(data)
        }
    };
    append(txn, key, record, &config, merged.as_ref(), now)
}

/// `DELETE data/<key>`: marks the latest version deleted, if there is one that is not.
pub(super) fn delete(txn: &mut Txn<'_>, key: &str, now: Millis) -> Result<Outcome, Error> {
    let done = Ok(Reply::empty().into());
    if key.is_empty() {
        return done;
    }
    let Some(mut record) = Record::load(txn, key)? else {
        return done;
    };
    let current = record.current;
    let Some(version) = record
        .versions
        .get_mut(&current)
        .filter(|version| version.is_readable(now))
    else {
        return done;
    };
    version.deletion = Some(now);
    record.store(txn, key)?;
    done
}

/// Whether the write's `options.cas` allows it. Deleted versions count.
fn check_cas(fields: Fields<'_>, config: &Config, record: &Record) -> Result<(), Error> {
    match body::cas(fields)? {
        Some(cas) if u64::try_from(cas) == Ok(record.current) => Ok(()),
        Some(_) => Err(Error::invalid(
            "check-and-set parameter did not match the current version",
        )),
        None if config.cas_required || record.cas_required => {
            Err(Error::invalid("check-and-set parameter required for this call"))
        }
        None => Ok(()),
    }
}

/// Writes the next version, trims old ones and answers the new one's metadata.
pub(super) fn append(
    txn: &mut Txn<'_>,
    key: &str,
    mut record: Record,
    config: &Config,
    data: Option<&Map<String, Value>>,
    now: Millis,
) -> Result<Outcome, Error> {
    let version = Version {
        created: now,
        deletion: config.deletion_of(&record, now),
        destroyed: false,
    };
    let kept = config.versions_kept(&record);
    for number in record.add(version, kept) {
        record::remove_data(txn, key, number)?;
    }
    record::store_data(txn, key, record.current, data)?;
    record.store(txn, key)?;
    Ok(Reply::data(view::version(&record, record.current, &version)).into())
}

/// Applies a JSON merge patch (RFC 7396, section 2) to an object. Recursion is bounded by the depth of parsed bodies.
fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(inner) => {
                let slot = target.entry(name).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(map) = slot {
                    merge(map, inner);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 7396, appendix A: the cases whose target and patch are objects.
    #[test]
    fn merges_as_rfc_7396_shows() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else {
                unreachable!()
            };
            merge(&mut target, patch);
            assert_eq!(Value::Object(target), result);
        }
    }
}
