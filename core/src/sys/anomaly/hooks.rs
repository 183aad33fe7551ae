//! `sys/anomaly/webhooks`: who is told of events.

use serde_json::{Map, Value, json};

use conclave_anomaly::Severity;

use super::{bounded, named, not_found};
use crate::anomaly::{HOOKS, HookRecord};
use crate::catalog::encode_record;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most hooks: each is posted each event.
const MAX_HOOKS: usize = 16;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// `LIST sys/anomaly/webhooks`.
pub fn webhooks(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    named::list(call, HOOKS, |hook: HookRecord| {
        (hook.name.clone(), describe(&hook))
    })
}

/// Without the secret, which is told once.
fn describe(hook: &HookRecord) -> Map<String, Value> {
    object(json!({"name": hook.name, "url": hook.url, "severity": hook.severity}))
}

/// `GET sys/anomaly/webhooks/:name`.
pub fn webhook(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = named::row(call, HOOKS)?;
    let hook = named::load(call, &row)?.ok_or_else(not_found)?;
    Ok(Answer::data(describe(&hook)))
}

/// Makes a hook, and tells its secret this once; or changes one, whose secret stays.
pub fn change_webhook(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = named::row(call, HOOKS)?;
    let fields = call.fields();
    let known: Option<HookRecord> = named::load(call, &row)?;
    let is_new = known.is_none();
    let full = format!("there are {MAX_HOOKS} webhooks already");
    named::bound(call, HOOKS, &row, MAX_HOOKS, &full)?;
    let mut hook = match known {
        Some(known) => known,
        None => HookRecord {
            name: call.params.get("name").to_owned(),
            url: String::new(),
            secret: call.env.hex(SECRET_BYTES),
            severity: Severity::Medium.name().to_owned(),
        },
    };
    if let Some(url) = bounded("url", fields.string("url")?)? {
        hook.url = url;
    }
    call.core.hook_target(&hook.url, Vec::new())?;
    if let Some(severity) = fields.string("severity")? {
        if Severity::parse(&severity).is_none() {
            return Err(Error::invalid("severity must be low, medium, high or critical"));
        }
        hook.severity = severity;
    }
    call.work.config.put(&row, encode_record(&hook)?)?;
    let mut told = describe(&hook);
    if is_new {
        told.insert("secret".to_owned(), json!(hook.secret));
    }
    Ok(Answer::data(told))
}

/// Removes a hook.
pub fn remove_webhook(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = named::row(call, HOOKS)?;
    named::remove(call, &row)
}
