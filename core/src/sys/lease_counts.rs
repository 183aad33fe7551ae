//! `sys/quotas/lease-count`: bounds on how many leases of secrets there are, as Vault has them. What counts is in `leases/`.

use serde_json::json;

use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::leases;
use crate::quota::{LEASE_COUNTS, LeaseCount};
use crate::routes::{Answer, Call};
use crate::sys::object;
use crate::sys::quotas::{check_others, listed, remove, scope};

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
        "role": "",
        "max_leases": rule.max_leases,
        "counter": leases::count(call.work.opened(), &rule.id)?,
        "inheritable": rule.inheritable,
    }))))
}

/// Writes a rule. Leases that were handed out before it are not counted; what it counts stays when it is changed.
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
    if fields.string("role")?.is_some_and(|role| !role.is_empty()) {
        return Err(Error::Unsupported("lease counts for roles".to_owned()));
    }
    let scope = scope(call, &fields.string("path")?.unwrap_or_default())?;
    if scope.within.starts_with("auth/") {
        return Err(Error::Unsupported(
            "lease counts of auth methods: tokens are not counted".to_owned(),
        ));
    }
    let path = scope.path();
    let rules = call.work.catalog.quotas.lease_counts.iter();
    let others = rules.map(|rule| (rule.name.as_str(), rule.path.as_str()));
    check_others((&name, &path), others, "lease counts")?;
    let row = row_of(&name);
    let id = match call.work.config.get(&row)? {
        Some(row) => decode_record::<LeaseCount>(&row.value)?.id,
        None => call.env.hex(ID_BYTES),
    };
    let rule = LeaseCount {
        inheritable: fields.bool("inheritable")?.unwrap_or(path.is_empty()),
        name,
        id,
        path,
        max_leases,
    };
    call.work.config.put(&row, encode_record(&rule)?)?;
    Ok(Answer::empty())
}

/// Removes a rule: what it counted is counted no more.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call.params.get("name"));
    remove(call, &row)
}

fn row_of(name: &str) -> String {
    format!("{LEASE_COUNTS}{name}")
}
