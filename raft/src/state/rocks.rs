//! The store on disk: one RocksDB database with a column family each for rows, due index and change log. Every write
//! is one batch with the applied record. This file must not know what rows mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, DB, ReadOptions, WriteBatch};

use crate::codec::MAX_KEY;
use crate::error::Error;
use crate::state::register::RESERVED_TABLE;
use crate::state::row::{decode_row, encode_applied, encode_due, encode_row};
use crate::state::{Applied, Row, Snapshot, Store, WriteSet};

mod files;
mod options;
mod place;
mod snapshot;

use files::{check_list, write_list};
use options::{Access, CHANGES, DUE, META, ROWS, open, storage};
use place::{Place, Pointer, remove_dir, sync_dir};
use snapshot::RocksSnapshot;

/// Key of the applied record.
const APPLIED: &[u8] = b"applied";
/// A key before all keys of rows, due entries and change sets.
const FIRST: &[u8] = &[0];
/// Longer than any of those keys, in bytes.
const LONGER_THAN_KEYS: usize = MAX_KEY + 32;

/// The applied state in a directory of its own.
pub struct RocksStore {
    place: Place,
    instance: ArcSwap<Instance>,
    /// Held while a database is replaced.
    installing: Mutex<()>,
}

/// One open database. It stays open while a snapshot of it lives, and if it was replaced its files go when it closes.
struct Instance {
    number: u64,
    // Before the directory, for fields drop in order: close, then remove.
    db: DB,
    dir: InstanceDir,
}

struct InstanceDir {
    path: PathBuf,
    replaced: AtomicBool,
}

impl RocksStore {
    /// Opens the store in `dir`, which is made if missing, and removes what a crash left there.
    ///
    /// # Errors
    /// `Error::Storage` if the directory is in use or cannot be written, `Error::Corrupt` if what it holds is damaged.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let (place, pointer) = Place::open(dir)?;
        let access = if pointer.ready {
            Access::Write
        } else {
            Access::Create
        };
        let instance = Instance::open(&place, pointer.number, access)?;
        if !pointer.ready {
            place.point_to(Pointer {
                number: pointer.number,
                ready: true,
            })?;
        }
        place.sweep(pointer.number)?;
        Ok(Self {
            place,
            instance: ArcSwap::from_pointee(instance),
            installing: Mutex::new(()),
        })
    }
}

impl Store for RocksStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error> {
        Ok(Arc::new(RocksSnapshot::take(self.instance.load_full())))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Row>, Error> {
        let instance = self.instance.load();
        let found = instance
            .db
            .get_pinned_cf_opt(instance.family(ROWS)?, key, &ReadOptions::default());
        found
            .map_err(storage)?
            .map(|value| decode_row(&Bytes::copy_from_slice(&value)))
            .transpose()
    }

    fn write(&self, set: WriteSet) -> Result<(), Error> {
        let instance = self.instance.load();
        let (rows, due) = (instance.family(ROWS)?, instance.family(DUE)?);
        let changes = instance.family(CHANGES)?;
        let mut batch = WriteBatch::default();
        if set.replaces {
            // Keys are shorter than this one, and those of the register begin with format 1 and its table.
            let last = [u8::MAX; LONGER_THAN_KEYS];
            let register = ([1, RESERVED_TABLE], [1, RESERVED_TABLE + 1]);
            batch.delete_range_cf(rows, FIRST, register.0.as_slice());
            batch.delete_range_cf(rows, register.1.as_slice(), last.as_slice());
            batch.delete_range_cf(due, FIRST, last.as_slice());
            batch.delete_range_cf(changes, FIRST, last.as_slice());
        }
        for (key, row) in &set.rows {
            match row {
                Some(row) => batch.put_cf(rows, key, encode_row(row)),
                None => batch.delete_cf(rows, key),
            }
        }
        for (entry, put) in &set.due {
            match put {
                true => batch.put_cf(due, encode_due(entry), []),
                false => batch.delete_cf(due, encode_due(entry)),
            }
        }
        if let Some(range) = set.trim_changes {
            batch.delete_range_cf(changes, range.start.to_be_bytes(), range.end.to_be_bytes());
        }
        for (revision, set) in &set.changes {
            batch.put_cf(changes, revision.to_be_bytes(), set);
        }
        batch.put_cf(
            instance.family(META)?,
            APPLIED,
            encode_applied(&set.applied, &set.membership),
        );
        instance.db.write(batch).map_err(storage)
    }

    fn flush(&self) -> Result<(), Error> {
        self.instance.load().db.flush_wal(true).map_err(storage)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        let instance = self.instance.load();
        // Also flushes every memtable, so what the checkpoint holds is durable here too.
        Checkpoint::new(&instance.db)
            .and_then(|it| it.create_checkpoint(dir))
            .map_err(storage)?;
        write_list(dir)?;
        sync_dir(dir)?;
        dir.parent().map_or(Ok(()), sync_dir)
    }

    fn inspect(&self, dir: &Path) -> Result<(Applied, Bytes), Error> {
        check_list(dir)?;
        let path = dir.to_owned();
        let dir = InstanceDir {
            path,
            replaced: AtomicBool::new(false),
        };
        let db = open(&dir.path, Access::Read)?;
        RocksSnapshot::take(Arc::new(Instance { number: 0, db, dir })).applied()
    }

    fn install(&self, dir: &Path) -> Result<(), Error> {
        let _installing = self.installing.lock();
        let number = self.instance.load().number + 1;
        let files = check_list(dir)?;
        let staged = self.place.stage(&files, number).and_then(|()| {
            let instance = Arc::new(Instance::open(&self.place, number, Access::Write)?);
            // Proves that this build can read it before anything depends on it.
            RocksSnapshot::take(Arc::clone(&instance)).applied()?;
            Ok(instance)
        });
        let instance = match staged {
            Ok(instance) => instance,
            Err(error) => {
                remove_dir(&self.place.database(number))?;
                return Err(error);
            }
        };
        self.place.point_to(Pointer { number, ready: true })?;
        self.instance
            .swap(instance)
            .dir
            .replaced
            .store(true, Ordering::Release);
        Ok(())
    }
}

impl Instance {
    fn open(place: &Place, number: u64, access: Access) -> Result<Self, Error> {
        let path = place.database(number);
        let db = open(&path, access)?;
        Ok(Self {
            number,
            db,
            dir: InstanceDir {
                path,
                replaced: AtomicBool::new(false),
            },
        })
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, Error> {
        self.db.cf_handle(name).ok_or_else(|| Error::Corrupt {
            what: "state database",
            detail: format!("the column family {name} is missing"),
        })
    }
}

impl Drop for InstanceDir {
    fn drop(&mut self) {
        if self.replaced.load(Ordering::Acquire)
            && let Err(error) = remove_dir(&self.path)
        {
            // The next start sweeps it.
            tracing::warn!(%error, "a replaced state database was not removed");
        }
    }
}
