//! What is told of leases: one, and those whose revocation does not get on.

use serde_json::{Map, Value, json};

use conclave_engine_api::Millis;

use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::leases::LeaseRecord;
use crate::leases::tally::waiting;
use crate::store::Opened;
use crate::sys::object;

/// One lease whose revocation does not get on.
pub struct Shown {
    /// Its id.
    pub id: String,
    /// The lease.
    pub record: LeaseRecord,
    /// What was said of the last attempt at it or, if there was none, at another of a target that does not answer.
    pub why: String,
    /// Since when it is to go.
    pub since: Millis,
    /// When it is tried next, if its target answers by then.
    pub next: Millis,
}

/// What `lease lookup` says.
pub fn describe(id: &str, record: &LeaseRecord, now: Millis) -> Map<String, Value> {
    let last_renewal = match record.renewed {
        0 => Value::Null,
        renewed => json!(rfc3339(renewed)),
    };
    let mut told = object(json!({
        "id": id,
        "path": record.path,
        "issue_time": rfc3339(record.issued),
        "expire_time": rfc3339(record.expires),
        "last_renewal": last_renewal,
        "renewable": record.renewable && record.ending.is_none(),
        "ttl": match record.ending {
            Some(_) => 0,
            None => record.expires.saturating_sub(now).div_ceil(1000),
        },
    }));
    if let Some(ending) = &record.ending {
        told.insert("revoking_since".to_owned(), json!(rfc3339(ending.since)));
        told.insert("revoke_attempts".to_owned(), json!(ending.attempts));
        if !ending.error.is_empty() {
            told.insert("revoke_error".to_owned(), json!(ending.error));
        }
    }
    told
}

/// What of a namespace is to be revoked and does not get on, leases and intents of which something may be left; by their ids, at
/// most `limit`. Beside it how many are due and cannot be read.
pub fn stuck(
    opened: &Opened,
    namespace: u32,
    now: Millis,
    limit: usize,
) -> Result<(Vec<Shown>, usize), Error> {
    let (found, unread) = waiting(opened, now)?;
    let mut found: Vec<Shown> = found
        .into_iter()
        .filter(|waiting| waiting.record.namespace == namespace && !waiting.why.is_empty())
        .map(|waiting| Shown {
            id: waiting.id,
            since: match &waiting.record.ending {
                Some(ending) => ending.since,
                None => waiting.deadline,
            },
            record: waiting.record,
            why: waiting.why,
            next: waiting.deadline.max(now),
        })
        .collect();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.truncate(limit);
    let unread = unread.into_iter().filter(|of| *of == namespace).count();
    Ok((found, unread))
}
