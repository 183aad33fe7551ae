//! Finding tokens by id or accessor, and what may be said of them.

use serde_json::{Map, Value, json};

use conclave_engine_api::{Millis, Stored};

use crate::catalog::decode_record;
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::tokens::{TokenRecord, accessor_name, name_of};
use crate::work::Work;

/// A stored token and where it is.
pub struct Found {
    /// Name of its row.
    pub name: String,
    /// The token.
    pub record: TokenRecord,
    /// Its row.
    pub row: Stored,
}

/// The live token whose row is called `name`.
pub fn by_name(work: &mut Work<'_>, name: &str, now: Millis) -> Result<Option<Found>, Error> {
    let Some(row) = work.tokens.get(name)? else {
        return Ok(None);
    };
    let record: TokenRecord = decode_record(&row.value)?;
    if record.is_expired(now) {
        return Ok(None);
    }
    Ok(Some(Found {
        name: name.to_owned(),
        record,
        row,
    }))
}

/// The live token `id`.
pub fn by_id(work: &mut Work<'_>, id: &str, now: Millis) -> Result<Option<Found>, Error> {
    let name = name_of(work.opened().barrier(), id);
    by_name(work, &name, now)
}

/// The live token with this accessor.
pub fn by_accessor(work: &mut Work<'_>, accessor: &str, now: Millis) -> Result<Option<Found>, Error> {
    let entry = accessor_name(work.opened().barrier(), accessor);
    let Some(row) = work.accessors.get(&entry)? else {
        return Ok(None);
    };
    let name: String = decode_record(&row.value)?;
    by_name(work, &name, now)
}

/// What `token lookup` says. `id` is shown only to who has shown it.
pub fn describe(work: &Work<'_>, found: &Found, id: &str, now: Millis) -> Result<Map<String, Value>, Error> {
    let record = &found.record;
    let uses = work.opened().space(crate::tokens::USES).counter(&found.name)?;
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("accessor", json!(record.accessor));
    put("creation_time", json!(record.created / 1000));
    put("creation_ttl", json!(record.creation_ttl / 1000));
    put("display_name", json!(record.display_name));
    put("entity_id", json!(""));
    put(
        "expire_time",
        if record.expires == 0 {
            Value::Null
        } else {
            json!(rfc3339(record.expires))
        },
    );
    put("explicit_max_ttl", json!(record.explicit_max_ttl / 1000));
    put("id", json!(id));
    if !record.is_born_root() {
        put("issue_time", json!(rfc3339(record.created)));
        put("renewable", json!(record.renewable));
    }
    if record.renewed != 0 {
        put("last_renewal", json!(rfc3339(record.renewed)));
        put("last_renewal_time", json!(record.renewed / 1000));
    }
    put(
        "meta",
        if record.meta.is_empty() {
            Value::Null
        } else {
            json!(record.meta)
        },
    );
    put(
        "num_uses",
        json!(uses.filter(|_| record.num_uses > 0).unwrap_or(0)),
    );
    put("orphan", json!(record.parent.is_none()));
    put("path", json!(record.path));
    if record.period != 0 {
        put("period", json!(record.period / 1000));
    }
    put("policies", json!(record.policies));
    put("ttl", json!(record.ttl(now).div_ceil(1000)));
    put("type", json!("service"));
    Ok(data)
}
