//! What is told of leases: one, and those whose revocation does not get on.

use serde_json::{Map, Value, json};

use conclave_engine_api::Millis;
use conclave_raft::Walk;

use crate::catalog::decode_record;
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::leases::LeaseRecord;
use crate::store::layout::{after_prefix, open_key};
use crate::store::{Opened, Space, Table};
use crate::sys::object;

/// One lease whose revocation failed.
pub struct Shown {
    /// Its id.
    pub id: String,
    /// The lease.
    pub record: LeaseRecord,
    /// When it is tried next.
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

/// The ids of all leases of a namespace.
pub fn ids(opened: &Opened, namespace: u32) -> Result<Vec<String>, Error> {
    let keys = keys(opened, Space::within(Table::Lease, namespace))?;
    let opened = keys.iter().map(|key| open_key(opened.barrier(), key));
    opened.map(|opened| opened.map(|(_, id)| id)).collect()
}

fn keys(opened: &Opened, space: Space) -> Result<Vec<bytes::Bytes>, Error> {
    let (from, mut keys) = (space.prefix(), Vec::new());
    let to = after_prefix(&from);
    opened.view().rows().walk(&from, &to, &mut |key| {
        keys.push(bytes::Bytes::copy_from_slice(key));
        Ok(Walk::Next)
    })?;
    Ok(keys)
}

/// Leases of a namespace whose revocation failed at least once and has not succeeded since; at most `limit`.
pub fn stuck(opened: &Opened, namespace: u32, limit: usize) -> Result<Vec<Shown>, Error> {
    let space = Space::within(Table::Lease, namespace);
    let mut found = Vec::new();
    for key in keys(opened, space)? {
        let (_, id) = open_key(opened.barrier(), &key)?;
        let Some(row) = opened.space(space).row(&id)? else {
            continue;
        };
        let record: LeaseRecord = decode_record(&row.value)?;
        if record
            .ending
            .as_ref()
            .is_some_and(|ending| !ending.error.is_empty())
        {
            found.push(Shown {
                id,
                record,
                next: row.deadline.unwrap_or(0),
            });
            if found.len() >= limit {
                break;
            }
        }
    }
    Ok(found)
}
