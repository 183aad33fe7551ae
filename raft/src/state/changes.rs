//! The change log: for each revision, which rows the command changed. Feeds watch and replication to others.
//! This file must not know what the rows mean.
//!
//! Change set: `format u8 | (op u8 | kind u8 | key length u16 | key)*`, integers big-endian.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::MAX_KEY;
use crate::codec::wire::{Reader, put_short_bytes};
use crate::command::Key;
use crate::error::Error;
use crate::state::View;

/// Most change sets in one answer.
pub const MAX_CHANGES: usize = 4096;
const CHANGES_FORMAT: u8 = 1;

/// What one command changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    /// The command's revision.
    pub revision: u64,
    /// Its changes, in order; empty for a command that changed no row.
    pub changes: Vec<RowChange>,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// How it changed.
    pub op: ChangeOp,
    /// The row's kind, before the change when it was deleted.
    pub kind: u8,
    /// The row.
    pub key: Key,
}

/// How a row changed. `Rewrap` makes no change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOp {
    /// It was written.
    Put,
    /// It was removed.
    Delete,
    /// Its revision moved.
    Touch,
    /// Its counter moved.
    Add,
}

/// An answer to "what changed since".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// What followed, oldest first, without a gap.
    Sets(Vec<ChangeSet>),
    /// Something that followed is no longer kept: list again, then watch from the view's revision.
    Compacted,
}

impl View {
    /// Up to `limit` (at most `MAX_CHANGES`) change sets with revisions above `after`.
    ///
    /// # Errors
    /// The store's own, and `Error::Corrupt` for a change set that does not decode.
    pub fn changes(&self, after: u64, limit: usize) -> Result<Changes, Error> {
        let revision = self.applied().revision;
        if after >= revision {
            return Ok(Changes::Sets(Vec::new()));
        }
        let from = after.saturating_add(1);
        let wanted = revision.saturating_sub(after).min(limit.min(MAX_CHANGES) as u64);
        let found = self
            .rows()
            .change_sets(from, usize::try_from(wanted).unwrap_or(MAX_CHANGES))?;
        let mut sets = Vec::with_capacity(found.len());
        for (expected, (revision, bytes)) in (from..).zip(&found) {
            if expected != *revision {
                return Ok(Changes::Compacted);
            }
            sets.push(ChangeSet {
                revision: *revision,
                changes: decode_changes(bytes)?,
            });
        }
        match sets.len() as u64 == wanted {
            true => Ok(Changes::Sets(sets)),
            false => Ok(Changes::Compacted),
        }
    }
}

/// Encodes the changes of one command. Keys are at most `MAX_KEY` long, which every decoded command ensures.
pub(crate) fn encode_changes(changes: &[RowChange]) -> Result<Bytes, Error> {
    let size: usize = changes.iter().map(|change| 4 + change.key.len()).sum();
    let mut out = BytesMut::with_capacity(1 + size);
    out.put_u8(CHANGES_FORMAT);
    for change in changes {
        out.put_u8(match change.op {
            ChangeOp::Put => 1,
            ChangeOp::Delete => 2,
            ChangeOp::Touch => 3,
            ChangeOp::Add => 4,
        });
        out.put_u8(change.kind);
        put_short_bytes(&mut out, &change.key)?;
    }
    Ok(out.freeze())
}

fn decode_changes(bytes: &Bytes) -> Result<Vec<RowChange>, Error> {
    let mut reader = Reader::new(bytes, "change set");
    let format = reader.u8()?;
    if format != CHANGES_FORMAT {
        return Err(Error::UnknownFormat {
            what: "change set",
            format: u32::from(format),
        });
    }
    let mut changes = Vec::new();
    while !reader.is_empty() {
        let op = match reader.u8()? {
            1 => ChangeOp::Put,
            2 => ChangeOp::Delete,
            3 => ChangeOp::Touch,
            4 => ChangeOp::Add,
            other => return Err(reader.corrupt(format!("change {other} is unknown"))),
        };
        changes.push(RowChange {
            op,
            kind: reader.u8()?,
            key: reader.short_bytes(MAX_KEY)?,
        });
    }
    Ok(changes)
}
