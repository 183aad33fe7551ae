//! `sys/quotas/lease-count`: bounds on how many leases of secrets there are, or tokens that logins made, as Vault has them. What
//! counts is in `leases/`.

use serde_json::json;

use crate::catalog::{Category, decode_record, encode_record};
use crate::error::Error;
use crate::leases;
use crate::namespaces::namespace_of;
use crate::quota::{LEASE_COUNTS, LeaseCount};
use crate::routes::{Answer, Call};
use crate::sys::object;
use crate::sys::quotas::{Scope, check_others, listed, remove, role, scope};

/// Longest name in bytes.
const MAX_NAME: usize = 1024;
/// Bytes of the id that leases are counted under.
const ID_BYTES: usize = 16;

/// `LIST sys/quotas/lease-count`.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let rules = &call.work.catalog.quotas.lease_counts;
    listed(call, rules.iter().map(|rule| rule.name.as_str()))
}

/// One, and how many leases it counts now.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = call.work.config.get(&row_of(call.params.get("name")))?;
    let row = row.ok_or(Error::NotFound { warnings: Vec::new() })?;
    let rule: LeaseCount = decode_record(&row.value)?;
    Ok(Answer::data(object(json!({
        "type": "lease-count",
        "name": rule.name,
        "path": rule.path,
        "role": rule.role,
        "max_leases": rule.max_leases,
        "counter": count(call, &rule)?,
        "inheritable": rule.inheritable,
    }))))
}

fn count(call: &Call<'_, '_>, rule: &LeaseCount) -> Result<i64, Error> {
    let opened = call.work.opened();
    if !rule.logins {
        return leases::count(opened, &rule.id);
    }
    let (node, _) = namespace_of(call.work.catalog, &rule.path)?;
    leases::count_logins(opened, node.record.number, &rule.id)
}

/// Writes a rule. Leases that were handed out before it are not counted; what it counts stays when it is changed, unless it is
/// for something else from then on.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("name").to_owned();
    let fields = call.fields();
    let max_leases = fields.int("max_leases")?.unwrap_or(0);
    if max_leases < 1 {
        return Err(Error::invalid("'max_leases' must be a positive number"));
    }
    if name.len() > MAX_NAME {
        return Err(Error::invalid("name is too long"));
    }
    let scope = scope(call, &fields.string("path")?.unwrap_or_default())?;
    let (path, role) = (scope.path(), role(call, &scope)?);
    let logins = counts_logins(call, &scope)?;
    let rules = call.work.catalog.quotas.lease_counts.iter();
    let others = rules.map(|rule| (rule.name.as_str(), rule.path.as_str(), rule.role.as_str()));
    check_others((&name, &path, &role), others, "lease counts")?;
    let row = row_of(&name);
    let before = call.work.config.get(&row)?;
    let before: Option<LeaseCount> = before.map(|row| decode_record(&row.value)).transpose()?;
    let id = match before.filter(|rule| rule.path == path && rule.role == role) {
        Some(rule) => rule.id,
        None => call.env.hex(ID_BYTES),
    };
    let rule = LeaseCount {
        inheritable: fields.bool("inheritable")?.unwrap_or(path.is_empty()),
        name,
        id,
        path,
        role,
        logins,
        max_leases,
    };
    call.work.config.put(&row, encode_record(&rule)?)?;
    Ok(Answer::empty())
}

/// Whether a rule for this is about the tokens of logins. Those that other tokens make have no login.
fn counts_logins(call: &Call<'_, '_>, scope: &Scope) -> Result<bool, Error> {
    let mount = scope.mount.as_ref();
    let Some(mount) = mount.filter(|mount| mount.category == Category::Auth) else {
        return Ok(false);
    };
    match call.core.engine_of(mount) {
        Some(_) => Ok(true),
        None => Err(Error::Unsupported(
            "lease counts of this auth method: tokens are not counted that no login made".to_owned(),
        )),
    }
}

/// Removes a rule: what it counted is counted no more.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call.params.get("name"));
    remove(call, &row)
}

fn row_of(name: &str) -> String {
    format!("{LEASE_COUNTS}{name}")
}
