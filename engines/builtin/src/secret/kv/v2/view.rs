//! How records look to clients. Knows no rows.

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Outcome, Reply, format_duration, format_time, outcome::Status};
use serde_json::{Map, Value, json};

use super::record::{Record, Version};

/// One version's metadata, as writes answer it and reads put beside the data.
pub(super) fn version(record: &Record, number: u64, version: &Version) -> Map<String, Value> {
    let mut map = life(version);
    map.insert("version".to_owned(), number.into());
    map.insert("custom_metadata".to_owned(), custom(record));
    map
}

/// A key's whole metadata.
pub(super) fn key(record: &Record) -> Map<String, Value> {
    let versions = record
        .versions
        .iter()
        .map(|(number, version)| (number.to_string(), Value::Object(life(version))));
    let map = json!({
        "versions": Map::from_iter(versions),
        "current_version": record.current,
        "oldest_version": record.oldest,
        "created_time": format_time(record.created),
        "updated_time": format_time(record.updated),
        "max_versions": record.max_versions,
        "cas_required": record.cas_required,
        "metadata_cas_required": record.metadata_cas_required,
        "current_metadata_version": record.metadata_version,
        "delete_version_after": format_duration(record.delete_version_after),
        "custom_metadata": custom(record),
    });
    match map {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The answer to a read of one version: `body` under `name` beside the metadata. A version that cannot be read answers
/// 404 with the metadata, which clients look into to tell "deleted" from "never there".
pub(super) fn read(name: &str, body: Option<Value>, metadata: Map<String, Value>) -> Outcome {
    let mut reply = Reply::empty();
    if body.is_none() {
        reply.status = Status::NotFoundWithBody;
    }
    reply.data = Some(Map::from_iter([
        (name.to_owned(), body.unwrap_or(Value::Null)),
        ("metadata".to_owned(), Value::Object(metadata)),
    ]));
    reply.into()
}

fn life(version: &Version) -> Map<String, Value> {
    Map::from_iter([
        ("created_time".to_owned(), format_time(version.created).into()),
        ("deletion_time".to_owned(), time_or_empty(version.deletion).into()),
        ("destroyed".to_owned(), version.destroyed.into()),
    ])
}

fn time_or_empty(time: Option<Millis>) -> String {
    time.map(format_time).unwrap_or_default()
}

fn custom(record: &Record) -> Value {
    if record.custom.is_empty() {
        return Value::Null;
    }
    let entries = record.custom.iter();
    Value::Object(
        entries
            .map(|(key, text)| (key.clone(), text.as_str().into()))
            .collect(),
    )
}
