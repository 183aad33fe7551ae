//! `sys/anomaly/events` and `sys/anomaly/ack`: what was found, and who has looked at it.

use serde_json::{Map, json};

use conclave_engine_api::Txn;

use super::{bounded, not_found};
use crate::anomaly::{EVENTS, EventRecord, STORED, State};
use crate::catalog::{decode_record, encode_record};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most events in one list.
const MAX_LISTED: usize = 1000;
/// Bytes of an id.
const ID_BYTES: usize = 20;

/// `LIST sys/anomaly/events`: the newest first. `state=open`, `rule=` and `limit=` choose among them.
pub fn events(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let (state, rule) = (fields.string("state")?, fields.string("rule")?);
    if state
        .as_deref()
        .is_some_and(|state| !matches!(state, "open" | "acknowledged"))
    {
        return Err(Error::invalid("state must be open or acknowledged"));
    }
    let page = fields.page()?;
    let limit = page.limit.unwrap_or(MAX_LISTED).min(MAX_LISTED);
    let stored = call.work.opened().space(STORED);
    let mut ids = stored.names(EVENTS, &conclave_engine_api::Page::default())?;
    ids.reverse();
    let (mut keys, mut infos) = (Vec::new(), Map::new());
    for id in ids
        .into_iter()
        .filter(|id| page.after.is_empty() || *id < page.after)
    {
        if keys.len() >= limit {
            break;
        }
        let Some(row) = stored.row(&EventRecord::row(&id))? else {
            continue;
        };
        let event: EventRecord = decode_record(&row.value)?;
        let wanted = state.as_ref().is_none_or(|state| *state == name_of(event.state))
            && rule.as_ref().is_none_or(|rule| *rule == event.rule);
        if wanted {
            let info = json!({
                "rule": event.rule,
                "severity": event.severity,
                "subject": event.subject,
                "explanation": event.explanation,
                "first_seen": rfc3339(event.first),
                "last_seen": rfc3339(event.last),
                "state": event.state,
                "muted": event.muted,
            });
            infos.insert(id.clone(), info);
            keys.push(id);
        }
    }
    match keys.is_empty() {
        true => Err(not_found()),
        false => Ok(Answer::data(object(json!({"keys": keys, "key_info": infos})))),
    }
}

fn name_of(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Acknowledged => "acknowledged",
    }
}

/// `GET sys/anomaly/events/:id`.
pub fn event(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call)?;
    let row = call
        .work
        .opened()
        .space(STORED)
        .row(&row)?
        .ok_or_else(not_found)?;
    let event: EventRecord = decode_record(&row.value)?;
    Ok(Answer::data(event.shown()))
}

/// Somebody has looked at it.
pub fn acknowledge(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call)?;
    let note = bounded("note", call.fields().string("note")?)?.unwrap_or_default();
    let by = call.caller.record.display_name.clone();
    let opened = call.work.opened();
    let reader = opened.space(STORED);
    let mut txn = Txn::new(&reader);
    let stored = txn.get(&row)?.ok_or_else(not_found)?;
    let mut event: EventRecord = decode_record(&stored.value)?;
    event.state = State::Acknowledged;
    event.note = note;
    event.acknowledged_by = by;
    txn.put(&row, encode_record(&event)?)?;
    call.work.draft.include(STORED, txn.into_changes())?;
    Ok(Answer::empty())
}

fn row_of(call: &Call<'_, '_>) -> Result<String, Error> {
    let id = call.params.get("id");
    let letter = |c: char| c.is_ascii_hexdigit() || c == '-';
    match id.len() <= ID_BYTES && id.chars().all(letter) {
        true => Ok(EventRecord::row(id)),
        false => Err(not_found()),
    }
}
