//! Reads a whole snapshot file and decides whether it may be restored, before anything changes. Knows keys, but no log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use bytes::Bytes;

use conclave_barrier::{BarrierId, Keyring, SealConfig};
use conclave_raft::state::{ArchiveCounts, ArchiveHead, ArchiveItem, MAX_STEP, read_archive};
use conclave_raft::{Op, View};

use crate::backup::file::{Ending, Meta, Reader, check_length};
use crate::error::Error;
use crate::seal::ring_rows::{self, RingRow};
use crate::seal::rows::Essentials;
use crate::session::Session;
use crate::store::Opened;

/// A snapshot file that is whole: its checksums match, its state decodes, and the state has a barrier.
pub struct Checked {
    /// What it says of itself.
    pub meta: Meta,
    /// What its end says.
    pub ending: Ending,
    barrier_id: BarrierId,
    keyring: Bytes,
    rings: BTreeMap<u16, RingRow>,
}

/// Opens a snapshot file for reading.
pub fn open(path: &Path) -> Result<Reader<impl Read + use<>>, Error> {
    let failed = |error: std::io::Error| Error::internal(format!("reading a snapshot: {error}"));
    let file = File::open(path).map_err(failed)?;
    check_length(file.metadata().map_err(failed)?.len())?;
    Reader::begin(BufReader::with_capacity(1 << 16, file))
}

impl Checked {
    /// Reads all of a file. Needs no keys.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut reader = open(path)?;
        let mut failed = None;
        let mut essentials = Essentials::default();
        let mut pieces = || {
            reader.piece().map_err(|error| {
                let detail = error.to_string();
                failed = Some(error);
                conclave_raft::Error::Storage(detail)
            })
        };
        let read = read_archive(&mut pieces, &mut |item| {
            if let ArchiveItem::Row(key, row) = item {
                essentials.see(&key, row);
            }
            Ok(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let (head, counts) =
            read.map_err(|error| Error::invalid(format!("the snapshot's state: {error}")))?;
        let meta = reader.meta().clone();
        let ending = reader.finish()?;
        let rings = essentials.rings()?;
        let (barrier_id, seal, keyring) = essentials.take()?;
        if !describes(&meta, &head, &counts, barrier_id, &seal, &keyring)? {
            return Err(Error::invalid(
                "the snapshot does not hold what its description says",
            ));
        }
        Ok(Self {
            meta,
            ending,
            barrier_id,
            keyring,
            rings,
        })
    }

    /// Whether it is of the barrier that this node holds the keys of. Then the keyed hash must be right, whoever asks.
    pub fn is_of(&self, session: &Session, opened: &Opened) -> Result<bool, Error> {
        if self.barrier_id != session.barrier_id() {
            return Ok(false);
        }
        let ending = &self.ending;
        if !opened
            .barrier()
            .vouches_for_snapshot(ending.sums.as_bytes(), &ending.mac)
        {
            return Err(Error::invalid(
                "the snapshot was changed after it was made: its seal is not of this cluster's keys",
            ));
        }
        Ok(true)
    }

    /// Whether the root key of this node opens its keyring.
    pub fn opens_with(&self, session: &Session) -> bool {
        Keyring::open(&session.root(), self.barrier_id, &self.keyring).is_ok()
    }

    /// The operations with which every namespace with a seal of its own is sealed in the restored state: keys that were opened
    /// before, in this state or in that one, open nothing in it.
    pub fn seal_rings(&self, view: &View) -> Result<Vec<Op>, Error> {
        let sealed = self.rings.iter().map(|(ring, row)| {
            let known = ring_rows::ring(view, *ring)?.map_or(0, |(known, _)| known.epoch);
            let sealed = RingRow {
                opened: false,
                epoch: known.max(row.epoch).saturating_add(1),
                ..row.clone()
            };
            ring_rows::put(*ring, &sealed)
        });
        sealed.collect()
    }

    /// Whether this cluster can hold it at all.
    pub fn fits(&self, opened: &Opened, now: u64) -> Result<(), Error> {
        let version = opened.view().applied().cluster_version;
        if self.meta.cluster_version > version {
            return Err(Error::invalid(format!(
                "the snapshot is of cluster version {} and this cluster of {version}: bring all members up to date first",
                self.meta.cluster_version
            )));
        }
        if self.meta.cluster_time > now.saturating_add(MAX_STEP) {
            return Err(Error::invalid(format!(
                "the snapshot was made at {}, which is in the future: the clock here or there is wrong",
                self.meta.made_at
            )));
        }
        Ok(())
    }
}

fn describes(
    meta: &Meta,
    head: &ArchiveHead,
    counts: &ArchiveCounts,
    barrier_id: BarrierId,
    seal: &SealConfig,
    keyring: &[u8],
) -> Result<bool, Error> {
    let damaged = |_| Error::invalid("the snapshot's keyring does not parse");
    let generation = Keyring::generation_of(keyring).map_err(damaged)?;
    Ok(meta.revision == head.revision
        && meta.cluster_time == head.cluster_time
        && meta.min_term == head.min_term
        && meta.cluster_version == head.cluster_version
        && (meta.rows, meta.due) == (counts.rows, counts.due)
        && meta.barrier_id == hex::encode(barrier_id.as_bytes())
        && (meta.seal_generation, meta.seal_threshold) == (seal.generation(), seal.threshold())
        && meta.keyring_generation == generation)
}
