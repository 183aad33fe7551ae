//! The binary format of commands and of the batches that log entries carry: versioned, total on any input, one
//! encoding for each value. This file must not know how commands are applied or replicated.
//!
//! Integers are big-endian. Command: `format u16 | node u64 | incarnation u64 | sequence u64 | oldest_term u32 |
//! now_used u64 | count u32 | expectations | count u32 | operations`. Batch: `format u16 | proposed_at u64 | count
//! u32 | (length u32 | command)*`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::command::{Command, Condition, Expect, Millis, NodeRecord, Op, Origin};
use crate::error::Error;

pub(crate) mod wire;

use wire::{Reader, put_count, put_long_bytes, put_short_bytes};

/// Format of commands and batches that this build writes, and the only one it reads.
pub const FORMAT: u16 = 1;
/// Greatest cluster version this build supports.
pub const CLUSTER_VERSION: u16 = 1;
/// Longest key in bytes.
pub const MAX_KEY: usize = 4 << 10;
/// Longest value in bytes: 1 MiB of payload and room for an envelope.
pub const MAX_VALUE: usize = (1 << 20) + (4 << 10);
/// Longest encoded command in bytes.
pub const MAX_COMMAND: usize = 8 << 20;
/// Most operations in a command.
pub const MAX_OPS: usize = 4096;
/// Most expectations in a command.
pub const MAX_EXPECTATIONS: usize = 4096;
/// Longest text in a node record, in bytes.
pub const MAX_TEXT: usize = 1024;
/// A batch that has reached this many bytes takes no further command.
pub const SOFT_BATCH_BYTES: usize = 1 << 20;
/// Longest batch in bytes: a soft batch and one greatest command.
pub const MAX_BATCH_BYTES: usize = 9 << 20;
/// Most commands in a batch.
pub const MAX_BATCH_COMMANDS: usize = 1024;

/// The payload of one log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The leader's clock when it proposed the batch.
    pub proposed_at: Millis,
    /// Encoded commands, in order.
    pub commands: Vec<Bytes>,
}

/// Encodes a command.
///
/// # Errors
/// `Error::Limit` for a command that `decode_command` would refuse, so that none can enter the log, and for a
/// `RaiseVersion` above what this build supports.
pub fn encode_command(command: &Command) -> Result<Bytes, Error> {
    let mut out = BytesMut::with_capacity(estimate(command));
    out.put_u16(FORMAT);
    out.put_u64(command.origin.node);
    out.put_u64(command.origin.incarnation);
    out.put_u64(command.origin.sequence);
    out.put_u32(command.oldest_term);
    out.put_u64(command.now_used);
    if command.expect.len() > MAX_EXPECTATIONS {
        return Err(Error::Limit("expectations in a command"));
    }
    put_count(&mut out, command.expect.len())?;
    for expect in &command.expect {
        put_expect(&mut out, expect)?;
    }
    if command.ops.len() > MAX_OPS {
        return Err(Error::Limit("operations in a command"));
    }
    put_count(&mut out, command.ops.len())?;
    for op in &command.ops {
        put_op(&mut out, op)?;
    }
    if out.len() > MAX_COMMAND {
        return Err(Error::Limit("size of a command"));
    }
    Ok(out.freeze())
}

/// Decodes a command; keys and values share `bytes`.
///
/// # Errors
/// `Error::UnknownFormat` for another format, `Error::Corrupt` for anything that `encode_command` does not write.
pub fn decode_command(bytes: &Bytes) -> Result<Command, Error> {
    let mut reader = Reader::new(bytes, "command");
    reader.format(FORMAT)?;
    if bytes.len() > MAX_COMMAND {
        return Err(reader.corrupt(format!("{} bytes are above {MAX_COMMAND}", bytes.len())));
    }
    let origin = Origin {
        node: reader.u64()?,
        incarnation: reader.u64()?,
        sequence: reader.u64()?,
    };
    let oldest_term = reader.u32()?;
    let now_used = reader.u64()?;
    let count = reader.count(MAX_EXPECTATIONS)?;
    let mut expect = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        expect.push(get_expect(&mut reader)?);
    }
    let count = reader.count(MAX_OPS)?;
    let mut ops = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        ops.push(get_op(&mut reader)?);
    }
    reader.finish()?;
    Ok(Command {
        origin,
        oldest_term,
        now_used,
        expect,
        ops,
    })
}

/// The origin of an encoded command, without decoding the rest.
///
/// # Errors
/// As `decode_command`, as far as it reads.
pub fn peek_origin(bytes: &Bytes) -> Result<Origin, Error> {
    let mut reader = Reader::new(bytes, "command");
    reader.format(FORMAT)?;
    Ok(Origin {
        node: reader.u64()?,
        incarnation: reader.u64()?,
        sequence: reader.u64()?,
    })
}

/// Encodes a batch of encoded commands.
///
/// # Errors
/// `Error::Limit` above `MAX_BATCH_COMMANDS`, `MAX_COMMAND` or `MAX_BATCH_BYTES`.
pub fn encode_batch(proposed_at: Millis, commands: &[Bytes]) -> Result<Bytes, Error> {
    if commands.len() > MAX_BATCH_COMMANDS {
        return Err(Error::Limit("commands in a batch"));
    }
    if commands.iter().any(|command| command.len() > MAX_COMMAND) {
        return Err(Error::Limit("size of a command"));
    }
    let size = 14 + commands.iter().map(|command| 4 + command.len()).sum::<usize>();
    if size > MAX_BATCH_BYTES {
        return Err(Error::Limit("size of a batch"));
    }
    let mut out = BytesMut::with_capacity(size);
    out.put_u16(FORMAT);
    out.put_u64(proposed_at);
    put_count(&mut out, commands.len())?;
    for command in commands {
        put_long_bytes(&mut out, command)?;
    }
    Ok(out.freeze())
}

/// Decodes a batch; the commands share `bytes`.
///
/// # Errors
/// As `decode_command`.
pub fn decode_batch(bytes: &Bytes) -> Result<Batch, Error> {
    let mut reader = Reader::new(bytes, "batch");
    reader.format(FORMAT)?;
    if bytes.len() > MAX_BATCH_BYTES {
        return Err(reader.corrupt(format!("{} bytes are above {MAX_BATCH_BYTES}", bytes.len())));
    }
    let proposed_at = reader.u64()?;
    let count = reader.count(MAX_BATCH_COMMANDS)?;
    let mut commands = Vec::with_capacity(count);
    for _ in 0..count {
        commands.push(reader.long_bytes(MAX_COMMAND)?);
    }
    reader.finish()?;
    Ok(Batch {
        proposed_at,
        commands,
    })
}

const REVISION: u8 = 1;
const ABSENT: u8 = 2;
const PRESENT: u8 = 3;
const GENERATION: u8 = 4;

fn put_expect(out: &mut BytesMut, expect: &Expect) -> Result<(), Error> {
    put_key(out, &expect.key)?;
    match expect.condition {
        Condition::Revision(revision) => {
            out.put_u8(REVISION);
            out.put_u64(revision);
        }
        Condition::Absent => out.put_u8(ABSENT),
        Condition::Present => out.put_u8(PRESENT),
        Condition::Generation(generation) => {
            out.put_u8(GENERATION);
            out.put_u64(generation);
        }
    }
    Ok(())
}

fn get_expect(reader: &mut Reader) -> Result<Expect, Error> {
    let key = reader.short_bytes(MAX_KEY)?;
    let condition = match reader.u8()? {
        REVISION => Condition::Revision(reader.u64()?),
        ABSENT => Condition::Absent,
        PRESENT => Condition::Present,
        GENERATION => Condition::Generation(reader.u64()?),
        other => return Err(reader.corrupt(format!("condition {other} is unknown"))),
    };
    Ok(Expect { key, condition })
}

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

fn put_op(out: &mut BytesMut, op: &Op) -> Result<(), Error> {
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
        Op::DuePut { queue, deadline, key } => {
            put_tagged(out, DUE_PUT, key)?;
            put_two(out, *queue, *deadline);
        }
        Op::DueDelete { queue, deadline, key } => {
            put_tagged(out, DUE_DELETE, key)?;
            put_two(out, *queue, *deadline);
        }
        Op::SetMinTerm { term } => put_number(out, SET_MIN_TERM, &term.to_be_bytes()),
        Op::RegisterNode { node } => {
            out.put_u8(REGISTER_NODE);
            put_node_record(out, node)?;
        }
        Op::BeginIncarnation {
            node,
            incarnation,
            instance,
            last_log_index,
        } => {
            out.put_u8(BEGIN_INCARNATION);
            put_two(out, *node, *incarnation);
            out.put_slice(instance);
            out.put_u64(*last_log_index);
        }
        Op::ForgetNode { node } => put_number(out, FORGET_NODE, &node.to_be_bytes()),
        Op::AdvanceClock => out.put_u8(ADVANCE_CLOCK),
        Op::RaiseVersion { version } if *version > CLUSTER_VERSION => {
            return Err(Error::Limit("cluster version that this build supports"));
        }
        Op::RaiseVersion { version } => put_number(out, RAISE_VERSION, &version.to_be_bytes()),
    }
    Ok(())
}

fn put_number(out: &mut BytesMut, tag: u8, number: &[u8]) {
    out.put_u8(tag);
    out.put_slice(number);
}

fn get_op(reader: &mut Reader) -> Result<Op, Error> {
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

fn put_two(out: &mut BytesMut, first: u64, second: u64) {
    out.put_u64(first);
    out.put_u64(second);
}

fn put_tagged(out: &mut BytesMut, tag: u8, key: &[u8]) -> Result<(), Error> {
    out.put_u8(tag);
    put_key(out, key)
}

fn put_key(out: &mut BytesMut, key: &[u8]) -> Result<(), Error> {
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

/// About how many bytes the command takes, so that the buffer seldom grows.
fn estimate(command: &Command) -> usize {
    let expectations: usize = command.expect.iter().map(|expect| expect.key.len() + 11).sum();
    let operations: usize = command
        .ops
        .iter()
        .map(|op| match op {
            Op::Put { key, value, .. } | Op::Rewrap { key, value, .. } => key.len() + value.len() + 24,
            Op::Delete { key }
            | Op::Touch { key }
            | Op::Add { key, .. }
            | Op::DuePut { key, .. }
            | Op::DueDelete { key, .. } => key.len() + 32,
            _ => 64,
        })
        .sum();
    46 + expectations.saturating_add(operations).min(MAX_COMMAND)
}
