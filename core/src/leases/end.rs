//! Beginning the end of leases: one, all of a token, all beneath a prefix. The account goes later, by the leader; the row says
//! from here on that it must, and that nothing can keep it.

use conclave_engine_api::{Millis, Page};
use conclave_raft::Walk;

use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::leases::{Ending, IntentRecord, LeaseRecord, OWNED, edit, intended, leased, queue_of, random_of};
use crate::leases::{counted, owned};
use crate::namespaces::located;
use crate::store::layout::{after_prefix, open_key};
use crate::store::{Opened, Space, Table};
use crate::work::{Left, Work};

/// Most leases one batch begins to end.
const BATCH: usize = 256;
/// What names of closing rows begin with that close leases and not tokens.
const CLOSES: &str = "leases";
/// The same, for those that go whatever the target says.
const FORCES: &str = "forced";
/// When a closing row falls due: at once.
const AT_ONCE: Millis = 1;
/// When a lease or an intent falls due that is forced: before all others of its target. What is due by then is forced.
pub const FORCED: Millis = 1;

/// Marks one lease as ending and due now. Whether there is one.
pub fn mark(work: &mut Work<'_>, id: &str, now: Millis, force: bool) -> Result<bool, Error> {
    if !super::is_id(id) {
        return Ok(false);
    }
    let Some(row) = work.opened().space(leased(id)).row(id)? else {
        return Ok(false);
    };
    let mut record: LeaseRecord = decode_record(&row.value)?;
    let due_before = row.deadline.unwrap_or(Millis::MAX);
    if record.ending.as_ref().is_some_and(|ending| ending.force >= force) && due_before <= now {
        return Ok(true);
    }
    record.begin_end(now, force);
    put(
        work,
        id,
        &record,
        if force { FORCED } else { now.min(due_before) },
    )?;
    Ok(true)
}

/// Writes a lease back, due at `deadline`.
pub fn put(work: &mut Work<'_>, id: &str, record: &LeaseRecord, deadline: Millis) -> Result<(), Error> {
    let queue = queue_of(work.opened().barrier(), record.mount, &record.target);
    let value = encode_record(record)?;
    edit(work, leased(id), queue, |txn| {
        txn.get(id)?;
        Ok(txn.put_due(id, value, Some(deadline))?)
    })
}

/// Removes the row of a lease or an intent, and the one that ties it to its owner.
pub fn remove(work: &mut Work<'_>, space: Space, id: &str, record: &LeaseRecord) -> Result<(), Error> {
    let queue = queue_of(work.opened().barrier(), record.mount, &record.target);
    edit(work, space, queue, |txn| {
        txn.get(id)?;
        Ok(txn.delete(id)?)
    })?;
    counted::end(work, record)?;
    match &record.owner {
        Some(owner) => {
            let name = format!("{owner}/{}", random_of(id));
            edit(work, OWNED, queue, |txn| Ok(txn.delete(&name)?))
        }
        None => Ok(()),
    }
}

/// Begins the end of up to a batch of what a token owns. What is in a sealed namespace is left, and nothing waits behind it.
pub fn end_of_owner(work: &mut Work<'_>, owner: &str, now: Millis) -> Result<Left, Error> {
    let owned = work.opened().space(OWNED);
    let names = owned.names(&format!("{owner}/"), &Page::default())?;
    let (mut left, mut ended) = (Left::Nothing, 0);
    for name in &names {
        let name = format!("{owner}/{name}");
        let Some(row) = owned.row(&name)? else { continue };
        let Some(id) = owned::open(work.opened(), &row.value)? else {
            left = Left::Sealed;
            continue;
        };
        if ended == BATCH {
            return Ok(Left::More);
        }
        ended += 1;
        // One in the making cannot become a lease any more: its owner is gone, and it is swept.
        mark(work, &id, now, false)?;
        edit(work, OWNED, 0, |txn| {
            txn.get(&name)?;
            Ok(txn.delete(&name)?)
        })?;
    }
    Ok(left)
}

/// Has all leases beneath a path of a namespace end: a row that stays until all of them are marked. Its name.
pub fn close_prefix(work: &mut Work<'_>, namespace: u32, prefix: &str, force: bool) -> Result<String, Error> {
    let kind = if force { FORCES } else { CLOSES };
    let name = match prefix.trim_matches('/') {
        "" => kind.to_owned(),
        prefix => format!("{kind}/{prefix}"),
    };
    let name = located::locate(namespace, &name);
    work.closing
        .put_due(&name, encode_record(&None::<String>)?, Some(AT_ONCE))?;
    Ok(name)
}

/// What a closing row of this name closes: leases beneath a prefix.
pub fn closes(name: &str) -> Option<Closes<'_>> {
    let (namespace, name) = located::split(name);
    let (kind, prefix) = name.split_once('/').unwrap_or((name, ""));
    let force = match kind {
        CLOSES => false,
        FORCES => true,
        _ => return None,
    };
    Some(Closes {
        namespace,
        prefix,
        force,
    })
}

/// Leases that are to end.
#[derive(Debug, Clone, Copy)]
pub struct Closes<'n> {
    /// Where.
    pub namespace: u32,
    /// Beneath what.
    pub prefix: &'n str,
    /// Whatever the target says.
    pub force: bool,
}

/// Begins the end of up to a batch of the leases beneath a prefix, going on behind `cursor`, which it moves. Whether none is
/// left.
pub fn end_of_prefix(
    work: &mut Work<'_>,
    closes: Closes<'_>,
    cursor: &mut Option<String>,
    now: Millis,
) -> Result<bool, Error> {
    // What is left of an intent is among what can be stuck, so it can be forced too.
    let tables: &[Table] = match closes.force {
        true => &[Table::Lease, Table::Intent],
        false => &[Table::Lease],
    };
    let behind = cursor.as_ref().and_then(|cursor| hex::decode(cursor).ok());
    let mut room = BATCH;
    for table in tables {
        let keys = beneath(work.opened(), *table, closes, behind.as_deref(), room)?;
        for key in &keys {
            let (_, id) = open_key(work.opened().barrier(), key)?;
            match table {
                Table::Intent => force_intent(work, &id, now)?,
                _ => drop(mark(work, &id, now, closes.force)?),
            }
        }
        if let Some(last) = keys.last() {
            *cursor = Some(hex::encode(last));
        }
        room -= keys.len();
        if room == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Up to `limit` keys of a table beneath the prefix and behind `behind`.
fn beneath(
    opened: &Opened,
    table: Table,
    closes: Closes<'_>,
    behind: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Vec<u8>>, Error> {
    let space = Space::within(table, closes.namespace);
    let beneath = match closes.prefix {
        "" => space.prefix(),
        prefix => opened.key(space, prefix)?.to_vec(),
    };
    let to = after_prefix(&beneath);
    let from = match behind {
        Some(behind) if behind >= beneath.as_slice() => [behind, &[0]].concat(),
        _ => beneath,
    };
    let mut keys = Vec::new();
    if from >= to {
        return Ok(keys);
    }
    opened.view().rows().walk(&from, &to, &mut |key| {
        keys.push(key.to_vec());
        Ok(if keys.len() < limit { Walk::Next } else { Walk::End })
    })?;
    Ok(keys)
}

/// What is left of an intent goes with its next attempt, whatever the target says. One in the making is let be, and so is one
/// whose account was dropped: it is there for what may come late.
fn force_intent(work: &mut Work<'_>, id: &str, now: Millis) -> Result<(), Error> {
    let Some(row) = work.opened().space(intended(id)).row(id)? else {
        return Ok(());
    };
    let mut intent: IntentRecord = decode_record(&row.value)?;
    let failed = intent.lease.ending.as_ref().is_some_and(Ending::failed);
    let waits = intent.sweeps == 0 && row.deadline.is_some_and(|deadline| deadline <= now);
    if !failed && !waits {
        return Ok(());
    }
    intent.lease.begin_end(now, true);
    let queue = queue_of(work.opened().barrier(), intent.lease.mount, &intent.lease.target);
    let value = encode_record(&intent)?;
    edit(work, intended(id), queue, |txn| {
        txn.get(id)?;
        Ok(txn.put_due(id, value, Some(FORCED))?)
    })
}
