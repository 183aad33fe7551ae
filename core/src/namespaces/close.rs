//! Ending a namespace. One command marks it as ending: from then on no request reaches it and its tokens are good for
//! nothing. What is kept in it is removed in batches, by whoever finds the closing row, until nothing is left.

use conclave_engine_api::Millis;
use conclave_raft::{Op, Walk};

use crate::catalog::encode_record;
use crate::error::Error;
use crate::leases;
use crate::namespaces::{NamespaceRecord, row_of};
use crate::store::layout::after_prefix;
use crate::store::{EXPIRY_QUEUE, Space, Table};
use crate::work::Work;

/// What the names of closing rows of namespaces begin with; a token's is hexadecimal.
pub(crate) const CLOSING_PREFIX: &str = "namespace-";
/// Most rows one batch removes.
const BATCH: usize = 512;
/// When a closing row falls due: at once.
const AT_ONCE: u64 = 1;
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
    let row = row_of(record.number);
    let closing = NamespaceRecord {
        closing: true,
        ..record.clone()
    };
    work.cluster.get(&row)?;
    work.cluster.put(&row, encode_record(&closing)?)?;
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
    if has_rows(work, Table::Lease, number)? || has_rows(work, Table::Intent, number)? {
        leases::close_prefix(work, number, "", false)?;
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
                queue: EXPIRY_QUEUE,
                deadline: row.deadline,
                key: key.clone(),
            });
        }
        work.draft.op(Op::Delete { key: key.clone() });
    }
    if !keys.is_empty() {
        return Ok(false);
    }
    work.cluster.delete(&row_of(number))?;
    work.closing.delete(name)?;
    Ok(true)
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
