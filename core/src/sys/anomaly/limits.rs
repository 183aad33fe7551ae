//! `sys/anomaly/limits`: who is held back because a rule found something, and lifting that.

use serde_json::{Map, Value, json};

use super::{named, not_found};
use crate::anomaly::{LimitRecord, remove_limit};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// `LIST sys/anomaly/limits`: those that last.
pub fn limits(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let now = call.env.now();
    let lasting = call.work.catalog.watched.limits.records.iter();
    let lasting = lasting.filter(|record| now < record.until);
    named::some(
        lasting
            .map(|record| (record.name.clone(), Value::Object(describe(record))))
            .collect(),
    )
}

/// `GET sys/anomaly/limits/:name`.
pub fn limit(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (name, now) = (call.params.get("name"), call.env.now());
    let mut records = call.work.catalog.watched.limits.records.iter();
    let record = records.find(|record| record.name == name && now < record.until);
    Ok(Answer::data(describe(record.ok_or_else(not_found)?)))
}

fn describe(record: &LimitRecord) -> Map<String, Value> {
    object(json!({
        "name": record.name,
        "subject": record.subject,
        "entity_id": record.entity,
        "rate": record.rate,
        "since": rfc3339(record.since),
        "until": rfc3339(record.until),
        "rule": record.rule,
        "event": record.event,
    }))
}

/// Holds somebody back no more.
pub fn lift(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("name").to_owned();
    remove_limit(call.work, &name)?;
    Ok(Answer::empty())
}
