//! `sys/anomaly/webhooks`: who is told of events.

use serde_json::{Map, Value, json};

use conclave_anomaly::Severity;
use conclave_engine_api::Page;

use super::{bounded, not_found};
use crate::anomaly::{HOOKS, HookRecord};
use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most hooks: each is posted each event.
const MAX_HOOKS: usize = 16;
/// Longest name in bytes.
const MAX_NAME: usize = 128;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// `LIST sys/anomaly/webhooks`.
pub fn webhooks(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let names = call.work.config.list(HOOKS, &Page::default())?;
    let mut infos = Map::new();
    for name in &names {
        if let Some(row) = call.work.config.get(&format!("{HOOKS}{name}"))? {
            infos.insert(name.clone(), Value::Object(describe(&decode_record(&row.value)?)));
        }
    }
    match names.is_empty() {
        true => Err(not_found()),
        false => Ok(Answer::data(object(json!({"keys": names, "key_info": infos})))),
    }
}

/// Without the secret, which is told once.
fn describe(hook: &HookRecord) -> Map<String, Value> {
    object(json!({"name": hook.name, "url": hook.url, "severity": hook.severity}))
}

/// `GET sys/anomaly/webhooks/:name`.
pub fn webhook(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call)?;
    let row = call.work.config.get(&row)?.ok_or_else(not_found)?;
    Ok(Answer::data(describe(&decode_record(&row.value)?)))
}

/// Makes a hook, and tells its secret this once; or changes one, whose secret stays.
pub fn change_webhook(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call)?;
    let fields = call.fields();
    let known: Option<HookRecord> = match call.work.config.get(&row)? {
        Some(row) => Some(decode_record(&row.value)?),
        None => None,
    };
    let is_new = known.is_none();
    if is_new && call.work.config.list(HOOKS, &Page::default())?.len() >= MAX_HOOKS {
        return Err(Error::invalid(format!("there are {MAX_HOOKS} webhooks already")));
    }
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
    let row = row_of(call)?;
    if call.work.config.get(&row)?.is_some() {
        call.work.config.delete(&row)?;
    }
    Ok(Answer::empty())
}

fn row_of(call: &Call<'_, '_>) -> Result<String, Error> {
    let name = call.params.get("name");
    match name.len() > MAX_NAME {
        true => Err(Error::invalid("name is too long")),
        false => Ok(format!("{HOOKS}{name}")),
    }
}
