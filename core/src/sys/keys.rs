//! `sys/key-status`, `sys/rotate` and its settings: the keyring's age, its next key, and when that comes by itself.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::catalog::encode_record;
use crate::ceremony::AutoRotation;
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Act, Answer, Call};
use crate::seal::rows;
use crate::store::layout::ring_of;
use crate::sys::open::object;

/// `operator key-status`. While rows are left that older keys sealed, it also says which keys those are and how far the
/// rewrap is.
pub fn status(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let opened = call.work.opened();
    let ring = ring_of(call.work.namespace());
    let keyring = match opened.barrier().ring_keys(ring) {
        Some(keys) => keys.keyring(),
        None => opened.barrier().keyring(),
    };
    let active = keyring.active_term(ring)?;
    let terms = keyring.terms(ring)?;
    let made = terms.iter().find(|info| info.term == active);
    let mut status = object(json!({
        "term": active,
        "install_time": rfc3339(made.map_or(0, |info| info.created_ms)),
        "encryptions": rows::encryptions(opened.view(), ring)?,
    }));
    let old: Vec<u32> = terms
        .iter()
        .map(|info| info.term)
        .filter(|term| *term != active)
        .collect();
    if !old.is_empty() {
        let rewrapped = rows::rewrap(opened.view(), ring)?.map_or(0, |(rewrap, _)| rewrap.rewrapped);
        status.insert("old_terms".to_owned(), json!(old));
        status.insert("rewrapped".to_owned(), json!(rewrapped));
    }
    Ok(Answer::at_top_level(status))
}

/// `operator rotate`: one command adds a key; from its revision on, everything new is sealed with it.
pub fn rotate(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        act.core.rotate_data_key(ring_of(act.namespace), &[]).await?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// When the key is rotated by itself.
pub fn settings(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let settings = AutoRotation::of(call.work.opened(), ring_of(call.work.namespace()))?;
    let interval = match settings.interval {
        0 => json!(0),
        millis => Value::String(go_duration(millis / 1000)),
    };
    Ok(Answer::data(object(json!({
        "enabled": settings.enabled,
        "max_operations": settings.max_operations,
        "interval": interval,
    }))))
}

/// Changes when the key is rotated by itself; what is not named stays.
pub fn change_settings(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let mut settings = AutoRotation::of(call.work.opened(), ring_of(call.work.namespace()))?;
    if let Some(enabled) = fields.bool("enabled")? {
        settings.enabled = enabled;
    }
    if let Some(operations) = fields.int("max_operations")? {
        let range = AutoRotation::OPERATIONS;
        settings.max_operations = u64::try_from(operations)
            .ok()
            .filter(|operations| range.contains(operations))
            .ok_or_else(|| {
                Error::invalid(format!(
                    "max_operations must be in the range [{},{}]",
                    range.start(),
                    range.end()
                ))
            })?;
    }
    if let Some(interval) = fields.duration("interval")? {
        if interval > 0 && interval < AutoRotation::SHORTEST {
            return Err(Error::invalid("interval must be greater or equal to 24h0m0s"));
        }
        settings.interval = interval;
    }
    call.work.config.get(AutoRotation::ROW)?;
    call.work
        .config
        .put(AutoRotation::ROW, encode_record(&settings)?)?;
    Ok(Answer::empty())
}

/// As Go prints a duration of at least an hour.
fn go_duration(seconds: u64) -> String {
    format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
