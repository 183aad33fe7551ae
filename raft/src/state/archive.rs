//! The whole logical state of one view as a stream of bytes, for operators' backups: rows outside replication's own
//! tables and the due index. It holds neither register nor membership, which belong to a cluster and not to its state.
//! This file must not know how the stream is stored, signed or replicated.
//!
//! Head: `"CONCLAVE" | format u16 | revision u64 | cluster_time u64 | min_term u32 | cluster_version u16 | crc32 u32`.
//! Rows, in order of their keys: `1 | key length u16 | key | row length u32 | row`, each; then an end.
//! Due entries, in order: `2 | length u16 | entry`, each; then an end. An end is `0 | count u64 | crc32 u32`, its
//! checksum over the section's records. Integers are big-endian; a state has one encoding.

use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{MAX_KEY, MAX_VALUE};
use crate::command::{Key, Millis};
use crate::error::Error;
use crate::state::register::RESERVED_TABLE;
use crate::state::row::{decode_due, decode_row, encode_due, encode_row};
use crate::state::staging::STAGING_TABLE;
use crate::state::{Applied, DueEntry, Row, View};

/// Greatest archive in bytes: it is adopted in one write of the state store, which holds all of it in memory.
pub const MAX_ARCHIVE: u64 = 1 << 30;
/// Greatest revision an archive may carry, so that counting on from it never ends.
const MAX_REVISION: u64 = 1 << 62;
/// Format that this build writes, and the only one it reads.
pub const ARCHIVE_FORMAT: u16 = 1;

const WHAT: &str = "archive of the state";
const MAGIC: &[u8; 8] = b"CONCLAVE";
const HEAD_BYTES: usize = 32;
const END: u8 = 0;
const ROW: u8 = 1;
const DUE: u8 = 2;
/// Longest stored row: a value and the header before it.
const MAX_ROW: usize = MAX_VALUE + 64;
/// Longest due entry: queue, deadline and key.
const MAX_DUE: usize = MAX_KEY + 16;

/// What an archive says of the view it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveHead {
    /// Revision of the view.
    pub revision: u64,
    /// The cluster's clock then.
    pub cluster_time: Millis,
    /// Least accepted data-key term then.
    pub min_term: u32,
    /// Cluster version then.
    pub cluster_version: u16,
}

/// How much an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArchiveCounts {
    /// Rows.
    pub rows: u64,
    /// Due entries.
    pub due: u64,
}

/// One thing in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveItem {
    /// A row as it was stored.
    Row(Key, Row),
    /// An entry of the due index.
    Due(DueEntry),
}

/// Writes the archive of a view. The same view gives the same bytes.
///
/// # Errors
/// `Error::Limit` above `MAX_ARCHIVE`, `Error::Storage` when `out` fails, and the store's own.
pub fn write_archive(view: &View, out: &mut dyn Write) -> Result<ArchiveCounts, Error> {
    let mut writer = Writer {
        out,
        written: 0,
        crc: crc32fast::Hasher::new(),
    };
    writer.head(&view.applied())?;
    let mut counts = ArchiveCounts::default();
    let mut record = BytesMut::new();
    view.rows().scan(&[], None, &mut |key, row| {
        if is_own(key) {
            return Ok(true);
        }
        let row = encode_row(&row);
        record.clear();
        record.put_u8(ROW);
        put_length(&mut record, key.len(), MAX_KEY)?;
        record.put_slice(key);
        record.put_u32(u32::try_from(row.len()).map_err(|_| Error::Limit("length of a row"))?);
        record.put_slice(&row);
        counts.rows += 1;
        writer.record(&record)?;
        Ok(true)
    })?;
    writer.end(counts.rows)?;
    view.rows().scan_due(&mut |entry| {
        if is_own(&entry.key) {
            return Ok(true);
        }
        let entry = encode_due(&entry);
        record.clear();
        record.put_u8(DUE);
        put_length(&mut record, entry.len(), MAX_DUE)?;
        record.put_slice(&entry);
        counts.due += 1;
        writer.record(&record)?;
        Ok(true)
    })?;
    writer.end(counts.due)?;
    Ok(counts)
}

/// Reads an archive, given in pieces of any size, and shows each item to `visit` in order. Items share the pieces.
///
/// # Errors
/// `Error::UnknownFormat` for another format, `Error::Corrupt` for anything that `write_archive` does not write,
/// `Error::Limit` above `MAX_ARCHIVE`, and those of `pieces` and `visit`.
pub fn read_archive(
    pieces: &mut dyn FnMut() -> Result<Option<Bytes>, Error>,
    visit: &mut dyn FnMut(ArchiveItem) -> Result<(), Error>,
) -> Result<(ArchiveHead, ArchiveCounts), Error> {
    let mut reader = ArchiveReader {
        pieces,
        rest: Bytes::new(),
        taken: 0,
        crc: crc32fast::Hasher::new(),
    };
    let head = reader.head()?;
    let mut before = Bytes::new();
    let rows = reader.section(ROW, &mut |reader| {
        let key = reader.short(MAX_KEY)?;
        let row = decode_row(&reader.long(MAX_ROW)?)?;
        if key.len() < 2 || is_own(&key) {
            return Err(corrupt("a key that no backup holds"));
        }
        if row.revision > head.revision || row.generation > head.revision {
            return Err(corrupt("a row newer than the state"));
        }
        in_order(&mut before, &key)?;
        visit(ArchiveItem::Row(key, row))
    })?;
    before = Bytes::new();
    let due = reader.section(DUE, &mut |reader| {
        let bytes = reader.short(MAX_DUE)?;
        let entry = decode_due(&bytes)?;
        if is_own(&entry.key) {
            return Err(corrupt("a due entry that no backup holds"));
        }
        in_order(&mut before, &bytes)?;
        visit(ArchiveItem::Due(entry))
    })?;
    reader.finish()?;
    Ok((head, ArchiveCounts { rows, due }))
}

/// Whether a key belongs to replication itself: its register, or chunks on their way in.
fn is_own(key: &[u8]) -> bool {
    matches!(key.get(1), Some(&(RESERVED_TABLE | STAGING_TABLE)))
}

fn in_order(before: &mut Bytes, key: &Bytes) -> Result<(), Error> {
    if !before.is_empty() && *before >= *key {
        return Err(corrupt("records out of order"));
    }
    *before = key.clone();
    Ok(())
}

fn corrupt(detail: impl Into<String>) -> Error {
    Error::Corrupt {
        what: WHAT,
        detail: detail.into(),
    }
}

fn put_length(out: &mut BytesMut, length: usize, max: usize) -> Result<(), Error> {
    match u16::try_from(length) {
        Ok(short) if length <= max => out.put_u16(short),
        _ => return Err(Error::Limit("length of a key")),
    }
    Ok(())
}

struct Writer<'w> {
    out: &'w mut dyn Write,
    written: u64,
    crc: crc32fast::Hasher,
}

impl Writer<'_> {
    fn head(&mut self, applied: &Applied) -> Result<(), Error> {
        let mut head = BytesMut::with_capacity(HEAD_BYTES + 4);
        head.put_slice(MAGIC);
        head.put_u16(ARCHIVE_FORMAT);
        head.put_u64(applied.revision);
        head.put_u64(applied.cluster_time);
        head.put_u32(applied.min_term);
        head.put_u16(applied.cluster_version);
        head.put_u32(crc32fast::hash(&head));
        self.write(&head)
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.crc.update(bytes);
        self.write(bytes)
    }

    fn end(&mut self, count: u64) -> Result<(), Error> {
        let crc = std::mem::take(&mut self.crc).finalize();
        let mut end = BytesMut::with_capacity(13);
        end.put_u8(END);
        end.put_u64(count);
        end.put_u32(crc);
        self.write(&end)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written > MAX_ARCHIVE {
            return Err(Error::Limit("size of an archive of the state: 1 GiB"));
        }
        self.out
            .write_all(bytes)
            .map_err(|error| Error::Storage(error.to_string()))
    }
}

struct ArchiveReader<'r> {
    pieces: &'r mut dyn FnMut() -> Result<Option<Bytes>, Error>,
    rest: Bytes,
    taken: u64,
    crc: crc32fast::Hasher,
}

impl<'r> ArchiveReader<'r> {
    fn head(&mut self) -> Result<ArchiveHead, Error> {
        let bytes = self.take(HEAD_BYTES)?;
        let crc = self.number(4)?;
        let mut reader = crate::codec::wire::Reader::new(&bytes, WHAT);
        if reader.array::<8>()? != *MAGIC {
            return Err(corrupt("it does not begin as one"));
        }
        // Before the checksum: another format may place it elsewhere.
        reader.format(ARCHIVE_FORMAT)?;
        if u64::from(crc32fast::hash(&bytes)) != crc {
            return Err(corrupt("the checksum of its head does not match"));
        }
        let head = ArchiveHead {
            revision: reader.u64()?,
            cluster_time: reader.u64()?,
            min_term: reader.u32()?,
            cluster_version: reader.u16()?,
        };
        reader.finish()?;
        if head.revision > MAX_REVISION {
            return Err(corrupt("its revision is out of bounds"));
        }
        Ok(head)
    }

    /// Reads records of one kind up to their end, and counts them.
    fn section(
        &mut self,
        kind: u8,
        record: &mut dyn FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        self.crc = crc32fast::Hasher::new();
        let mut count = 0;
        loop {
            let before = self.crc.clone();
            match self.number(1)? {
                tag if tag == u64::from(kind) => record(self)?,
                tag if tag == u64::from(END) => {
                    if self.number(8)? != count {
                        return Err(corrupt("a section holds another number of records than it says"));
                    }
                    if self.number(4)? != u64::from(before.finalize()) {
                        return Err(corrupt("the checksum of a section does not match"));
                    }
                    return Ok(count);
                }
                tag => return Err(corrupt(format!("record {tag} is unknown here"))),
            }
            count += 1;
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        while self.rest.is_empty() {
            match (self.pieces)()? {
                None => return Ok(()),
                Some(piece) => self.rest = piece,
            }
        }
        Err(corrupt("something follows its end"))
    }

    fn short(&mut self, max: usize) -> Result<Bytes, Error> {
        let length = self.number(2)?;
        self.bytes(length, max)
    }

    fn long(&mut self, max: usize) -> Result<Bytes, Error> {
        let length = self.number(4)?;
        self.bytes(length, max)
    }

    fn bytes(&mut self, length: u64, max: usize) -> Result<Bytes, Error> {
        match usize::try_from(length) {
            Ok(length) if length <= max => self.take(length),
            _ => Err(corrupt(format!("a length of {length} is above {max}"))),
        }
    }

    /// A big-endian number of at most eight bytes.
    fn number(&mut self, width: usize) -> Result<u64, Error> {
        let bytes = self.take(width)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Error> {
        self.taken = self.taken.saturating_add(length as u64);
        if self.taken > MAX_ARCHIVE {
            return Err(Error::Limit("size of an archive of the state: 1 GiB"));
        }
        while self.rest.len() < length {
            let Some(piece) = (self.pieces)()? else {
                return Err(corrupt("it ends early"));
            };
            if self.rest.is_empty() {
                self.rest = piece;
            } else {
                // A record across pieces: copied once, with the piece it ends in.
                let mut joined = BytesMut::with_capacity(self.rest.len() + piece.len());
                joined.put_slice(&self.rest);
                joined.put_slice(&piece);
                self.rest = joined.freeze();
            }
        }
        let taken = self.rest.split_to(length);
        self.crc.update(&taken);
        Ok(taken)
    }
}
