//! How entries, votes, log ids and memberships are written to disk and, for memberships, sent: our own formats, each
//! with a number, so that a newer openraft cannot change them. This file must not know where the bytes go.
//!
//! Entry: `crc u32 | format u16 | kind u8 | term u64 | index u64 | payload`, the CRC-32 over all that follows it.
//! Vote: `format u16 | term u64 | node u64 | committed u8`. Log id: `format u16 | term u64 | index u64`. Membership:
//! `format u16 | flag u8 | (term u64 | index u64)? | count u32 | (count u32 | node u64*)* | count u32 | (node u64 |
//! record)*`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::wire::{Reader, put_count};
use crate::codec::{get_node_record, put_node_record};
use crate::error::Error;
use crate::log::types::{
    LogEntry, LogId, LogPayload, Members, Payload, StoredMembers, Vote, log_id, term_of, vote,
};

/// Format of everything in this file.
const FORMAT: u16 = 1;
/// Most nodes in a membership.
pub const MAX_NODES: usize = 64;

const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The kind and payload of an entry, as they are stored and sent.
///
/// # Errors
/// `Error::Limit` for a membership beyond the limits.
pub fn entry_parts(payload: &LogPayload) -> Result<(u8, Bytes), Error> {
    Ok(match payload {
        LogPayload::Blank => (BLANK, Bytes::new()),
        LogPayload::Normal(batch) => (COMMANDS, batch.0.clone()),
        LogPayload::Membership(members) => {
            let stored = StoredMembers::new(None, members.clone());
            (MEMBERSHIP, encode_members(&stored)?)
        }
    })
}

/// The entry with these parts.
///
/// # Errors
/// `Error::Corrupt` for an unknown kind or an unreadable membership.
pub fn entry_from_parts(id: LogId, kind: u8, payload: Bytes) -> Result<LogEntry, Error> {
    let payload = match kind {
        BLANK => LogPayload::Blank,
        COMMANDS => LogPayload::Normal(Payload(payload)),
        MEMBERSHIP => LogPayload::Membership(decode_members(&payload)?.membership().clone()),
        other => return Err(corrupt("log entry", format!("kind {other} is unknown"))),
    };
    Ok(LogEntry { log_id: id, payload })
}

/// Encodes an entry for the disk.
///
/// # Errors
/// As `entry_parts`.
pub fn encode_entry(entry: &LogEntry) -> Result<Bytes, Error> {
    let (kind, payload) = entry_parts(&entry.payload)?;
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    out.put_u32(0);
    out.put_u16(FORMAT);
    out.put_u8(kind);
    out.put_u64(term_of(&entry.log_id));
    out.put_u64(entry.log_id.index);
    out.put_slice(&payload);
    let crc = crc32fast::hash(out.get(4..).unwrap_or_default());
    if let Some(head) = out.get_mut(..4) {
        head.copy_from_slice(&crc.to_be_bytes());
    }
    Ok(out.freeze())
}

const HEADER: usize = 4 + 2 + 1 + 8 + 8;

/// Decodes an entry from the disk and checks that it is the one expected at `index`.
///
/// # Errors
/// `Error::Corrupt` when the CRC, the index or the payload is wrong, `Error::UnknownFormat` for another format.
pub fn decode_entry(index: u64, bytes: &Bytes) -> Result<LogEntry, Error> {
    let mut reader = Reader::new(bytes, "log entry");
    let crc = reader.u32()?;
    if crc32fast::hash(bytes.get(4..).unwrap_or_default()) != crc {
        return Err(corrupt("log entry", format!("entry {index} fails its checksum")));
    }
    reader.format(FORMAT)?;
    let kind = reader.u8()?;
    let id = log_id(reader.u64()?, reader.u64()?);
    if id.index != index {
        return Err(corrupt(
            "log entry",
            format!("entry {} stands at index {index}", id.index),
        ));
    }
    entry_from_parts(id, kind, reader.remaining())
}

/// Encodes a vote.
pub fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(FORMAT);
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
    out.freeze()
}

/// Decodes a vote.
///
/// # Errors
/// As `decode_entry`.
pub fn decode_vote(bytes: &Bytes) -> Result<Vote, Error> {
    let mut reader = Reader::new(bytes, "vote");
    reader.format(FORMAT)?;
    let read = vote(reader.u64()?, reader.u64()?, reader.bool()?);
    reader.finish()?;
    Ok(read)
}

/// Encodes a log id.
pub fn encode_log_id(id: &LogId) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(FORMAT);
    out.put_u64(term_of(id));
    out.put_u64(id.index);
    out.freeze()
}

/// Decodes a log id.
///
/// # Errors
/// As `decode_entry`.
pub fn decode_log_id(bytes: &Bytes) -> Result<LogId, Error> {
    let mut reader = Reader::new(bytes, "log id");
    reader.format(FORMAT)?;
    let id = log_id(reader.u64()?, reader.u64()?);
    reader.finish()?;
    Ok(id)
}

/// Encodes a membership with the log id that set it.
///
/// # Errors
/// `Error::Limit` above `MAX_NODES` or for texts that are too long.
pub fn encode_members(stored: &StoredMembers) -> Result<Bytes, Error> {
    let members = stored.membership();
    if members.nodes().count() > MAX_NODES {
        return Err(Error::Limit("nodes in a membership"));
    }
    let mut out = BytesMut::new();
    out.put_u16(FORMAT);
    match stored.log_id() {
        Some(id) => {
            out.put_u8(1);
            out.put_u64(term_of(id));
            out.put_u64(id.index);
        }
        None => out.put_u8(0),
    }
    put_count(&mut out, members.get_joint_config().len())?;
    for config in members.get_joint_config() {
        put_count(&mut out, config.len())?;
        for node in config {
            out.put_u64(*node);
        }
    }
    put_count(&mut out, members.nodes().count())?;
    for (id, record) in members.nodes() {
        out.put_u64(*id);
        put_node_record(&mut out, record)?;
    }
    Ok(out.freeze())
}

/// Decodes a membership; empty bytes are the empty membership.
///
/// # Errors
/// As `decode_entry`.
pub fn decode_members(bytes: &Bytes) -> Result<StoredMembers, Error> {
    if bytes.is_empty() {
        return Ok(StoredMembers::default());
    }
    let mut reader = Reader::new(bytes, "membership");
    reader.format(FORMAT)?;
    let id = match reader.bool()? {
        true => Some(log_id(reader.u64()?, reader.u64()?)),
        false => None,
    };
    // Two configurations at most: the old one and the new one of a joint change.
    let mut configs = Vec::new();
    for _ in 0..reader.count(2)? {
        let mut config = BTreeSet::new();
        for _ in 0..reader.count(MAX_NODES)? {
            config.insert(reader.u64()?);
        }
        configs.push(config);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..reader.count(MAX_NODES)? {
        let node = reader.u64()?;
        nodes.insert(node, get_node_record(&mut reader)?);
    }
    reader.finish()?;
    let members = match configs.is_empty() && nodes.is_empty() {
        true => Members::default(),
        false => Members::new(configs, nodes).map_err(|e| corrupt("membership", e.to_string()))?,
    };
    Ok(StoredMembers::new(id, members))
}

fn corrupt(what: &'static str, detail: String) -> Error {
    Error::Corrupt { what, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::NodeRecord;

    fn sample() -> Vec<LogEntry> {
        let record = NodeRecord {
            name: "a".into(),
            ..NodeRecord::default()
        };
        let members = Members::new(
            vec![BTreeSet::from([1, 2])],
            BTreeMap::from([(1, record.clone()), (2, record)]),
        );
        vec![
            LogEntry {
                log_id: log_id(3, 7),
                payload: LogPayload::Blank,
            },
            LogEntry {
                log_id: log_id(3, 8),
                payload: LogPayload::Normal(Payload(Bytes::from_static(b"batch"))),
            },
            LogEntry {
                log_id: log_id(4, 9),
                payload: LogPayload::Membership(members.unwrap()),
            },
        ]
    }

    #[test]
    fn entries_survive_the_disk() {
        for entry in sample() {
            let bytes = encode_entry(&entry).unwrap();
            assert_eq!(decode_entry(entry.log_id.index, &bytes).unwrap(), entry);
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        for entry in sample() {
            let bytes = encode_entry(&entry).unwrap();
            for at in 0..bytes.len() {
                let mut broken = bytes.to_vec();
                broken[at] ^= 0x40;
                assert!(
                    decode_entry(entry.log_id.index, &Bytes::from(broken)).is_err(),
                    "byte {at}"
                );
            }
            assert!(decode_entry(entry.log_id.index + 1, &bytes).is_err());
        }
    }

    #[test]
    fn membership_with_its_log_id_survives() {
        let LogPayload::Membership(members) = sample().remove(2).payload else {
            panic!("the third sample is a membership")
        };
        let stored = StoredMembers::new(Some(log_id(4, 9)), members);
        assert_eq!(decode_members(&encode_members(&stored).unwrap()).unwrap(), stored);
        assert_eq!(decode_members(&Bytes::new()).unwrap(), StoredMembers::default());
    }

    #[test]
    fn votes_and_log_ids_survive() {
        let v = vote(9, 2, true);
        assert_eq!(decode_vote(&encode_vote(&v)).unwrap(), v);
        let id = log_id(9, 1234);
        assert_eq!(decode_log_id(&encode_log_id(&id)).unwrap(), id);
    }
}
