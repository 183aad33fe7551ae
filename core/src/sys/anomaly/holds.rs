//! `sys/anomaly/holds`: who must show a second factor because a rule found something, and letting go.

use serde_json::{Map, Value, json};

use super::{named, not_found};
use crate::anomaly::{HoldRecord, release as release_hold};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// `LIST sys/anomaly/holds`.
pub fn holds(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let held = call.work.catalog.watched.holds.records.iter();
    named::some(
        held.map(|(entity, record)| (entity.clone(), Value::Object(describe(record))))
            .collect(),
    )
}

/// `GET sys/anomaly/holds/:entity_id`.
pub fn hold(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let found = call.work.catalog.watched.holds.of(call.params.get("entity_id"));
    Ok(Answer::data(describe(found.ok_or_else(not_found)?)))
}

fn describe(record: &HoldRecord) -> Map<String, Value> {
    object(json!({
        "entity_id": record.entity,
        "subject": record.subject,
        "since": rfc3339(record.since),
        "rule": record.rule,
        "event": record.event,
    }))
}

/// Its tokens are good again, and its logins want no second factor that no enforcement asks for.
pub fn release(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let entity = call.params.get("entity_id").to_owned();
    release_hold(call.work, &entity)?;
    Ok(Answer::empty())
}
