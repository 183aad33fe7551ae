//! A store in memory, for simulations and tests; a checkpoint is one file. This file must not know RocksDB.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::RwLock;

use crate::codec::wire::{Reader, put_long_bytes};
use crate::codec::{MAX_KEY, MAX_VALUE};
use crate::command::{Key, Millis};
use crate::error::Error;
use crate::state::cow::CowMap;
use crate::state::register::RESERVED_TABLE;
use crate::state::row::{
    decode_applied, decode_due, decode_row, due_prefix, encode_applied, encode_due, encode_row,
};
use crate::state::{Applied, DueEntry, KeyVisitor, Row, RowVisitor, Snapshot, Store, Walk, WriteSet};

/// The one file of a checkpoint.
const CHECKPOINT_FILE: &str = "state.bin";
/// Longest field of a checkpoint, in bytes: a row with its header, or a change set of many keys.
const MAX_FIELD: usize = 64 << 20;
const CHECKPOINT_FORMAT: u16 = 1;

/// Holds everything in memory; nothing survives the process but checkpoints.
pub struct MemoryStore {
    content: RwLock<Content>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            content: RwLock::new(Content::new()),
        }
    }
}

/// A cheap copy of everything, and so a snapshot.
#[derive(Clone)]
struct Content {
    rows: CowMap<Row>,
    due: CowMap<()>,
    changes: CowMap<Bytes>,
    applied: Applied,
    membership: Bytes,
}

impl Store for MemoryStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error> {
        Ok(Arc::new(self.content.read().clone()))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Row>, Error> {
        self.content.read().get(key)
    }

    fn write(&self, set: WriteSet) -> Result<(), Error> {
        let mut content = self.content.write();
        if set.replaces {
            content.clear();
        }
        for (key, row) in set.rows {
            match row {
                // Copied, for both share the buffer of a whole batch.
                Some(row) => content.rows.insert(
                    Bytes::copy_from_slice(&key),
                    Row {
                        value: Bytes::copy_from_slice(&row.value),
                        ..row
                    },
                ),
                None => content.rows.remove(&key),
            }
        }
        for (entry, put) in set.due {
            let key = encode_due(&entry);
            if put {
                content.due.insert(key, ());
            } else {
                content.due.remove(&key);
            }
        }
        if let Some(range) = set.trim_changes {
            content.trim(&range);
        }
        for (revision, changes) in set.changes {
            content
                .changes
                .insert(Bytes::copy_from_slice(&revision.to_be_bytes()), changes);
        }
        content.applied = set.applied;
        content.membership = set.membership;
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        let bytes = self.content.read().clone().encode()?;
        fs::create_dir(dir).map_err(storage)?;
        let mut file = File::create_new(dir.join(CHECKPOINT_FILE)).map_err(storage)?;
        file.write_all(&bytes).map_err(storage)?;
        file.sync_all().map_err(storage)
    }

    fn inspect(&self, dir: &Path) -> Result<(Applied, Bytes), Error> {
        read_checkpoint(dir)?.applied()
    }

    fn install(&self, dir: &Path) -> Result<(), Error> {
        *self.content.write() = read_checkpoint(dir)?;
        Ok(())
    }
}

impl Snapshot for Content {
    fn get(&self, key: &[u8]) -> Result<Option<Row>, Error> {
        Ok(self.rows.get(key).cloned())
    }

    fn walk(&self, from: &[u8], to: &[u8], visit: &mut KeyVisitor<'_>) -> Result<(), Error> {
        let mut keys = self.rows.from(from);
        while let Some((key, _)) = keys.next().filter(|(key, _)| key.as_ref() < to) {
            match visit(key)? {
                Walk::Next => {}
                Walk::Skip(next) => keys = self.rows.from(&next),
                Walk::End => break,
            }
        }
        Ok(())
    }

    fn count(&self, from: &[u8], to: &[u8]) -> Result<u64, Error> {
        let keys = self.rows.from(from).take_while(|(key, _)| key.as_ref() < to);
        Ok(u64::try_from(keys.count()).unwrap_or(u64::MAX))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, visit: &mut RowVisitor<'_>) -> Result<(), Error> {
        for (key, row) in self.rows.from(from) {
            if to.is_some_and(|to| key.as_ref() >= to) || !visit(key, row.clone())? {
                break;
            }
        }
        Ok(())
    }

    fn due_from(
        &self,
        queue: u64,
        from: Millis,
        until: Millis,
        limit: usize,
    ) -> Result<Vec<(Millis, Key)>, Error> {
        let mut found = Vec::new();
        for (key, ()) in self.due.from(&due_prefix(queue, from)).take(limit) {
            let entry = decode_due(key)?;
            if entry.queue != queue || entry.deadline > until {
                break;
            }
            found.push((entry.deadline, entry.key));
        }
        Ok(found)
    }

    fn queues(&self, after: Option<u64>, limit: usize) -> Result<Vec<u64>, Error> {
        let mut found = Vec::new();
        let mut next = after.map_or(Some(0), |queue| queue.checked_add(1));
        while let Some(from) = next.filter(|_| found.len() < limit) {
            let Some((key, ())) = self.due.from(&due_prefix(from, 0)).next() else {
                break;
            };
            let queue = decode_due(key)?.queue;
            found.push(queue);
            next = queue.checked_add(1);
        }
        Ok(found)
    }

    fn scan_due(&self, visit: &mut dyn FnMut(DueEntry) -> Result<bool, Error>) -> Result<(), Error> {
        for (key, ()) in self.due.from(&[]) {
            if !visit(decode_due(key)?)? {
                break;
            }
        }
        Ok(())
    }

    fn change_sets(&self, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        let sets = self.changes.from(&from.to_be_bytes()).take(limit);
        Ok(sets
            .map(|(key, set)| {
                (
                    key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)),
                    set.clone(),
                )
            })
            .collect())
    }

    fn applied(&self) -> Result<(Applied, Bytes), Error> {
        Ok((self.applied, self.membership.clone()))
    }
}

impl Content {
    fn new() -> Self {
        Self {
            rows: CowMap::new(),
            due: CowMap::new(),
            changes: CowMap::new(),
            applied: Applied::initial(),
            membership: Bytes::new(),
        }
    }

    /// Removes everything but the register.
    fn clear(&mut self) {
        let mut rows = CowMap::new();
        for (key, row) in self.rows.from(&[]) {
            if key.get(1) == Some(&RESERVED_TABLE) {
                rows.insert(key.clone(), row.clone());
            }
        }
        (self.rows, self.due, self.changes) = (rows, CowMap::new(), CowMap::new());
    }

    /// Removes the change sets of these revisions. There may be far fewer than the range is long.
    fn trim(&mut self, range: &Range<u64>) {
        let (from, to) = (range.start.to_be_bytes(), range.end.to_be_bytes());
        let found = self.changes.from(&from).map(|(key, _)| key.clone());
        let found: Vec<Bytes> = found.take_while(|key| key.as_ref() < to.as_slice()).collect();
        for key in found {
            self.changes.remove(&key);
        }
    }

    /// `format u16 | crc32 u32 | body`; the body is the applied record, then rows, due keys and change sets, each list
    /// with a u64 count and each field with a u32 length.
    fn encode(&self) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        put_long_bytes(&mut body, &encode_applied(&self.applied, &self.membership))?;
        body.put_u64(self.rows.from(&[]).count() as u64);
        for (key, row) in self.rows.from(&[]) {
            put_long_bytes(&mut body, key)?;
            put_long_bytes(&mut body, &encode_row(row))?;
        }
        body.put_u64(self.due.from(&[]).count() as u64);
        for (key, ()) in self.due.from(&[]) {
            put_long_bytes(&mut body, key)?;
        }
        body.put_u64(self.changes.from(&[]).count() as u64);
        for (key, set) in self.changes.from(&[]) {
            put_long_bytes(&mut body, key)?;
            put_long_bytes(&mut body, set)?;
        }
        let mut out = BytesMut::with_capacity(6 + body.len());
        out.put_u16(CHECKPOINT_FORMAT);
        out.put_u32(crc32fast::hash(&body));
        out.put_slice(&body);
        Ok(out.freeze())
    }

    fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "checkpoint");
        reader.format(CHECKPOINT_FORMAT)?;
        let crc = reader.u32()?;
        let body = reader.remaining();
        let mut reader = Reader::new(&body, "checkpoint");
        if crc32fast::hash(&body) != crc {
            return Err(reader.corrupt("the checksum does not match".to_owned()));
        }
        let mut content = Self::new();
        (content.applied, content.membership) = decode_applied(&reader.long_bytes(MAX_FIELD)?)?;
        for _ in 0..reader.u64()? {
            let key = reader.long_bytes(MAX_KEY)?;
            content
                .rows
                .insert(key, decode_row(&reader.long_bytes(MAX_VALUE + 64)?)?);
        }
        for _ in 0..reader.u64()? {
            content.due.insert(reader.long_bytes(MAX_KEY + 16)?, ());
        }
        for _ in 0..reader.u64()? {
            let key = reader.long_bytes(8)?;
            content.changes.insert(key, reader.long_bytes(MAX_FIELD)?);
        }
        reader.finish()?;
        Ok(content)
    }
}

fn read_checkpoint(dir: &Path) -> Result<Content, Error> {
    let mut bytes = Vec::new();
    let mut file = File::open(dir.join(CHECKPOINT_FILE)).map_err(storage)?;
    file.read_to_end(&mut bytes).map_err(storage)?;
    Content::decode(&Bytes::from(bytes))
}

fn storage(error: std::io::Error) -> Error {
    Error::Storage(error.to_string())
}
