//! Where the chunks of an archive wait in the log's state until one command adopts them all: rows in a table of their
//! own, which nothing else reads. This file must not know what the chunks say.

use bytes::{BufMut, BytesMut};

use crate::command::Key;

/// The table (a key's second byte) of chunks that wait to be adopted.
pub const STAGING_TABLE: u8 = 0x02;
/// Longest chunk in bytes.
pub const MAX_STAGED_CHUNK: usize = 512 << 10;

/// The row of one chunk of the staging called `id`.
pub fn staged_chunk_key(id: &[u8; 16], number: u32) -> Key {
    let mut key = staging_prefix(id);
    key.put_u32(number);
    key.freeze()
}

/// The first key of a staging and the first key behind it.
pub fn staging_range(id: &[u8; 16]) -> (Key, Key) {
    let from = staging_prefix(id).freeze();
    let mut to = staging_prefix(id);
    to.put_slice(&[u8::MAX; 5]);
    (from, to.freeze())
}

/// `format 1 | table | ring 0 | namespace 0 | mount 0 | id`.
fn staging_prefix(id: &[u8; 16]) -> BytesMut {
    let mut key = BytesMut::with_capacity(33);
    key.put_slice(&[1, STAGING_TABLE]);
    key.put_bytes(0, 10);
    key.put_slice(id);
    key
}
