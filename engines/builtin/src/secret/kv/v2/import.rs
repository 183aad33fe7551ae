//! `import/<key>`: takes in versions as they were kept elsewhere, with their numbers and times, for migrations. Ours: the
//! original has no such path. Versions are only ever added at the end, so an import never changes what is there.

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Error, Fields, Outcome, Reply, Txn, parse_time};
use serde_json::{Map, Value, json};

use super::body::{self, Object};
use super::custom;
use super::record::{self, Record, Version};

/// Most versions of a key, and so of one import.
const MAX_VERSIONS: usize = 4000;

/// `POST import/<key>`: the fields are those that a read of `metadata/<key>` answers, with `data` in each of `versions`,
/// and `cas`: the number of the latest version here, 0 if there is none yet. Times later than `now` become `now`, except
/// for deletions to come. A deleted version may come without data: then it has none after `undelete` either.
pub(super) fn import(
    txn: &mut Txn<'_>,
    key: &str,
    fields: Fields<'_>,
    now: Millis,
) -> Result<Outcome, Error> {
    let cas = fields.count("cas")?;
    let cas = cas.ok_or_else(|| Error::invalid("cas is required: the number of the latest version here"))?;
    let known = Record::load(txn, key)?;
    if known.as_ref().map_or(0, |record| record.current) != cas {
        return Err(Error::invalid(
            "check-and-set parameter did not match the current version",
        ));
    }
    let mut record = match known {
        Some(record) => record,
        None => Record::new(past(fields, "created_time", now)?.unwrap_or(now)),
    };
    settings(&mut record, fields, now)?;
    let versions = versions(fields, &record, now)?;
    if record.current == 0 {
        let first = versions.first().map_or(1, |(number, ..)| *number);
        record.oldest = fields.count("oldest_version")?.unwrap_or(0).min(first);
    }
    if record.versions.len() + versions.len() > MAX_VERSIONS {
        return Err(Error::invalid(format!("more than {MAX_VERSIONS} versions")));
    }
    for (number, version, data) in versions {
        if !version.destroyed {
            record::store_data(txn, key, number, data)?;
        }
        record.versions.insert(number, version);
        record.current = number;
    }
    record.store(txn, key)?;
    Ok(Reply::json(json!({"current_version": record.current})).into())
}

fn settings(record: &mut Record, fields: Fields<'_>, now: Millis) -> Result<(), Error> {
    record.updated = past(fields, "updated_time", now)?.unwrap_or(now);
    record.max_versions = body::max_versions(fields)?.unwrap_or(record.max_versions);
    record.cas_required = body::bool(fields, "cas_required")?.unwrap_or(record.cas_required);
    record.metadata_cas_required =
        body::bool(fields, "metadata_cas_required")?.unwrap_or(record.metadata_cas_required);
    if let Some(after) = fields.duration("delete_version_after")? {
        record.delete_version_after = after - after % 1000;
    }
    if let Some(count) = fields.count("current_metadata_version")? {
        record.metadata_version = count;
    }
    match body::object(fields, "custom_metadata")? {
        Object::Absent => {}
        Object::Null => record.custom.clear(),
        Object::Map(map) => record.custom = custom::parse(&map)?,
    }
    Ok(())
}

type Imported<'a> = (u64, Version, Option<&'a Map<String, Value>>);

/// The versions in order. They follow one another, and the latest here if there is one.
fn versions<'a>(fields: Fields<'a>, record: &Record, now: Millis) -> Result<Vec<Imported<'a>>, Error> {
    let Some(given) = fields.object("versions")? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::with_capacity(given.len());
    for (name, version) in given {
        let number = name.parse().ok().filter(|number| (1..u64::MAX).contains(number));
        let number: u64 = number.ok_or_else(|| Error::invalid("versions: a name is no version number"))?;
        let version = version.as_object();
        let version = version.ok_or_else(|| Error::invalid(format!("version {number} is no object")))?;
        all.push(one(number, version, now).map_err(|error| at(number, error))?);
    }
    all.sort_unstable_by_key(|(number, ..)| *number);
    let mut before = Some(record.current).filter(|current| *current > 0);
    for (number, ..) in &all {
        if before.is_some_and(|before| before + 1 != *number) {
            return Err(Error::invalid(format!(
                "version {number} does not follow the one before it"
            )));
        }
        before = Some(*number);
    }
    Ok(all)
}

fn one(number: u64, version: &Map<String, Value>, now: Millis) -> Result<Imported<'_>, Error> {
    let fields = Fields::new(version);
    let life = Version {
        created: past(fields, "created_time", now)?.unwrap_or(now),
        deletion: time(fields, "deletion_time")?,
        destroyed: fields.bool("destroyed")?.unwrap_or(false),
    };
    let data = match version.get("data") {
        None | Some(Value::Null) => None,
        Some(Value::Object(data)) => Some(data),
        Some(_) => return Err(Error::invalid("data is no object")),
    };
    if life.is_readable(now) && !version.contains_key("data") {
        return Err(Error::invalid("data is missing"));
    }
    Ok((number, life, data))
}

fn at(number: u64, error: Error) -> Error {
    match error {
        Error::Invalid(why) => Error::invalid(format!("version {number}: {why}")),
        other => other,
    }
}

/// A time that is not to come.
fn past(fields: Fields<'_>, name: &str, now: Millis) -> Result<Option<Millis>, Error> {
    Ok(time(fields, name)?.map(|time| time.min(now)))
}

/// A time as answers have it; empty for none.
fn time(fields: Fields<'_>, name: &str) -> Result<Option<Millis>, Error> {
    let text = fields.string(name)?.filter(|text| !text.is_empty());
    text.map(|text| parse_time(&text).ok_or_else(|| fields.wrong(name, "is no time by RFC 3339")))
        .transpose()
}
