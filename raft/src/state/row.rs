//! How rows, due entries and the applied record are stored: versioned bytes, the same in every store.
//! This file must not know which store holds them.
//!
//! Row: `format u8 | kind u8 | revision u64 | generation u64 | term u32 | deadline u64 | value`.
//! Due entry, as a key: `queue u64 | deadline u64 | key`. Integers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::wire::Reader;
use crate::command::Millis;
use crate::error::Error;
use crate::state::{Applied, DueEntry, Row};

/// Format of stored rows.
const ROW_FORMAT: u8 = 1;
/// Bytes before a row's value.
const ROW_HEADER: usize = 30;
/// Format of the applied record.
const APPLIED_FORMAT: u16 = 1;

/// Encodes a row for a store.
pub(crate) fn encode_row(row: &Row) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROW_HEADER + row.value.len());
    out.put_u8(ROW_FORMAT);
    out.put_u8(row.kind);
    out.put_u64(row.revision);
    out.put_u64(row.generation);
    out.put_u32(row.term);
    out.put_u64(row.deadline);
    out.put_slice(&row.value);
    out
}

/// Decodes what `encode_row` wrote; the value shares `bytes`.
pub(crate) fn decode_row(bytes: &Bytes) -> Result<Row, Error> {
    let mut reader = Reader::new(bytes, "row");
    let format = reader.u8()?;
    if format != ROW_FORMAT {
        return Err(Error::UnknownFormat {
            what: "row",
            format: u32::from(format),
        });
    }
    Ok(Row {
        kind: reader.u8()?,
        revision: reader.u64()?,
        generation: reader.u64()?,
        term: reader.u32()?,
        deadline: reader.u64()?,
        value: reader.remaining(),
    })
}

/// The due index's key for an entry; byte order is queue, deadline, key.
pub(crate) fn encode_due(entry: &DueEntry) -> Bytes {
    let mut out = BytesMut::with_capacity(16 + entry.key.len());
    out.put_slice(&due_prefix(entry.queue, entry.deadline));
    out.put_slice(&entry.key);
    out.freeze()
}

/// The first possible due key of a queue and deadline.
pub(crate) fn due_prefix(queue: u64, deadline: Millis) -> [u8; 16] {
    ((u128::from(queue) << 64) | u128::from(deadline)).to_be_bytes()
}

/// Decodes what `encode_due` wrote; the key shares `bytes`.
pub(crate) fn decode_due(bytes: &Bytes) -> Result<DueEntry, Error> {
    let mut reader = Reader::new(bytes, "due entry");
    Ok(DueEntry {
        queue: reader.u64()?,
        deadline: reader.u64()?,
        key: reader.remaining(),
    })
}

/// Encodes how far the log is applied, with the membership as of there.
pub(crate) fn encode_applied(applied: &Applied, membership: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(40 + membership.len());
    out.put_u16(APPLIED_FORMAT);
    out.put_u64(applied.index);
    out.put_u64(applied.term);
    out.put_u64(applied.revision);
    out.put_u64(applied.cluster_time);
    out.put_u32(applied.min_term);
    out.put_u16(applied.cluster_version);
    out.put_slice(membership);
    out.freeze()
}

/// Decodes what `encode_applied` wrote.
pub(crate) fn decode_applied(bytes: &Bytes) -> Result<(Applied, Bytes), Error> {
    let mut reader = Reader::new(bytes, "applied record");
    reader.format(APPLIED_FORMAT)?;
    let applied = Applied {
        index: reader.u64()?,
        term: reader.u64()?,
        revision: reader.u64()?,
        cluster_time: reader.u64()?,
        min_term: reader.u32()?,
        cluster_version: reader.u16()?,
    };
    Ok((applied, reader.remaining()))
}
