//! The encoding of operations. This file must not know how they are applied.

use bytes::{BufMut, BytesMut};

use super::wire::{Reader, put_long_bytes, put_short_bytes};
use super::{CLUSTER_VERSION, MAX_KEY, MAX_TEXT, MAX_VALUE};
use crate::command::{NodeRecord, Op};
use crate::error::Error;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const TOUCH: u8 = 3;
const REWRAP: u8 = 4;
const ADD: u8 = 5;
const DUE_PUT: u8 = 6;
const DUE_DELETE: u8 = 7;
const SET_MIN_TERM: u8 = 8;
const REGISTER_NODE: u8 = 9;
const BEGIN_INCARNATION: u8 = 10;
const FORGET_NODE: u8 = 11;
const ADVANCE_CLOCK: u8 = 12;
const RAISE_VERSION: u8 = 13;
const ADOPT_STAGED: u8 = 14;
#[cfg(feature = "next-format")]
const NEXT_FORMAT: u8 = 15;

/// The first format that holds an operation.
pub(super) fn format_of(op: &Op) -> u16 {
    match op {
        #[cfg(feature = "next-format")]
        Op::NextFormat => 2,
        _ => super::FORMAT,
    }
}

/// Writes an operation: a tag, then its fields.
pub(super) fn put_op(out: &mut BytesMut, op: &Op) -> Result<(), Error> {
    match op {
        Op::Put {
            key,
            kind,
            term,
            deadline,
            new_generation,
            value,
        } => {
            put_tagged(out, PUT, key)?;
            out.put_u8(*kind);
            out.put_u32(*term);
            out.put_u64(*deadline);
            out.put_u8(u8::from(*new_generation));
            put_value(out, value)?;
        }
        Op::Delete { key } => put_tagged(out, DELETE, key)?,
        Op::Touch { key } => put_tagged(out, TOUCH, key)?,
        Op::Rewrap {
            key,
            revision,
            term,
            value,
        } => {
            put_tagged(out, REWRAP, key)?;
            out.put_u64(*revision);
            out.put_u32(*term);
            put_value(out, value)?;
        }
        Op::Add {
            key,
            delta,
            floor,
            ceiling,
        } => {
            put_tagged(out, ADD, key)?;
            for number in [delta, floor, ceiling] {
                out.put_i64(*number);
            }
        }
        Op::DuePut { queue, deadline, key } => put_due(out, DUE_PUT, key, *queue, *deadline)?,
        Op::DueDelete { queue, deadline, key } => put_due(out, DUE_DELETE, key, *queue, *deadline)?,
        Op::SetMinTerm { term } => put_number(out, SET_MIN_TERM, &term.to_be_bytes()),
        other => put_cluster_op(out, other)?,
    }
    Ok(())
}

/// The operations that concern the cluster itself and not one row.
fn put_cluster_op(out: &mut BytesMut, op: &Op) -> Result<(), Error> {
    match op {
        Op::RegisterNode { node } => {
            out.put_u8(REGISTER_NODE);
            put_node_record(out, node)?;
        }
        Op::BeginIncarnation {
            node,
            incarnation,
            instance,
            last_log_index,
        } => put_numbers(
            out,
            BEGIN_INCARNATION,
            &[
                &node.to_be_bytes(),
                &incarnation.to_be_bytes(),
                instance,
                &last_log_index.to_be_bytes(),
            ],
        ),
        Op::ForgetNode { node } => put_number(out, FORGET_NODE, &node.to_be_bytes()),
        Op::AdvanceClock => out.put_u8(ADVANCE_CLOCK),
        Op::RaiseVersion { version } if *version > CLUSTER_VERSION => {
            return Err(Error::Limit("cluster version that this build supports"));
        }
        Op::RaiseVersion { version } => put_number(out, RAISE_VERSION, &version.to_be_bytes()),
        Op::AdoptStaged { id, chunks, digest } => {
            put_numbers(out, ADOPT_STAGED, &[id, &chunks.to_be_bytes(), digest])
        }
        #[cfg(feature = "next-format")]
        Op::NextFormat => out.put_u8(NEXT_FORMAT),
        _ => {
            return Err(Error::Limit(
                "operations on rows are written by their own function",
            ));
        }
    }
    Ok(())
}

fn put_number(out: &mut BytesMut, tag: u8, number: &[u8]) {
    put_numbers(out, tag, &[number]);
}

fn put_numbers(out: &mut BytesMut, tag: u8, numbers: &[&[u8]]) {
    out.put_u8(tag);
    for number in numbers {
        out.put_slice(number);
    }
}

/// Reads what `put_op` writes.
pub(super) fn get_op(reader: &mut Reader) -> Result<Op, Error> {
    Ok(match reader.u8()? {
        PUT => Op::Put {
            key: reader.short_bytes(MAX_KEY)?,
            kind: reader.u8()?,
            term: reader.u32()?,
            deadline: reader.u64()?,
            new_generation: reader.bool()?,
            value: reader.long_bytes(MAX_VALUE)?,
        },
        DELETE => Op::Delete {
            key: reader.short_bytes(MAX_KEY)?,
        },
        TOUCH => Op::Touch {
            key: reader.short_bytes(MAX_KEY)?,
        },
        REWRAP => Op::Rewrap {
            key: reader.short_bytes(MAX_KEY)?,
            revision: reader.u64()?,
            term: reader.u32()?,
            value: reader.long_bytes(MAX_VALUE)?,
        },
        ADD => Op::Add {
            key: reader.short_bytes(MAX_KEY)?,
            delta: reader.i64()?,
            floor: reader.i64()?,
            ceiling: reader.i64()?,
        },
        DUE_PUT => {
            let key = reader.short_bytes(MAX_KEY)?;
            Op::DuePut {
                queue: reader.u64()?,
                deadline: reader.u64()?,
                key,
            }
        }
        DUE_DELETE => {
            let key = reader.short_bytes(MAX_KEY)?;
            Op::DueDelete {
                queue: reader.u64()?,
                deadline: reader.u64()?,
                key,
            }
        }
        SET_MIN_TERM => Op::SetMinTerm { term: reader.u32()? },
        REGISTER_NODE => Op::RegisterNode {
            node: get_node_record(reader)?,
        },
        BEGIN_INCARNATION => Op::BeginIncarnation {
            node: reader.u64()?,
            incarnation: reader.u64()?,
            instance: reader.array()?,
            last_log_index: reader.u64()?,
        },
        FORGET_NODE => Op::ForgetNode { node: reader.u64()? },
        ADVANCE_CLOCK => Op::AdvanceClock,
        RAISE_VERSION => Op::RaiseVersion {
            version: reader.u16()?,
        },
        ADOPT_STAGED => Op::AdoptStaged {
            id: reader.array()?,
            chunks: reader.u32()?,
            digest: reader.array()?,
        },
        #[cfg(feature = "next-format")]
        NEXT_FORMAT => Op::NextFormat,
        other => return Err(reader.corrupt(format!("operation {other} is unknown"))),
    })
}

/// Writes a node record: `key_hash [32] | name | zone | cluster_addr | api_addr`, texts with a u16 length.
pub(crate) fn put_node_record(out: &mut BytesMut, node: &NodeRecord) -> Result<(), Error> {
    out.put_slice(&node.key_hash);
    for text in [&node.name, &node.zone, &node.cluster_addr, &node.api_addr] {
        if text.len() > MAX_TEXT {
            return Err(Error::Limit("length of a text in a node record"));
        }
        put_short_bytes(out, text.as_bytes())?;
    }
    Ok(())
}

/// Reads what `put_node_record` writes.
pub(crate) fn get_node_record(reader: &mut Reader) -> Result<NodeRecord, Error> {
    Ok(NodeRecord {
        key_hash: reader.array()?,
        name: reader.text(MAX_TEXT)?,
        zone: reader.text(MAX_TEXT)?,
        cluster_addr: reader.text(MAX_TEXT)?,
        api_addr: reader.text(MAX_TEXT)?,
    })
}

fn put_due(out: &mut BytesMut, tag: u8, key: &[u8], queue: u64, deadline: u64) -> Result<(), Error> {
    put_tagged(out, tag, key)?;
    out.put_u64(queue);
    out.put_u64(deadline);
    Ok(())
}

fn put_tagged(out: &mut BytesMut, tag: u8, key: &[u8]) -> Result<(), Error> {
    out.put_u8(tag);
    put_key(out, key)
}

/// Writes a key with its length.
pub(super) fn put_key(out: &mut BytesMut, key: &[u8]) -> Result<(), Error> {
    if key.len() > MAX_KEY {
        return Err(Error::Limit("length of a key"));
    }
    put_short_bytes(out, key)
}

fn put_value(out: &mut BytesMut, value: &[u8]) -> Result<(), Error> {
    if value.len() > MAX_VALUE {
        return Err(Error::Limit("length of a value"));
    }
    put_long_bytes(out, value)
}
