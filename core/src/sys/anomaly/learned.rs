//! `sys/anomaly/baseline` and `sys/anomaly/dormant`: what the leader learned of usual access.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;

use super::not_found;
use crate::anomaly::{Question, Told, key_of_identity};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::{Act, Answer};
use crate::sys::object;

/// Days of silence unless somebody says otherwise.
const SILENT_DAYS: u64 = 30;
/// Most days of silence that can be asked for.
const MAX_DAYS: u64 = 3650;
const DAY: u64 = 86_400_000;

/// `GET sys/anomaly/baseline`: how much is known.
pub fn status(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let Told::Status(status, node) = act.core.ask_watch(Question::Status).await? else {
            return Err(unexpected());
        };
        Ok(Answer::data(object(json!({
            "identities": status.identities,
            "identities_learned": status.learned,
            "identities_active": status.active,
            "networks": status.networks,
            "pair_sketch_load": (status.pair_load * 1000.0).round() / 1000.0,
            "leader": node.to_string(),
        }))))
    }
    .boxed()
}

/// `GET sys/anomaly/baseline/:entity`: what is usual for an entity.
pub fn baseline(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let session = act.core.seal.session()?;
        let (opened, _) = session.view(act.core.seal.replica()?.view()?)?;
        let who = key_of_identity(&opened, act.params.get("entity"));
        let Told::Identity(known) = act.core.ask_watch(Question::Identity(who)).await? else {
            return Err(unexpected());
        };
        let known = known.ok_or_else(not_found)?;
        Ok(Answer::data(object(json!({
            "first_seen": rfc3339(known.first_seen),
            "last_seen": rfc3339(known.last_seen),
            "days_seen": known.days_seen,
            "learned": known.learned,
            "most_in_a_window": {
                "requests": known.most_requests,
                "different_secrets": known.most_secrets,
                "refused": known.most_refused,
                "directories_listed": known.most_directories,
            },
            "most_different_secrets_in_a_day": known.most_secrets_in_a_day,
            "usual_requests_at_this_hour": known.requests_at_this_hour,
            "hours_of_working_days": known.hours,
            "hours_of_weekends": known.weekend_hours,
            "networks": known.networks,
        }))))
    }
    .boxed()
}

/// `GET sys/anomaly/dormant`: identities that were silent for so many days.
pub fn dormant(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let days = act.fields().count("days")?.unwrap_or(SILENT_DAYS);
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(Error::invalid(format!("days must be between 1 and {MAX_DAYS}")));
        }
        let before = act.core.seal.now().saturating_sub(days * DAY);
        let Told::Silent(silent) = act.core.ask_watch(Question::Silent(before)).await? else {
            return Err(unexpected());
        };
        let silent = silent
            .into_iter()
            .map(|(name, last)| json!({"identity": name, "last_seen": rfc3339(last)}));
        Ok(Answer::data(object(
            json!({"days": days, "identities": silent.collect::<Vec<_>>()}),
        )))
    }
    .boxed()
}

fn unexpected() -> Error {
    Error::internal("the leader answered another question")
}
