//! Finding tokens by id or accessor, and what may be said of them.

use serde_json::{Map, Value, json};

use conclave_engine_api::Millis;

use crate::catalog::decode_record;
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::identity::policies_of;
use crate::namespaces::id;
use crate::store::layout::ROOT_NAMESPACE;
use crate::tokens::{TokenKind, TokenRecord, accessor_name, batch, name_of};
use crate::work::Work;

/// A stored token and where it is.
pub struct Found {
    /// Name of its row.
    pub name: String,
    /// The token.
    pub record: TokenRecord,
}

/// The live token whose row is called `name`.
pub fn by_name(work: &mut Work<'_>, name: &str, now: Millis) -> Result<Option<Found>, Error> {
    let Some(row) = work.tokens.get(name)? else {
        return Ok(None);
    };
    let record: TokenRecord = decode_record(&row.value)?;
    // What is asked for at time 0 is to be removed, however it stands.
    if record.is_expired(now) || now > 0 && !record.stands(work.catalog) {
        return Ok(None);
    }
    Ok(Some(Found {
        name: name.to_owned(),
        record,
    }))
}

/// The live token `shown`, if it is of the namespace worked in: nobody reaches into another one by knowing an id.
pub fn by_id(work: &mut Work<'_>, shown: &str, now: Millis) -> Result<Option<Found>, Error> {
    if id::of_shown(shown) != work.namespace() {
        return Ok(None);
    }
    let name = name_of(work.opened().barrier(), shown);
    if batch::is_batch(shown) {
        let record = batch::open(work.opened().barrier(), shown)?;
        let record = record.filter(|record| {
            record.kind == TokenKind::Batch
                && record.namespace == id::of_shown(shown)
                && !record.is_expired(now)
                && record.stands(work.catalog)
        });
        let Some(record) = record else { return Ok(None) };
        if let Some(parent) = &record.parent
            && by_name(work, parent, now)?.is_none()
        {
            return Ok(None);
        }
        return Ok(Some(Found { name, record }));
    }
    by_name(work, &name, now)
}

/// The live token with this accessor, if it is of the namespace worked in.
///
/// # Errors
/// [`Error::OtherNamespace`] for accessors of another one.
pub fn by_accessor(work: &mut Work<'_>, accessor: &str, now: Millis) -> Result<Option<Found>, Error> {
    if id::of_shown(accessor) != work.namespace() {
        return Err(Error::OtherNamespace);
    }
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
    let uses = crate::tokens::uses(work.opened(), &found.name)?;
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("accessor", json!(record.accessor));
    if !record.bound_cidrs.is_empty() {
        put("bound_cidrs", json!(record.bound_cidrs));
    }
    put("creation_time", json!(record.created / 1000));
    put("creation_ttl", json!(record.creation_ttl / 1000));
    put("display_name", json!(record.display_name));
    put("entity_id", json!(record.entity));
    put(
        "expire_time",
        if record.expires == 0 {
            Value::Null
        } else {
            json!(rfc3339(record.expires))
        },
    );
    put("explicit_max_ttl", json!(record.explicit_max_ttl / 1000));
    let identity = policies_of(work.opened(), work.catalog, &record.entity)?;
    if !identity.is_empty() {
        put("external_namespace_policies", json!({}));
        put("identity_policies", json!(identity));
    }
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
    if record.namespace != ROOT_NAMESPACE {
        let node = work.catalog.tree().node(record.namespace);
        put(
            "namespace_path",
            json!(node.map(|node| node.record.path.as_str())),
        );
    }
    put("path", json!(record.path));
    if record.period != 0 {
        put("period", json!(record.period / 1000));
    }
    put("policies", json!(record.policies));
    if !record.role.is_empty() {
        put("role", json!(record.role));
    }
    put("ttl", json!(record.ttl(now).div_ceil(1000)));
    put("type", json!(record.kind.name()));
    Ok(data)
}
