//! Roles: `roles/NAME`. The tags of a user, and what it may do in which virtual hosts and exchanges.

use std::collections::BTreeMap;

use conclave_engine_api::{Error, Fields, Outcome, Reply, Request, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record;

const FORMAT: u8 = 1;
/// Where roles lie.
pub(super) const DIRECTORY: &str = "role/";
/// Longest text of a field in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Most permissions of one role: each is a request to the broker.
const MAX_PERMISSIONS: usize = 50;

/// What may be done in one virtual host: regular expressions over names of resources; an empty one names none.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Permission {
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// What may be done at one exchange: regular expressions over routing keys.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TopicPermission {
    pub write: String,
    pub read: String,
}

/// A role as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    /// Between commas.
    pub tags: String,
    /// By virtual host.
    pub vhosts: BTreeMap<String, Permission>,
    /// By virtual host and exchange.
    pub vhost_topics: BTreeMap<String, BTreeMap<String, TopicPermission>>,
}

fn row(name: &str) -> String {
    format!("{DIRECTORY}{name}")
}

impl Role {
    pub fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, &row(name))
    }
}

/// `write roles/NAME`: what is not given is as if it had never been, as in Vault.
pub(super) fn write(txn: &mut Txn<'_>, name: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let tags = text(&fields, "tags")?;
    let (vhosts, vhost_topics) = (text(&fields, "vhosts")?, text(&fields, "vhost_topics")?);
    if tags.is_empty() && vhosts.is_empty() {
        return Err(Error::invalid("both tags and vhosts not specified"));
    }
    let role = Role {
        tags,
        vhosts: unmarshaled("vhosts", &vhosts)?,
        vhost_topics: unmarshaled("vhost_topics", &vhost_topics)?,
    };
    check(&role)?;
    txn.put(&row(name), record::encode(FORMAT, &role)?)?;
    Ok(Reply::empty().into())
}

fn text(fields: &Fields<'_>, name: &str) -> Result<String, Error> {
    let text = fields.string(name)?.unwrap_or_default();
    match text.len() > MAX_TEXT {
        true => Err(Error::TooLarge(format!("{name} is longer than {MAX_TEXT} bytes"))),
        false => Ok(text),
    }
}

/// What a field holds as JSON. A word that means nothing is an error: a permission that is misspelt is one that is missing.
fn unmarshaled<T: DeserializeOwned + Default>(name: &str, text: &str) -> Result<T, Error> {
    if text.is_empty() {
        return Ok(T::default());
    }
    let read: Result<Option<T>, _> = serde_json::from_str(text);
    let wrong = |error| Error::invalid(format!("failed to unmarshal {name}: {error}"));
    read.map(Option::unwrap_or_default).map_err(wrong)
}

/// Whether the broker can be asked for it at all; what regular expressions it takes it says itself.
fn check(role: &Role) -> Result<(), Error> {
    let topics: usize = role.vhost_topics.values().map(BTreeMap::len).sum();
    if role.vhosts.len() + topics > MAX_PERMISSIONS {
        return Err(Error::TooLarge(format!(
            "a role may hold {MAX_PERMISSIONS} permissions"
        )));
    }
    for vhost in role.vhosts.keys().chain(role.vhost_topics.keys()) {
        // In a URL they would stand for something else.
        if matches!(vhost.as_str(), "" | "." | "..") {
            return Err(Error::invalid(format!("{vhost:?} cannot be a virtual host")));
        }
    }
    match role.tags.chars().any(char::is_control) {
        true => Err(Error::invalid("tags holds what no tag holds")),
        false => Ok(()),
    }
}

/// `read roles/NAME`.
pub(super) fn read(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(Error::not_found)?;
    Ok(Reply::json(json!({
        "tags": role.tags,
        "vhosts": role.vhosts,
        "vhost_topics": role.vhost_topics,
    }))
    .into())
}

/// `delete roles/NAME`. Users of it are dropped with their leases.
pub(super) fn delete(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    txn.delete(&row(name))?;
    Ok(Reply::empty().into())
}
