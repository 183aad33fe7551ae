//! Snapshots on disk: folders with a checkpoint of the state and a file that says what it covers. One is current;
//! older ones go when nobody reads them any more. This file must not know what a checkpoint holds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use openraft::type_config::alias::SnapshotMetaOf;
use parking_lot::Mutex;

use crate::codec::wire::{Reader, put_long_bytes};
use crate::error::Error;
use crate::log::durable::{failed, write_durably};
use crate::log::format::{decode_members, encode_members};
use crate::log::types::{LogId, TypeConfig, log_id, term_of};
use crate::state::{Applied, Store};

const FORMAT: u16 = 1;
const META: &str = "meta";
const DATA: &str = "data";
const MAX_MEMBERSHIP: usize = 1 << 20;

/// What a snapshot covers.
pub type Meta = SnapshotMetaOf<TypeConfig>;

/// The snapshots of one node.
pub struct Snapshots {
    dir: PathBuf,
    next: AtomicU64,
    current: Mutex<Option<(Meta, Checkpoint)>>,
}

/// A checkpoint folder. It is removed with its last handle once a newer snapshot has replaced it.
#[derive(Debug, Clone)]
pub struct Checkpoint(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    doomed: AtomicBool,
}

impl Checkpoint {
    /// Where the state's own files are.
    pub fn data(&self) -> PathBuf {
        self.0.path.join(DATA)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an old snapshot cannot be removed");
        }
    }
}

impl Snapshots {
    /// Opens `dir`, keeps the newest complete snapshot and removes everything else.
    ///
    /// # Errors
    /// `Error::Storage` when the disk fails.
    pub fn open(dir: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&dir).map_err(|e| failed(&dir, &e))?;
        let mut newest: Option<(Meta, PathBuf)> = None;
        let mut next = 0;
        for found in fs::read_dir(&dir).map_err(|e| failed(&dir, &e))? {
            let path = found.map_err(|e| failed(&dir, &e))?.path();
            next = next.max(number_of(&path) + 1);
            let loser = match fs::read(path.join(META)).map(|bytes| decode(&Bytes::from(bytes))) {
                Ok(Ok(meta))
                    if newest
                        .as_ref()
                        .is_none_or(|(best, _)| meta.last_log_id > best.last_log_id) =>
                {
                    newest.replace((meta, path)).map(|(_, path)| path)
                }
                _ => Some(path),
            };
            if let Some(path) = loser {
                fs::remove_dir_all(&path).map_err(|e| failed(&path, &e))?;
            }
        }
        let current = newest.map(|(meta, path)| (meta, kept(path, false)));
        Ok(Self {
            dir,
            next: AtomicU64::new(next),
            current: Mutex::new(current),
        })
    }

    /// The newest snapshot.
    pub fn current(&self) -> Option<(Meta, Checkpoint)> {
        self.current.lock().clone()
    }

    /// Forgets a snapshot that ends before the log begins: it can help nobody.
    pub fn discard_before(&self, purged: Option<LogId>) {
        let mut current = self.current.lock();
        if current
            .as_ref()
            .is_some_and(|(meta, _)| meta.last_log_id < purged)
            && let Some((_, checkpoint)) = current.take()
        {
            checkpoint.0.doomed.store(true, Ordering::Release);
        }
    }

    /// Makes a snapshot of the store as it is. Blocks on the disk; safe while entries are applied.
    ///
    /// # Errors
    /// The store's own.
    pub fn build(&self, store: &dyn Store) -> Result<(Meta, Checkpoint), Error> {
        let checkpoint = self.fresh()?;
        store.checkpoint(&checkpoint.data())?;
        // From the checkpoint, not from the store, which may have moved on.
        let (applied, membership) = store.inspect(&checkpoint.data())?;
        let meta = Meta {
            last_log_id: applied_log_id(&applied),
            last_membership: decode_members(&membership)?,
        };
        self.adopt(&meta, &checkpoint)?;
        Ok((meta, checkpoint))
    }

    /// An empty folder for a snapshot that is being made or received; it goes with its last handle unless adopted.
    ///
    /// # Errors
    /// `Error::Storage` when the disk fails.
    pub fn fresh(&self) -> Result<Checkpoint, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(number.to_string());
        fs::create_dir(&path).map_err(|e| failed(&path, &e))?;
        Ok(kept(path, true))
    }

    /// Makes a complete checkpoint the current snapshot, durably, unless the current one is newer.
    ///
    /// # Errors
    /// `Error::Storage` when the disk fails.
    pub fn adopt(&self, meta: &Meta, checkpoint: &Checkpoint) -> Result<(), Error> {
        let mut current = self.current.lock();
        if current
            .as_ref()
            .is_some_and(|(have, _)| have.last_log_id >= meta.last_log_id)
        {
            return Ok(());
        }
        let path = &checkpoint.0.path;
        for folder in [&path.join(DATA), path, &self.dir] {
            sync_folder(folder)?;
        }
        write_durably(&path.join(META), &encode(meta)?)?;
        checkpoint.0.doomed.store(false, Ordering::Release);
        if let Some((_, old)) = current.replace((meta.clone(), checkpoint.clone())) {
            old.0.doomed.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// The log id that an applied position stands for.
pub fn applied_log_id(applied: &Applied) -> Option<LogId> {
    applied
        .index
        .checked_sub(1)
        .map(|index| log_id(applied.term, index))
}

fn kept(path: PathBuf, doomed: bool) -> Checkpoint {
    let doomed = AtomicBool::new(doomed);
    Checkpoint(Arc::new(Folder { path, doomed }))
}

fn number_of(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    match File::open(path).and_then(|folder| folder.sync_all()) {
        Ok(()) => Ok(()),
        Err(e) => Err(failed(path, &e)),
    }
}

/// `crc u32 | format u16 | flag u8 | (term u64 | index u64)? | length u32 | membership`.
fn encode(meta: &Meta) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    body.put_u16(FORMAT);
    match &meta.last_log_id {
        Some(id) => {
            body.put_u8(1);
            body.put_u64(term_of(id));
            body.put_u64(id.index);
        }
        None => body.put_u8(0),
    }
    put_long_bytes(&mut body, &encode_members(&meta.last_membership)?)?;
    let mut out = BytesMut::new();
    out.put_u32(crc32fast::hash(&body));
    out.put_slice(&body);
    Ok(out.freeze())
}

fn decode(bytes: &Bytes) -> Result<Meta, Error> {
    let mut reader = Reader::new(bytes, "snapshot description");
    let crc = reader.u32()?;
    if crc32fast::hash(bytes.get(4..).unwrap_or_default()) != crc {
        return Err(reader.corrupt("the checksum is wrong".to_owned()));
    }
    reader.format(FORMAT)?;
    let last_log_id = match reader.bool()? {
        true => Some(log_id(reader.u64()?, reader.u64()?)),
        false => None,
    };
    let last_membership = decode_members(&reader.long_bytes(MAX_MEMBERSHIP)?)?;
    reader.finish()?;
    Ok(Meta {
        last_log_id,
        last_membership,
    })
}
