//! `sys/internal/counters`: how many tokens and entities there are, in all namespaces whose keys are here.

use serde_json::json;

use crate::error::Error;
use crate::identity::count_entities;
use crate::routes::{Answer, Call};
use crate::store::layout::ROOT_NAMESPACE;
use crate::sys::object;
use crate::tokens;

/// `GET sys/internal/counters/tokens`.
pub fn tokens(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let mut total = 0;
    for node in call.work.catalog.tree().open_beneath(ROOT_NAMESPACE) {
        total += tokens::names(call.work.opened(), node.record.number)?.len();
    }
    Ok(counters("service_tokens", total))
}

/// `GET sys/internal/counters/entities`.
pub fn entities(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let catalog = &call.work.catalog;
    let mut total = 0;
    for node in catalog.tree().open_beneath(ROOT_NAMESPACE) {
        if node.record.closing {
            continue;
        }
        total += count_entities(call.work.opened(), &catalog.of(node.record.number)?)?;
    }
    Ok(counters("entities", total))
}

/// `GET sys/internal/counters/requests`: gone upstream, and in its words.
pub fn requests(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::Missing(
        "The functionality has been removed on this path".to_owned(),
    ))
}

fn counters(name: &str, total: usize) -> Answer {
    Answer::data(object(json!({"counters": {name: {"total": total}}})))
}
