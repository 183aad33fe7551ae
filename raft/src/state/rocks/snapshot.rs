//! An owned snapshot of the state database: it keeps the database it was taken from open. This file must not know
//! how databases replace one another.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, SnapshotWithThreadMode};
use self_cell::self_cell;

use super::options::{CHANGES, DUE, META, ROWS, storage};
use super::{APPLIED, Instance};
use crate::command::{Key, Millis};
use crate::error::Error;
use crate::state::row::{decode_applied, decode_due, decode_row, due_prefix};
use crate::state::{Applied, DueEntry, KeyVisitor, Row, RowVisitor, Snapshot, Walk};

/// A key and its value.
type Item<'i> = (&'i [u8], &'i [u8]);
type Borrowed<'a> = SnapshotWithThreadMode<'a, DB>;

self_cell!(
    /// A RocksDB snapshot together with the database it borrows from.
    pub(super) struct RocksSnapshot {
        owner: Arc<Instance>,
        #[covariant]
        dependent: Borrowed,
    }
);

/// Whether what a range reads is kept in memory for the next.
#[derive(PartialEq, Eq)]
enum Read {
    /// Requests read it.
    Often,
    /// It is all there is: it would drive out what requests read, and stay.
    Once,
}

impl RocksSnapshot {
    pub fn take(instance: Arc<Instance>) -> Self {
        Self::new(instance, |instance| instance.db.snapshot())
    }

    fn get_in(&self, family: &'static str, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let family = self.borrow_owner().family(family)?;
        let found = self
            .borrow_dependent()
            .get_pinned_cf_opt(family, key, ReadOptions::default());
        Ok(found
            .map_err(storage)?
            .map(|value| Bytes::copy_from_slice(&value)))
    }

    /// An iterator over `from..to`, standing on its first entry.
    fn range(
        &self,
        family: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
        read: Read,
    ) -> Result<DBRawIterator<'_>, Error> {
        let family: &ColumnFamily = self.borrow_owner().family(family)?;
        let mut options = ReadOptions::default();
        options.fill_cache(read == Read::Often);
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let mut iterator = self.borrow_dependent().raw_iterator_cf_opt(family, options);
        iterator.seek(from);
        Ok(iterator)
    }
}

impl Snapshot for RocksSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Row>, Error> {
        self.get_in(ROWS, key)?
            .map(|bytes| decode_row(&bytes))
            .transpose()
    }

    fn walk(&self, from: &[u8], to: &[u8], visit: &mut KeyVisitor<'_>) -> Result<(), Error> {
        let mut iterator = self.range(ROWS, from, Some(to), Read::Often)?;
        while let Some((key, _)) = current(&iterator)? {
            match visit(key)? {
                Walk::Next => iterator.next(),
                Walk::Skip(next) => iterator.seek(next),
                Walk::End => break,
            }
        }
        Ok(())
    }

    fn count(&self, from: &[u8], to: &[u8]) -> Result<u64, Error> {
        let mut iterator = self.range(ROWS, from, Some(to), Read::Once)?;
        let mut count = 0;
        while current(&iterator)?.is_some() {
            count += 1;
            iterator.next();
        }
        Ok(count)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, visit: &mut RowVisitor<'_>) -> Result<(), Error> {
        let mut iterator = self.range(ROWS, from, to, Read::Once)?;
        while let Some((key, value)) = current(&iterator)? {
            if !visit(key, decode_row(&Bytes::copy_from_slice(value))?)? {
                break;
            }
            iterator.next();
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
        if from > until {
            return Ok(found);
        }
        let after = (u128::from(queue) << 64 | u128::from(until))
            .checked_add(1)
            .map(u128::to_be_bytes);
        let after = after.as_ref().map(<[u8; 16]>::as_slice);
        let mut iterator = self.range(DUE, &due_prefix(queue, from), after, Read::Often)?;
        while found.len() < limit {
            let Some((key, _)) = current(&iterator)? else {
                break;
            };
            let entry = decode_due(&Bytes::copy_from_slice(key))?;
            found.push((entry.deadline, entry.key));
            iterator.next();
        }
        Ok(found)
    }

    fn queues(&self, after: Option<u64>, limit: usize) -> Result<Vec<u64>, Error> {
        let mut found = Vec::new();
        let Some(first) = after.map_or(Some(0), |queue| queue.checked_add(1)) else {
            return Ok(found);
        };
        // Not from the beginning of the index: what was removed there would be passed over each time.
        let mut iterator = self.range(DUE, &due_prefix(first, 0), None, Read::Often)?;
        while found.len() < limit {
            let Some((key, _)) = current(&iterator)? else {
                break;
            };
            let queue = decode_due(&Bytes::copy_from_slice(key))?.queue;
            found.push(queue);
            let Some(next) = queue.checked_add(1) else {
                break;
            };
            iterator.seek(due_prefix(next, 0));
        }
        Ok(found)
    }

    fn scan_due(&self, visit: &mut dyn FnMut(DueEntry) -> Result<bool, Error>) -> Result<(), Error> {
        let mut iterator = self.range(DUE, &[], None, Read::Once)?;
        while let Some((key, _)) = current(&iterator)? {
            if !visit(decode_due(&Bytes::copy_from_slice(key))?)? {
                break;
            }
            iterator.next();
        }
        Ok(())
    }

    fn change_sets(&self, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        let mut iterator = self.range(CHANGES, &from.to_be_bytes(), None, Read::Once)?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some((key, value)) = current(&iterator)? else {
                break;
            };
            let revision = key.try_into().map_err(|_| Error::Corrupt {
                what: "change log",
                detail: format!("a key of {} bytes", key.len()),
            })?;
            found.push((u64::from_be_bytes(revision), Bytes::copy_from_slice(value)));
            iterator.next();
        }
        Ok(found)
    }

    fn applied(&self) -> Result<(Applied, Bytes), Error> {
        match self.get_in(META, APPLIED)? {
            Some(bytes) => decode_applied(&bytes),
            None => Ok((Applied::initial(), Bytes::new())),
        }
    }
}

/// The entry an iterator stands on; `None` past the end. A failed read is an error, never an end.
fn current<'i>(iterator: &'i DBRawIterator<'_>) -> Result<Option<Item<'i>>, Error> {
    match iterator.item() {
        Some(item) => Ok(Some(item)),
        None => {
            iterator.status().map_err(storage)?;
            Ok(None)
        }
    }
}
