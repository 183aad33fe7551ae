//! `sys/anomaly/mute`: what nobody wants to hear of for a while. It is found and stored all the same.

use serde_json::{Map, Value, json};

use conclave_anomaly::Kind;

use super::{bounded, named, not_found};
use crate::anomaly::{MUTES, MuteRecord};
use crate::catalog::encode_record;
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most of them: each is looked at for each finding.
const MAX_MUTES: usize = 1000;
/// Longest time: half a year, so that nothing is muted for ever.
const MAX_TTL: u64 = 183 * 24 * 3_600_000;

/// `LIST sys/anomaly/mute`.
pub fn mutes(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    named::list(call, MUTES, |mute: MuteRecord| {
        (mute.name.clone(), describe(&mute))
    })
}

/// `GET sys/anomaly/mute/:name`.
pub fn muted(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = named::row(call, MUTES)?;
    let mute = named::load(call, &row)?.ok_or_else(not_found)?;
    Ok(Answer::data(describe(&mute)))
}

fn describe(mute: &MuteRecord) -> Map<String, Value> {
    object(json!({
        "name": mute.name,
        "rule": mute.rule,
        "subject": mute.subject,
        "until": rfc3339(mute.until),
        "note": mute.note,
    }))
}

/// Mutes a rule, a subject, or both together, until a time.
pub fn mute(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = named::row(call, MUTES)?;
    let fields = call.fields();
    let rule = fields.string("rule")?.unwrap_or_default();
    if !rule.is_empty() && Kind::parse(&rule).is_none() {
        return Err(Error::invalid(format!("there is no rule {rule:?}")));
    }
    let subject = bounded("subject", fields.string("subject")?)?.unwrap_or_default();
    if rule.is_empty() && subject.is_empty() {
        return Err(Error::invalid("rule or subject must say what is muted"));
    }
    let ttl = fields.duration("ttl")?.unwrap_or(0);
    if ttl == 0 || ttl > MAX_TTL {
        return Err(Error::invalid(
            "ttl must be more than nothing and at most 183 days",
        ));
    }
    let record = MuteRecord {
        name: call.params.get("name").to_owned(),
        rule,
        subject,
        until: call.env.now().saturating_add(ttl),
        note: bounded("note", fields.string("note")?)?.unwrap_or_default(),
    };
    let full = format!("{MAX_MUTES} things are muted already");
    named::bound(call, MUTES, &row, MAX_MUTES, &full)?;
    call.work.config.put(&row, encode_record(&record)?)?;
    Ok(Answer::data(describe(&record)))
}

/// Mutes it no more.
pub fn unmute(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = named::row(call, MUTES)?;
    named::remove(call, &row)
}
