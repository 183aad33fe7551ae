//! The register of nodes: who may be a member, under which id, and how far each had come. Clear rows in a table of
//! replication's own. This file must not know the membership, which consensus keeps.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::wire::Reader;
use crate::codec::{get_node_record, put_node_record};
use crate::command::{Key, NodeRecord};
use crate::error::Error;
use crate::mutant;
use crate::state::staged::{Halt, Staged, denied};
use crate::state::{ChangeOp, Row, Snapshot, View};

/// The table (a key's second byte) that only register operations write.
pub const RESERVED_TABLE: u8 = 0x01;
/// Most nodes in the register at once.
const MAX_NODES: u32 = 1024;
const NODE_FORMAT: u16 = 1;

const KIND_NODE: u8 = 1;
const KIND_IDENTITY: u8 = 2;
const KIND_TALLY: u8 = 3;

/// A node as the register knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisteredNode {
    /// Its id, from 1, never given to another.
    pub id: u64,
    /// Who it is and where.
    pub record: NodeRecord,
    /// Its latest incarnation; 0 before the first.
    pub incarnation: u64,
    /// Random id of that start.
    pub instance: [u8; 16],
    /// Index of the last entry its log had then.
    pub last_log_index: u64,
}

/// The node with this id.
///
/// # Errors
/// The store's own, and `Error::Corrupt` for a record that does not decode.
pub fn registered_node(view: &View, id: u64) -> Result<Option<RegisteredNode>, Error> {
    view.rows()
        .get(&node_key(id))?
        .map(|row| decode_node(id, &row.value))
        .transpose()
}

/// The node with this public key hash.
///
/// # Errors
/// As `registered_node`.
pub fn find_node(view: &View, key_hash: &[u8; 32]) -> Result<Option<RegisteredNode>, Error> {
    match identity(view.rows(), key_hash)? {
        Some(Identity { id, forgotten: false }) => registered_node(view, id),
        _ => Ok(None),
    }
}

/// Whether this public key was removed from the cluster: it is refused for ever.
///
/// # Errors
/// As `registered_node`.
pub fn is_forgotten(view: &View, key_hash: &[u8; 32]) -> Result<bool, Error> {
    Ok(identity(view.rows(), key_hash)?.is_some_and(|identity| identity.forgotten))
}

/// All nodes, by id.
///
/// # Errors
/// As `registered_node`.
pub fn registered_nodes(view: &View) -> Result<Vec<RegisteredNode>, Error> {
    let mut nodes = Vec::new();
    view.rows()
        .scan(&node_key(0), Some(&node_key(u64::MAX)), &mut |key, row| {
            let id = key.last_chunk().map_or(0, |id| u64::from_be_bytes(*id));
            nodes.push(decode_node(id, &row.value)?);
            Ok(true)
        })?;
    Ok(nodes)
}

impl Staged<'_, '_> {
    /// Allots an id to a public key, or finds the one it has and brings the rest of its record up to date.
    pub(super) fn register_node(&mut self, record: &NodeRecord) -> Result<u64, Halt> {
        let identity_key = identity_key(&record.key_hash);
        if let Some(row) = self.row(&identity_key)? {
            let Identity { id, forgotten } = decode_identity(&row.value)?;
            if forgotten {
                return Err(denied(format!(
                    "the key of node {id} was removed from the cluster"
                )));
            }
            let mut node = self.node(id)?;
            if node.record != *record {
                node.record = record.clone();
                self.put_node(&node)?;
            }
            return Ok(id);
        }
        let tally = self.tally()?;
        if tally.nodes >= MAX_NODES {
            return Err(denied(format!(
                "the register holds {MAX_NODES} nodes and takes no more"
            )));
        }
        // The mutant: the ids of those who left are given again.
        let id = match mutant::is("reused-id") {
            true => u64::from(tally.nodes) + 1,
            false => tally.next_id,
        };
        self.put_node(&RegisteredNode {
            id,
            record: record.clone(),
            ..RegisteredNode::default()
        })?;
        self.put_identity(&identity_key, Identity { id, forgotten: false });
        self.put_tally(Tally {
            next_id: id.saturating_add(1),
            nodes: tally.nodes + 1,
        });
        Ok(id)
    }

    /// Records a start, unless the disk it started from is older than one seen before, or a copy.
    pub(super) fn begin_incarnation(
        &mut self,
        id: u64,
        incarnation: u64,
        instance: [u8; 16],
        last_log_index: u64,
    ) -> Result<(), Halt> {
        let mut node = self.node(id)?;
        if incarnation == node.incarnation && instance == node.instance {
            // The same start proposed again, after an answer that was lost.
            return Ok(());
        }
        if incarnation <= node.incarnation && !mutant::is("cloned-disk") {
            return Err(denied(format!(
                "node {id} began incarnation {incarnation} after {}: its disk was rolled back or cloned",
                node.incarnation
            )));
        }
        if last_log_index < node.last_log_index && !mutant::is("cloned-disk") {
            return Err(denied(format!(
                "the log of node {id} ends at {last_log_index}, before {} which it once held: its disk was rolled back",
                node.last_log_index
            )));
        }
        node.incarnation = incarnation;
        node.instance = instance;
        node.last_log_index = last_log_index;
        self.put_node(&node)
    }

    /// Removes a node for ever; nothing happens if it was removed before.
    pub(super) fn forget_node(&mut self, id: u64) -> Result<(), Halt> {
        let tally = self.tally()?;
        let key = node_key(id);
        let Some(row) = self.row(&key)? else {
            let once_known = (1..tally.next_id).contains(&id);
            return if once_known { Ok(()) } else { Err(no_such_node(id)) };
        };
        let node = decode_node(id, &row.value)?;
        self.stage_delete(&key, KIND_NODE);
        self.put_identity(
            &identity_key(&node.record.key_hash),
            Identity { id, forgotten: true },
        );
        self.put_tally(Tally {
            nodes: tally.nodes.saturating_sub(1),
            ..tally
        });
        Ok(())
    }

    fn node(&mut self, id: u64) -> Result<RegisteredNode, Halt> {
        match self.row(&node_key(id))? {
            Some(row) => Ok(decode_node(id, &row.value)?),
            None => Err(no_such_node(id)),
        }
    }

    fn tally(&mut self) -> Result<Tally, Error> {
        match self.row(&tally_key())? {
            Some(row) => decode_tally(&row.value),
            None => Ok(Tally { next_id: 1, nodes: 0 }),
        }
    }

    fn put_node(&mut self, node: &RegisteredNode) -> Result<(), Halt> {
        let mut out = BytesMut::new();
        out.put_u16(NODE_FORMAT);
        put_node_record(&mut out, &node.record)?;
        out.put_u64(node.incarnation);
        out.put_slice(&node.instance);
        out.put_u64(node.last_log_index);
        self.put_clear(&node_key(node.id), KIND_NODE, out.freeze());
        Ok(())
    }

    fn put_identity(&mut self, key: &Key, identity: Identity) {
        let mut out = BytesMut::new();
        out.put_u64(identity.id);
        out.put_u8(u8::from(identity.forgotten));
        self.put_clear(key, KIND_IDENTITY, out.freeze());
    }

    fn put_tally(&mut self, tally: Tally) {
        let mut out = BytesMut::new();
        out.put_u64(tally.next_id);
        out.put_u32(tally.nodes);
        self.put_clear(&tally_key(), KIND_TALLY, out.freeze());
    }

    /// Every write of a register row begins a new generation: nothing expects an old one.
    fn put_clear(&mut self, key: &Key, kind: u8, value: Bytes) {
        let revision = self.revision();
        let row = Row {
            kind,
            revision,
            generation: revision,
            term: 0,
            deadline: 0,
            value,
        };
        self.stage(ChangeOp::Put, key, row);
    }
}

/// What a public key hash stands for.
struct Identity {
    id: u64,
    forgotten: bool,
}

fn identity(rows: &dyn Snapshot, key_hash: &[u8; 32]) -> Result<Option<Identity>, Error> {
    rows.get(&identity_key(key_hash))?
        .map(|row| decode_identity(&row.value))
        .transpose()
}

fn decode_identity(value: &Bytes) -> Result<Identity, Error> {
    let mut reader = Reader::new(value, "node identity");
    let identity = Identity {
        id: reader.u64()?,
        forgotten: reader.bool()?,
    };
    reader.finish()?;
    Ok(identity)
}

/// The next id to allot, and how many nodes there are.
struct Tally {
    next_id: u64,
    nodes: u32,
}

fn decode_tally(value: &Bytes) -> Result<Tally, Error> {
    let mut reader = Reader::new(value, "node tally");
    let tally = Tally {
        next_id: reader.u64()?,
        nodes: reader.u32()?,
    };
    reader.finish()?;
    Ok(tally)
}

fn decode_node(id: u64, value: &Bytes) -> Result<RegisteredNode, Error> {
    let mut reader = Reader::new(value, "node record");
    reader.format(NODE_FORMAT)?;
    let record = get_node_record(&mut reader)?;
    let node = RegisteredNode {
        id,
        record,
        incarnation: reader.u64()?,
        instance: reader.array()?,
        last_log_index: reader.u64()?,
    };
    reader.finish()?;
    Ok(node)
}

fn no_such_node(id: u64) -> Halt {
    denied(format!("there is no node {id} in the register"))
}

fn node_key(id: u64) -> Key {
    register_key(b'n', &id.to_be_bytes())
}

fn identity_key(key_hash: &[u8; 32]) -> Key {
    register_key(b'k', key_hash)
}

fn tally_key() -> Key {
    register_key(b't', &[])
}

/// `format 1 | table | ring 0 | namespace 0 | mount 0 | which | rest`.
fn register_key(which: u8, rest: &[u8]) -> Key {
    let mut key = BytesMut::with_capacity(13 + rest.len());
    key.put_slice(&[1, RESERVED_TABLE]);
    key.put_bytes(0, 10);
    key.put_u8(which);
    key.put_slice(rest);
    key.freeze()
}
