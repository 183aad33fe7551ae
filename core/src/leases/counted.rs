//! Leases and tokens of logins that a quota counts: one more with the command that makes one, one less with the one that removes
//! it, so that the number is never wrong and no two requests can share the last place. It must not know who may make rules.

use conclave_engine_api::{Changes, Write};

use crate::auth::mount_of_owner;
use crate::catalog::{MountRecord, decode_record, encode_record};
use crate::error::Error;
use crate::leases::LeaseRecord;
use crate::namespaces::located;
use crate::quota::{Asked, Rules};
use crate::store::{Draft, Opened, Space, Table};
use crate::tokens::{self, Minted, TokenKind};
use crate::work::Work;

/// How many leases each rule counts, by the rule's id: clear counters.
const COUNTS: Space = Space::root(Table::LeaseCount);

/// The same of tokens that logins made in a namespace: they lie in it, for they end with its tokens when it ends.
const fn logins(namespace: u32) -> Space {
    Space::within(Table::LeaseCount, namespace)
}

/// Counts a lease that is about to be made; the command is refused if its rule allows no more.
pub fn begin(work: &mut Work<'_>, mount: &MountRecord, lease: &mut LeaseRecord) -> Result<(), Error> {
    let above = &work.catalog.namespace().path;
    let path = format!("{above}{}", lease.path);
    let mount = format!("{above}{}", mount.full_path());
    let asked = Asked {
        path: &path,
        mount: Some(&mount),
        role: None,
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

/// Counts a token that a login at `mount`, which names `role`, has just put into `work`; the command is refused if its rule
/// allows no more. The row that ties the token to the mount keeps which rule that was.
pub fn begin_login(
    work: &mut Work<'_>,
    mount: &MountRecord,
    role: Option<&str>,
    minted: &Minted,
) -> Result<(), Error> {
    if minted.record.kind != TokenKind::Service {
        // Stored nowhere, it has no lease and nobody sees its end.
        return Ok(());
    }
    let above = &work.catalog.namespace().path;
    let path = format!("{above}{}", minted.record.path);
    let mount = format!("{above}{}", mount.full_path());
    let asked = Asked {
        path: &path,
        mount: Some(&mount),
        role,
        namespace: above,
    };
    let Some(rule) = work.catalog.quotas.counting_login(&asked).cloned() else {
        return Ok(());
    };
    let owner = minted.record.owner();
    let owner = owner.ok_or_else(|| Error::internal("the token of a login hangs on nothing"))?;
    let name = tokens::name_of(work.opened().barrier(), &minted.id);
    work.children
        .put(&format!("{owner}/{name}"), encode_record(&Some(&rule.id))?)?;
    let counts = logins(work.namespace());
    work.draft.add(counts, &rule.id, 1, i64::MIN, rule.max_leases)
}

/// Counts those no longer that a command ends, by the rows among `children` that it removes. Where no rule counts logins, those
/// that did are gone, and nobody asks for their numbers.
pub fn end_logins(
    draft: &mut Draft<'_>,
    opened: &Opened,
    rules: &Rules,
    children: &Changes,
) -> Result<(), Error> {
    if !rules.counts_logins() {
        return Ok(());
    }
    for (child, write) in &children.writes {
        let owner = child.rsplit_once('/').map_or("", |(owner, _)| owner);
        let Some((namespace, _)) = mount_of_owner(owner).filter(|_| matches!(write, Write::Delete)) else {
            continue;
        };
        let (space, path) = located::place(Table::TokenChild, child);
        let Some(row) = opened.space(space).row(path)? else {
            continue;
        };
        if let Some(id) = decode_record::<Option<String>>(&row.value)? {
            draft.add(logins(namespace), &id, -1, i64::MIN, i64::MAX)?;
        }
    }
    Ok(())
}

/// How many tokens a rule counts that logins made in a namespace.
pub fn count_logins(opened: &Opened, namespace: u32, id: &str) -> Result<i64, Error> {
    Ok(opened.space(logins(namespace)).counter(id)?.unwrap_or(0))
}
