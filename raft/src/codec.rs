//! The binary format of commands and of the batches that log entries carry: versioned, total on any input, one
//! encoding for each value. This file must not know how commands are applied or replicated.
//!
//! Integers are big-endian. Command: `format u16 | node u64 | incarnation u64 | sequence u64 | oldest_term u32 |
//! now_used u64 | count u32 | expectations | count u32 | operations`. Batch: `format u16 | proposed_at u64 | count
//! u32 | (length u32 | command)*`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::command::{Command, Condition, Expect, Millis, Op, Origin};
use crate::error::Error;

mod op;
pub(crate) mod wire;

pub(crate) use op::{get_node_record, put_node_record};
use op::{get_op, put_key, put_op};
use wire::{Reader, put_count, put_long_bytes};

/// Format of batches, and the least of commands: a command is written in the least that holds its operations, so that
/// members of an older version read all that does not need a newer one.
pub const FORMAT: u16 = 1;
/// Greatest format of commands that this build reads.
pub const NEWEST_FORMAT: u16 = if cfg!(feature = "next-format") { 2 } else { FORMAT };
/// Greatest cluster version this build supports. Members of version n read formats up to n.
pub const CLUSTER_VERSION: u16 = NEWEST_FORMAT;
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

/// The least format that holds a command, and so the least cluster version in which it may be proposed.
pub fn format_of(command: &Command) -> u16 {
    command.ops.iter().map(op::format_of).max().unwrap_or(FORMAT)
}

/// Encodes a command.
///
/// # Errors
/// `Error::Limit` for a command that `decode_command` would refuse, so that none can enter the log, and for a
/// `RaiseVersion` above what this build supports.
pub fn encode_command(command: &Command) -> Result<Bytes, Error> {
    let mut out = BytesMut::with_capacity(estimate(command));
    out.put_u16(format_of(command));
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
    let format = reader.formats(FORMAT..=NEWEST_FORMAT)?;
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
    let command = Command {
        origin,
        oldest_term,
        now_used,
        expect,
        ops,
    };
    if format_of(&command) != format {
        return Err(reader.corrupt(format!("format {format} is not the least that holds it")));
    }
    reader.finish()?;
    Ok(command)
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
