//! Secret ids of a role: made, looked up, listed by accessor, ended. The id itself is not stored: only its keyed hash.

use std::collections::BTreeMap;

use conclave_engine_api::cidr::{check_blocks, check_cidrs, within};
use conclave_engine_api::outcome::Status;
use conclave_engine_api::{Env, Error, Millis, Outcome, Page, Reply, Request, Txn, format_time};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::auth::approle::role::Role;
use crate::auth::approle::{metadata, no_role, unknown_role};
use crate::record;

/// Format of a secret id's row.
const FORMAT: u8 = 1;
/// Longest secret id that somebody chooses, in bytes.
const MAX_SECRET_BYTES: usize = 4096;
/// Most rows that one step of closing a deleted role removes.
const CLOSE_BATCH: usize = 256;
/// What the original shows for a time that will not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is kept of a secret id, at `secret_id/<role's uid>/<hash>`; the hash again at `accessor/<role's uid>/<accessor>`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretId {
    accessor: String,
    /// Logins left; 0: unlimited.
    num_uses: u64,
    /// Life it was made with; 0: for ever.
    ttl: Millis,
    created: Millis,
    updated: Millis,
    /// 0: never.
    expires: Millis,
    pub metadata: BTreeMap<String, String>,
    /// Networks from which it is good; empty for all.
    pub cidrs: Vec<String>,
    /// Networks from which its tokens are good; empty: as the role says.
    pub token_cidrs: Vec<String>,
}

impl SecretId {
    /// The live secret id with this hash.
    pub(super) fn load(
        txn: &mut Txn<'_>,
        role: &Role,
        hash: &str,
        now: Millis,
    ) -> Result<Option<Self>, Error> {
        let stored = txn.get(&row(role, hash))?;
        let found: Option<Self> = stored.map(|row| record::decode(FORMAT, &row.value)).transpose()?;
        Ok(found.filter(|found| found.expires == 0 || found.expires > now))
    }

    fn store(&self, txn: &mut Txn<'_>, role: &Role, hash: &str) -> Result<(), Error> {
        let deadline = Some(self.expires).filter(|expires| *expires > 0);
        txn.put_due(&row(role, hash), record::encode(FORMAT, self)?, deadline)
    }

    /// Pays for one login: the last use ends it.
    pub(super) fn pay(
        mut self,
        txn: &mut Txn<'_>,
        role: &Role,
        hash: &str,
        now: Millis,
    ) -> Result<(), Error> {
        match self.num_uses {
            0 => Ok(()),
            1 => self.end(txn, role, hash),
            more => {
                self.num_uses = more.saturating_sub(1);
                self.updated = now;
                self.store(txn, role, hash)
            }
        }
    }

    fn end(&self, txn: &mut Txn<'_>, role: &Role, hash: &str) -> Result<(), Error> {
        txn.delete(&row(role, hash))?;
        txn.delete(&accessor_row(role, &self.accessor))
    }

    fn describe(&self) -> Map<String, Value> {
        let expires = match self.expires {
            0 => NEVER.to_owned(),
            expires => format_time(expires),
        };
        let shown = json!({
            "cidr_list": self.cidrs,
            "creation_time": format_time(self.created),
            "expiration_time": expires,
            "last_updated_time": format_time(self.updated),
            "metadata": self.metadata,
            "secret_id_accessor": self.accessor,
            "secret_id_num_uses": self.num_uses,
            "secret_id_ttl": self.ttl / 1000,
            "token_bound_cidrs": self.token_cidrs,
        });
        shown.as_object().cloned().unwrap_or_default()
    }
}

/// `role/:role/secret-id`: a random one.
pub(super) fn generate(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    env: &mut Env<'_>,
    name: &str,
) -> Result<Outcome, Error> {
    let secret = env.uuid();
    make(txn, request, env, name, secret)
}

/// `role/:role/custom-secret-id`: one that the caller chose.
pub(super) fn register(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    env: &mut Env<'_>,
    name: &str,
) -> Result<Outcome, Error> {
    let secret = request.fields().required("secret_id")?;
    if secret.len() > MAX_SECRET_BYTES {
        return Err(Error::invalid(format!(
            "secret_id is longer than {MAX_SECRET_BYTES} bytes"
        )));
    }
    make(txn, request, env, name, secret)
}

fn make(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    env: &mut Env<'_>,
    name: &str,
    secret: String,
) -> Result<Outcome, Error> {
    let Some(role) = Role::load(txn, name)? else {
        return Ok(no_role(name));
    };
    if !role.bind_secret_id {
        return Err(Error::invalid("bind_secret_id is not set on the role"));
    }
    let now = env.now();
    let fields = request.fields();
    let (num_uses, ttl) = (uses(request, &role)?, life(request, &role)?);
    let cidrs = check_blocks(fields.strings("cidr_list")?.unwrap_or_default())?;
    let token_cidrs = check_cidrs(fields.strings("token_bound_cidrs")?.unwrap_or_default())?;
    let outer = role.secret_id_bound_cidrs.as_deref().unwrap_or_default();
    if !within(outer, &cidrs) || !within(&role.token.bound_cidrs, &token_cidrs) {
        return Err(Error::invalid(
            "failed to verify subset relationship between CIDR blocks on the role and CIDR blocks on the secret ID",
        ));
    }
    let made = SecretId {
        accessor: env.uuid(),
        num_uses,
        ttl,
        created: now,
        updated: now,
        expires: if ttl == 0 { 0 } else { now.saturating_add(ttl) },
        metadata: metadata::parse(&fields.string("metadata")?.unwrap_or_default())?,
        cidrs,
        token_cidrs,
    };
    let hash = role.hash(&secret)?;
    if SecretId::load(txn, &role, &hash, now)?.is_some() {
        return Err(Error::invalid(
            "failed to store secret_id: SecretID is already registered",
        ));
    }
    made.store(txn, &role, &hash)?;
    txn.put(
        &accessor_row(&role, &made.accessor),
        record::encode(FORMAT, &hash)?,
    )?;
    Ok(Reply::json(json!({
        "secret_id": secret,
        "secret_id_accessor": made.accessor,
        "secret_id_num_uses": num_uses,
        "secret_id_ttl": ttl / 1000,
    }))
    .into())
}

fn uses(request: &Request<'_>, role: &Role) -> Result<u64, Error> {
    let bound = role.secret_id_num_uses;
    let Some(uses) = request.fields().int("num_uses")? else {
        return Ok(bound);
    };
    let uses = u64::try_from(uses).map_err(|_| Error::invalid("num_uses cannot be negative"))?;
    if bound > 0 && (uses == 0 || uses > bound) {
        return Err(Error::invalid(
            "num_uses cannot be higher than the role's secret_id_num_uses",
        ));
    }
    Ok(uses)
}

/// The life asked for, within the role's; longer than the mount's longest life it is not.
fn life(request: &Request<'_>, role: &Role) -> Result<Millis, Error> {
    let bound = role.secret_id_ttl;
    let ttl = match request.fields().duration("ttl")? {
        None => bound,
        Some(ttl) if bound > 0 && (ttl == 0 || ttl > bound) => {
            return Err(Error::invalid(
                "ttl cannot be longer than the role's secret_id_ttl",
            ));
        }
        Some(ttl) => ttl,
    };
    Ok(ttl.min(request.mount.max_lease_ttl))
}

/// Accessors of the role's secret ids.
pub(super) fn list(txn: &mut Txn<'_>, request: &Request<'_>, name: &str) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(|| unknown_role(name))?;
    Outcome::listing(txn.list(&format!("accessor/{}/", role.uid), &request.fields().page()?)?)
}

/// What a request names: a secret id by itself, or by its accessor.
struct Named {
    role: Role,
    /// Where it lies; `None` if there is no such accessor.
    hash: Option<String>,
    accessor: Option<String>,
}

impl Named {
    fn of(txn: &mut Txn<'_>, request: &Request<'_>, name: &str, what: &str) -> Result<Self, Error> {
        let by_accessor = what.starts_with("secret-id-accessor");
        let shown = request.fields().required(if by_accessor {
            "secret_id_accessor"
        } else {
            "secret_id"
        })?;
        let role = Role::load(txn, name)?.ok_or_else(|| unknown_role(name))?;
        let hash = match by_accessor {
            true => hash_of_accessor(txn, &role, &shown)?,
            false => Some(role.hash(&shown)?),
        };
        let accessor = by_accessor.then_some(shown);
        Ok(Self { role, hash, accessor })
    }

    fn load(&self, txn: &mut Txn<'_>, now: Millis) -> Result<Option<SecretId>, Error> {
        match &self.hash {
            Some(hash) => SecretId::load(txn, &self.role, hash, now),
            None => Ok(None),
        }
    }
}

/// What is known of a secret id, found by itself or by its accessor.
pub(super) fn lookup(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    env: &Env<'_>,
    name: &str,
    what: &str,
) -> Result<Outcome, Error> {
    let named = Named::of(txn, request, name, what)?;
    Ok(match (named.load(txn, env.now())?, named.accessor) {
        (Some(found), _) => Reply::data(found.describe()).into(),
        (None, Some(accessor)) => Outcome::Reply(Reply {
            status: Status::NotFoundWithBody,
            ..Reply::json(json!({ "error": no_accessor(&accessor) }))
        }),
        (None, None) => Reply::empty().into(),
    })
}

/// Ends a secret id, found by itself or by its accessor.
pub(super) fn destroy(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    name: &str,
    what: &str,
) -> Result<Outcome, Error> {
    let named = Named::of(txn, request, name, what)?;
    if let (None, Some(accessor)) = (&named.hash, &named.accessor) {
        return Err(Error::invalid(no_accessor(accessor)));
    }
    // What has ended and not yet been removed may go as well.
    if let (Some(found), Some(hash)) = (named.load(txn, 0)?, &named.hash) {
        found.end(txn, &named.role, hash)?;
    }
    Ok(Reply::empty().into())
}

fn hash_of_accessor(txn: &mut Txn<'_>, role: &Role, accessor: &str) -> Result<Option<String>, Error> {
    // Accessors are UUIDs: any other text names none, and must not become a path of its own.
    let is_uuid = accessor.len() == 36 && accessor.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
    if !is_uuid {
        return Ok(None);
    }
    let stored = txn.get(&accessor_row(role, accessor))?;
    stored.map(|row| record::decode(FORMAT, &row.value)).transpose()
}

fn no_accessor(accessor: &str) -> String {
    format!("failed to find accessor entry for secret_id_accessor: {accessor:?}")
}

/// A secret id's time has come.
pub(super) fn expire(txn: &mut Txn<'_>, path: &str, now: Millis) -> Result<(), Error> {
    let Some(stored) = txn.get(path)? else {
        return Ok(());
    };
    let found: SecretId = record::decode(FORMAT, &stored.value)?;
    if found.expires > now {
        return Ok(());
    }
    let uid = path.split('/').nth(1).unwrap_or_default();
    txn.delete(path)?;
    txn.delete(&format!("accessor/{uid}/{}", found.accessor))
}

/// One step of removing what a deleted role leaves; the last one removes the row at `path` that asked for it.
pub(super) fn close(txn: &mut Txn<'_>, path: &str, uid: &str) -> Result<(), Error> {
    txn.get(path)?;
    let page = Page {
        limit: Some(CLOSE_BATCH),
        ..Page::default()
    };
    let mut left = false;
    for dir in [format!("secret_id/{uid}/"), format!("accessor/{uid}/")] {
        let names = txn.list(&dir, &page)?;
        left |= names.len() >= CLOSE_BATCH;
        for name in names {
            // Read first: a row that falls due takes its entry in the index along.
            txn.get(&format!("{dir}{name}"))?;
            txn.delete(&format!("{dir}{name}"))?;
        }
    }
    if !left {
        txn.delete(path)?;
    }
    Ok(())
}

fn row(role: &Role, hash: &str) -> String {
    format!("secret_id/{}/{hash}", role.uid)
}

fn accessor_row(role: &Role, accessor: &str) -> String {
    format!("accessor/{}/{accessor}", role.uid)
}
