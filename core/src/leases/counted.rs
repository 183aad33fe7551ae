//! Leases that a quota counts: one more with the command that begins a lease, one less with the one that removes it, so that
//! the number is never wrong and no two requests can share the last place. It must not know who may make rules.

use crate::catalog::MountRecord;
use crate::error::Error;
use crate::leases::LeaseRecord;
use crate::quota::Asked;
use crate::store::{Opened, Space, Table};
use crate::work::Work;

/// How many leases each rule counts, by the rule's id: clear counters.
const COUNTS: Space = Space::root(Table::LeaseCount);

/// Counts a lease that is about to be made; the command is refused if its rule allows no more.
pub fn begin(work: &mut Work<'_>, mount: &MountRecord, lease: &mut LeaseRecord) -> Result<(), Error> {
    let above = &work.catalog.namespace().path;
    let path = format!("{above}{}", lease.path);
    let mount = format!("{above}{}", mount.full_path());
    let asked = Asked {
        path: &path,
        mount: Some(&mount),
        namespace: above,
    };
    let Some(rule) = work.catalog.quotas.counting(&asked).cloned() else {
        return Ok(());
    };
    lease.counted = Some(rule.id.clone());
    work.draft.add(COUNTS, &rule.id, 1, i64::MIN, rule.max_leases)
}

/// Counts one that goes no longer.
pub fn end(work: &mut Work<'_>, lease: &LeaseRecord) -> Result<(), Error> {
    match &lease.counted {
        Some(id) => work.draft.add(COUNTS, id, -1, i64::MIN, i64::MAX),
        None => Ok(()),
    }
}

/// How many leases a rule counts.
pub fn count(opened: &Opened, id: &str) -> Result<i64, Error> {
    Ok(opened.space(COUNTS).counter(id)?.unwrap_or(0))
}
