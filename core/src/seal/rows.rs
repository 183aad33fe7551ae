//! The rows that are read before any key is there: whose barrier this is, how the root key is sealed, the sealed keyring.
//! All are ciphertext or identifiers of the barrier itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use conclave_barrier::{BarrierId, SealConfig};
use conclave_raft::{Condition, Expect, Op, Row, View};

use crate::error::Error;
use crate::seal::ring_rows::{self, RingRow};
use crate::store::Table;
use crate::store::clear::{node_ids, put_clear, put_node_ids};
use crate::store::layout::{RING, clear_key};

const BARRIER_ID: &str = "barrier-id";
const SEAL: &str = "seal";
const KEYRING: &str = "keyring";
const HANDOVER: &str = "handover";
const CLUSTER: &str = "cluster";
const NONVOTERS: &str = "nonvoters";
const EPOCH: &str = "seal-epoch";
const REWRAP: &str = "rewrap";
const ENCRYPTIONS: &str = "encryptions";
/// Format of the row of a rewrap.
const REWRAP_FORMAT: u8 = 1;
/// Flags of a rewrap.
const MET: u8 = 1;
const DAMAGED: u8 = 2;

/// Names the barrier; part of every ciphertext's associated data.
pub fn barrier_id(view: &View) -> Result<BarrierId, Error> {
    let bytes = required(view, BARRIER_ID)?;
    Ok(BarrierId::from_slice(&bytes)?)
}

/// The rows without which a state has no barrier, kept as the rows of a snapshot go by.
#[derive(Default)]
pub struct Essentials {
    barrier_id: Option<Bytes>,
    seal: Option<Bytes>,
    keyring: Option<Bytes>,
    rings: BTreeMap<u16, Bytes>,
}

impl Essentials {
    /// Looks at one row.
    pub fn see(&mut self, key: &[u8], row: Row) {
        if key.get(1) != Some(&(Table::Seal as u8)) {
            return;
        }
        if let Some(ring) = ring_rows::number_of(key) {
            self.rings.insert(ring, Bytes::copy_from_slice(&row.value));
            return;
        }
        for (name, slot) in [
            (BARRIER_ID, &mut self.barrier_id),
            (SEAL, &mut self.seal),
            (KEYRING, &mut self.keyring),
        ] {
            if *key == *clear_key(name) {
                // Copied, not to hold on to the buffer it came in.
                *slot = Some(Bytes::copy_from_slice(&row.value));
                return;
            }
        }
    }

    /// The rings beside the cluster's.
    pub fn rings(&self) -> Result<BTreeMap<u16, RingRow>, Error> {
        let damaged = |_| Error::invalid("a seal of a namespace in the snapshot does not parse");
        let rows = self.rings.iter();
        rows.map(|(ring, bytes)| Ok((*ring, RingRow::decode(bytes).map_err(damaged)?)))
            .collect()
    }

    /// What was found; an error if anything is missing or does not decode.
    pub fn take(self) -> Result<(BarrierId, SealConfig, Bytes), Error> {
        let missing = || Error::invalid("the snapshot is of a cluster that was not initialized");
        let damaged = |_| Error::invalid("the snapshot's seal configuration does not parse");
        let barrier_id = BarrierId::from_slice(&self.barrier_id.ok_or_else(missing)?).map_err(damaged)?;
        let seal = SealConfig::decode(&self.seal.ok_or_else(missing)?).map_err(damaged)?;
        Ok((barrier_id, seal, self.keyring.ok_or_else(missing)?))
    }
}

/// How the root key is sealed; `None` before init.
pub fn seal_config(view: &View) -> Result<Option<SealConfig>, Error> {
    match view.rows().get(&clear_key(SEAL))? {
        None => Ok(None),
        Some(row) => Ok(Some(SealConfig::decode(&row.value)?)),
    }
}

/// Revision at which the seal configuration last changed.
pub fn seal_revision(view: &View) -> Result<u64, Error> {
    Ok(view.rows().get(&clear_key(SEAL))?.map_or(0, |row| row.revision))
}

/// The sealed keyring.
pub fn keyring(view: &View) -> Result<Bytes, Error> {
    required(view, KEYRING)
}

/// Revision at which the keyring last changed.
pub fn keyring_revision(view: &View) -> Result<u64, Error> {
    Ok(view
        .rows()
        .get(&clear_key(KEYRING))?
        .map_or(0, |row| row.revision))
}

/// The new root key of a ring, sealed under the data key that was active when it was rotated.
pub fn handover(view: &View, ring: u16) -> Result<Option<Bytes>, Error> {
    let row = view.rows().get(&key_in(ring, HANDOVER))?;
    Ok(row.map(|row| row.value))
}

/// The cluster's name, shown to clients.
pub fn cluster_name(view: &View) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&required(view, CLUSTER)?).into_owned())
}

/// The operations that write the rows of a fresh barrier, and the expectation that there is none yet.
pub fn found(id: BarrierId, seal: &SealConfig, keyring: Vec<u8>, cluster: &str) -> (Expect, Vec<Op>) {
    let expect = Expect {
        key: clear_key(SEAL),
        condition: Condition::Absent,
    };
    let ops = vec![
        put_clear(BARRIER_ID, id.as_bytes().to_vec()),
        put_clear(SEAL, seal.encode()),
        put_clear(KEYRING, keyring),
        put_clear(CLUSTER, cluster.as_bytes().to_vec()),
    ];
    (expect, ops)
}

/// The operation that replaces the keyring; the command that carries it moves the epoch too.
pub fn put_keyring(keyring: Vec<u8>) -> Op {
    put_clear(KEYRING, keyring)
}

/// The operation that replaces the seal configuration.
pub fn put_seal(seal: &SealConfig) -> Op {
    put_clear(SEAL, seal.encode())
}

/// The operation that leaves the new root key of a ring for nodes that hold the old one.
pub fn put_handover(ring: u16, handover: Vec<u8>) -> Op {
    put_clear(&name_in(ring, HANDOVER), handover)
}

/// The operation that removes the new root key which was left for nodes that held the old one.
pub fn drop_handover(ring: u16) -> Op {
    Op::Delete {
        key: key_in(ring, HANDOVER),
    }
}

/// Revision of the handover row of a ring; `None` if there is none.
pub fn handover_revision(view: &View, ring: u16) -> Result<Option<u64>, Error> {
    let row = view.rows().get(&key_in(ring, HANDOVER))?;
    Ok(row.map(|row| row.revision))
}

/// Expects the handover row to be the one that was read.
pub fn expect_handover(ring: u16, revision: u64) -> Expect {
    Expect {
        key: key_in(ring, HANDOVER),
        condition: Condition::Revision(revision),
    }
}

/// How far the rows of old data keys are sealed anew. Clear: it holds a term, counts, and a sealed key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrap {
    /// Keys of terms below this one are to go.
    pub term: u32,
    /// Whether the present pass met a row of such a term.
    pub met: bool,
    /// Whether it met one that could not be opened.
    pub damaged: bool,
    /// Rows sealed anew since the rewrap began.
    pub rewrapped: u64,
    /// Where the present pass goes on; empty at its start.
    pub cursor: Bytes,
}

/// What a row is called that the cluster's ring and each beside it have.
fn name_in(ring: u16, name: &str) -> String {
    match ring {
        RING => name.to_owned(),
        other => format!("{name}-{other}"),
    }
}

fn key_in(ring: u16, name: &str) -> Bytes {
    clear_key(&name_in(ring, name))
}

/// The rewrap of a ring that is under way and the revision of its row.
pub fn rewrap(view: &View, ring: u16) -> Result<Option<(Rewrap, u64)>, Error> {
    let Some(row) = view.rows().get(&key_in(ring, REWRAP))? else {
        return Ok(None);
    };
    let damaged = || Error::internal("the row of the rewrap is damaged");
    let (&format, rest) = row.value.split_first().ok_or_else(damaged)?;
    if format != REWRAP_FORMAT {
        return Err(Error::internal(format!(
            "the row of the rewrap has unknown format {format}"
        )));
    }
    let (term, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (&flags, rest) = rest.split_first().ok_or_else(damaged)?;
    let (rewrapped, cursor) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let rewrap = Rewrap {
        term: u32::from_be_bytes(*term),
        met: flags & MET != 0,
        damaged: flags & DAMAGED != 0,
        rewrapped: u64::from_be_bytes(*rewrapped),
        cursor: Bytes::copy_from_slice(cursor),
    };
    Ok(Some((rewrap, row.revision)))
}

/// The operation that keeps how far a rewrap is: `format u8 | term u32 | flags u8 | rewrapped u64 | cursor`, big-endian.
pub fn put_rewrap(ring: u16, rewrap: &Rewrap) -> Op {
    let mut value = vec![REWRAP_FORMAT];
    value.extend_from_slice(&rewrap.term.to_be_bytes());
    value.push((if rewrap.met { MET } else { 0 }) | (if rewrap.damaged { DAMAGED } else { 0 }));
    value.extend_from_slice(&rewrap.rewrapped.to_be_bytes());
    value.extend_from_slice(&rewrap.cursor);
    put_clear(&name_in(ring, REWRAP), value)
}

/// The operation that ends a rewrap.
pub fn drop_rewrap(ring: u16) -> Op {
    Op::Delete {
        key: key_in(ring, REWRAP),
    }
}

/// Expects the rewrap's row to be the one that was read, or absent.
pub fn expect_rewrap(ring: u16, revision: Option<u64>) -> Expect {
    Expect {
        key: key_in(ring, REWRAP),
        condition: revision.map_or(Condition::Absent, Condition::Revision),
    }
}

/// Values sealed with the active data key of a ring, as far as the nodes have reported them.
pub fn encryptions(view: &View, ring: u16) -> Result<u64, Error> {
    let row = view.rows().get(&key_in(ring, ENCRYPTIONS))?;
    let count = conclave_raft::state::counter_value(row.as_ref());
    let count = count.ok_or_else(|| Error::internal("the count of encryptions is damaged"))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The operation that adds a node's share to the count.
pub fn add_encryptions(ring: u16, sealed: u64) -> Op {
    Op::Add {
        key: key_in(ring, ENCRYPTIONS),
        delta: i64::try_from(sealed).unwrap_or(i64::MAX),
        floor: 0,
        ceiling: i64::MAX,
    }
}

/// The operation that begins the count anew.
pub fn drop_encryptions(ring: u16) -> Op {
    Op::Delete {
        key: key_in(ring, ENCRYPTIONS),
    }
}

/// Expects the seal configuration to be the one that was read.
pub fn expect_seal(revision: u64) -> Expect {
    Expect {
        key: clear_key(SEAL),
        condition: Condition::Revision(revision),
    }
}

/// Expects the keyring to be the one that was read.
pub fn expect_keyring(revision: u64) -> Expect {
    Expect {
        key: clear_key(KEYRING),
        condition: Condition::Revision(revision),
    }
}

/// How often the whole cluster was sealed: each time all nodes drop the keys they opened before.
pub fn seal_epoch(view: &View) -> Result<u64, Error> {
    match view.rows().get(&clear_key(EPOCH))? {
        None => Ok(0),
        Some(row) => {
            let epoch = <[u8; 8]>::try_from(row.value.as_ref());
            let epoch = epoch.map_err(|_| Error::internal("the count of seals of the cluster is damaged"))?;
            Ok(u64::from_be_bytes(epoch))
        }
    }
}

/// The expectation and the operation that move the seal epoch to `epoch`.
pub fn put_seal_epoch(view: &View, epoch: u64) -> Result<(Expect, Op), Error> {
    let key = clear_key(EPOCH);
    let condition = match view.rows().get(&key)? {
        Some(row) => Condition::Revision(row.revision),
        None => Condition::Absent,
    };
    let op = put_clear(EPOCH, epoch.to_be_bytes().to_vec());
    Ok((Expect { key, condition }, op))
}

/// The operation that keeps the seal epoch when a snapshot takes the place of the state: it must never go back.
pub fn keep_seal_epoch(view: &View) -> Result<Option<Op>, Error> {
    let row = view.rows().get(&clear_key(EPOCH))?;
    Ok(row.map(|row| put_clear(EPOCH, row.value.to_vec())))
}

/// Nodes that an operator demoted: they are not promoted again by themselves. Clear, for a sealed leader promotes too.
pub fn nonvoters(view: &View) -> Result<BTreeSet<u64>, Error> {
    node_ids(view, NONVOTERS)
}

/// The expectation and the operation that replace the list of demoted nodes.
pub fn put_nonvoters(view: &View, ids: &BTreeSet<u64>) -> Result<(Expect, Op), Error> {
    put_node_ids(view, NONVOTERS, ids)
}

fn required(view: &View, name: &str) -> Result<Bytes, Error> {
    let row = view.rows().get(&clear_key(name))?;
    row.map(|row| row.value).ok_or(Error::NotInitialized)
}
