//! Ending a namespace. One command marks it as ending: from then on no request reaches it and its tokens are good for
//! nothing. What is kept in it is removed in batches, by whoever finds the closing row, until nothing is left.

use conclave_engine_api::Millis;
use conclave_raft::{Op, Walk};

use crate::catalog::encode_record;
use crate::error::Error;
use crate::leases;
use crate::namespaces::{NamespaceRecord, seals_made_of, stored};
use crate::seal::ring_rows;
use crate::store::layout::{RING, after_prefix, owner_of, ring_of, ring_prefix};
use crate::store::{Opened, Space, Table, expiry_queue};
use crate::work::Work;

/// What the names of closing rows of namespaces begin with; a token's is hexadecimal.
pub(crate) const CLOSING_PREFIX: &str = "namespace-";
/// Most rows one batch removes.
const BATCH: usize = 512;
/// When a closing row falls due: at once.
const AT_ONCE: u64 = 1;
/// Between two looks at whether the keys of the namespace are here in which one lies that is ending.
const SEALED_PAUSE: Millis = 60_000;
/// Between two looks at whether an ending namespace's leases are gone.
const LEASES_PAUSE: Millis = 1_000;
/// Bytes of a key before the mount's number: what all rows of a table and namespace begin with.
const NAMESPACE_BYTES: usize = 8;
/// Where a key says its table.
const TABLE_BYTE: usize = 1;
/// Tables a namespace may have rows in, those of later versions among them: what is left would stay for ever.
const TABLES: std::ops::RangeInclusive<u8> = 0x11..=0x7f;

/// Marks a namespace as ending, and leaves a closing row for what is in it.
pub(crate) fn close(work: &mut Work<'_>, record: &NamespaceRecord) -> Result<(), Error> {
    let closing = NamespaceRecord {
        closing: true,
        ..record.clone()
    };
    stored::put(work, &closing)?;
    let name = format!("{CLOSING_PREFIX}{}", record.number);
    work.closing.put_due(&name, encode_record(&())?, Some(AT_ONCE))?;
    Ok(())
}

/// Removes a batch of what is in an ending namespace, and the namespace itself once nothing is left. Leases go first: what
/// they stand for outside can only be taken away while their mount is known. Whether there is nothing more to do for now.
pub(crate) fn close_step(work: &mut Work<'_>, name: &str, now: Millis) -> Result<bool, Error> {
    let number = name
        .strip_prefix(CLOSING_PREFIX)
        .and_then(|text| text.parse().ok());
    let number: u32 = number.ok_or_else(|| Error::internal("a closing row names no namespace"))?;
    if work.closing.get(name)?.is_none() {
        return Ok(true);
    }
    let Some(node) = work.catalog.tree().node(number) else {
        // It lies in a namespace whose keys are not here: it goes on when they are.
        let later = Some(now.saturating_add(SEALED_PAUSE));
        work.closing.put_due(name, encode_record(&())?, later)?;
        return Ok(true);
    };
    let (record, is_sealed) = (node.record.clone(), node.is_sealed());
    if record.wiped {
        return wipe_step(work, &record, name);
    }
    if has_rows(work, Table::Lease, number)? || has_rows(work, Table::Intent, number)? {
        if !is_sealed {
            leases::close_prefix(work, number, "", false)?;
        }
        let later = Some(now.saturating_add(LEASES_PAUSE));
        work.closing.put_due(name, encode_record(&())?, later)?;
        return Ok(true);
    }
    let opened = work.opened();
    let mut keys = Vec::new();
    for table in TABLES {
        let mut from = Space::within(Table::Config, number).prefix();
        from.truncate(NAMESPACE_BYTES);
        if let Some(byte) = from.get_mut(TABLE_BYTE) {
            *byte = table;
        }
        let to = after_prefix(&from);
        opened.view().rows().walk(&from, &to, &mut |key| {
            keys.push(conclave_raft::Key::copy_from_slice(key));
            Ok(if keys.len() < BATCH { Walk::Next } else { Walk::End })
        })?;
        if keys.len() >= BATCH {
            break;
        }
    }
    for key in &keys {
        let Some(row) = opened.view().rows().get(key)? else {
            continue;
        };
        if row.deadline > 0 {
            work.draft.op(Op::DueDelete {
                queue: expiry_queue(ring_of(number)),
                deadline: row.deadline,
                key: key.clone(),
            });
        }
        work.draft.op(Op::Delete { key: key.clone() });
    }
    if !keys.is_empty() {
        return Ok(false);
    }
    forget(work, &record, name)?;
    Ok(true)
}

/// Removes the namespace itself, with the keys that were its own.
fn forget(work: &mut Work<'_>, record: &NamespaceRecord, name: &str) -> Result<(), Error> {
    if record.is_sealable() {
        for op in ring_rows::drop_ring(record.ring()) {
            work.draft.op(op);
        }
    }
    let made = seals_made_of(record.number);
    if work.cluster.get(&made)?.is_some() {
        work.cluster.delete(&made)?;
    }
    stored::delete(work, record)?;
    Ok(work.closing.delete(name)?)
}

fn has_rows(work: &Work<'_>, table: Table, number: u32) -> Result<bool, Error> {
    let from = Space::within(table, number).prefix();
    let to = after_prefix(&from);
    let mut found = false;
    work.opened().view().rows().walk(&from, &to, &mut |_| {
        found = true;
        Ok(Walk::End)
    })?;
    Ok(found)
}

/// Whether a ring holds leases, or leases in the making: what they stand for outside can only be taken away with its keys.
pub(crate) fn has_leases(opened: &Opened, ring: u16) -> Result<bool, Error> {
    for table in [Table::Lease, Table::Intent] {
        if any_key(opened, &ring_prefix(table as u8, ring))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a sealed ring holds rows of another namespace than its owner.
pub(crate) fn has_children(opened: &Opened, ring: u16) -> Result<bool, Error> {
    let from = Space::within(Table::Config, owner_of(ring).saturating_add(1)).prefix();
    let to = after_prefix(&ring_prefix(Table::Config as u8, ring));
    let nested = ring_rows::numbers(opened.view())?.into_iter().map(|other| {
        let row = ring_rows::ring(opened.view(), other)?;
        Ok(row.is_some_and(|(row, _)| row.parent == ring))
    });
    let nested: Vec<bool> = nested.collect::<Result<_, Error>>()?;
    Ok(nested.contains(&true) || any_between(opened, &from, &to)?)
}

fn any_key(opened: &Opened, prefix: &[u8]) -> Result<bool, Error> {
    any_between(opened, prefix, &after_prefix(prefix))
}

fn any_between(opened: &Opened, from: &[u8], to: &[u8]) -> Result<bool, Error> {
    let mut found = false;
    opened.view().rows().walk(from, to, &mut |_| {
        found = true;
        Ok(Walk::End)
    })?;
    Ok(found)
}

/// Removes a batch of what the rings of a sealed namespace have sealed, without opening any of it; then the rings and the
/// namespace. Whether there is nothing more to do.
fn wipe_step(work: &mut Work<'_>, record: &NamespaceRecord, name: &str) -> Result<bool, Error> {
    let opened = work.opened();
    let rings = crate::seal::with_nested(opened.view(), record.ring())?;
    for ring in rings.iter().copied().filter(|ring| *ring != RING) {
        let mut keys = dangling(opened, ring)?;
        for table in TABLES {
            let from = ring_prefix(table, ring);
            opened
                .view()
                .rows()
                .walk(&from, &after_prefix(&from), &mut |key| {
                    if keys.len() < BATCH {
                        keys.push((None, conclave_raft::Key::copy_from_slice(key)));
                    }
                    Ok(if keys.len() < BATCH { Walk::Next } else { Walk::End })
                })?;
        }
        if keys.is_empty() {
            continue;
        }
        for (due, key) in keys {
            let due = match (due, opened.view().rows().get(&key)?) {
                (Some(due), _) => Some(due),
                (None, Some(row)) if row.deadline > 0 => Some((expiry_queue(ring), row.deadline)),
                (None, _) => None,
            };
            if let Some((queue, deadline)) = due {
                work.draft.op(Op::DueDelete {
                    queue,
                    deadline,
                    key: key.clone(),
                });
            }
            work.draft.op(Op::Delete { key });
        }
        return Ok(false);
    }
    for ring in rings.into_iter().filter(|ring| *ring != record.ring()) {
        for op in ring_rows::drop_ring(ring) {
            work.draft.op(op);
        }
    }
    forget(work, record, name)?;
    Ok(true)
}

/// A row and where it waits in the due index, if that is known.
type Waiting = (Option<(u64, Millis)>, conclave_raft::Key);

/// A batch of the leases of a sealed ring: their queues are known by the due index alone.
fn dangling(opened: &Opened, ring: u16) -> Result<Vec<Waiting>, Error> {
    let mut found = Vec::new();
    if !has_leases(opened, ring)? {
        return Ok(found);
    }
    let prefixes = [Table::Lease, Table::Intent].map(|table| ring_prefix(table as u8, ring));
    opened.view().rows().scan_due(&mut |entry| {
        if prefixes.iter().any(|prefix| entry.key.starts_with(prefix)) {
            found.push((Some((entry.queue, entry.deadline)), entry.key));
        }
        Ok(found.len() < BATCH)
    })?;
    Ok(found)
}
