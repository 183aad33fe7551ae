//! Every ciphertext is of a key that is kept, and no key seals two things with one nonce. Looks at what nodes write, with no
//! key: an envelope is `format u8 | suite u8 | ring u16 | term u32 | nonce 24 | ciphertext | tag 16`.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use conclave_raft::state::WriteSet;
use conclave_raft::{Key, Row};

/// Where the keyring is kept.
const SEAL_TABLE: u8 = 0x10;
const KEYRING: &[u8] = b"keyring";

const TERM: Range<usize> = 4..8;
const NONCE: Range<usize> = 8..32;

#[derive(Default)]
pub struct Ciphertexts {
    /// What was sealed with each term and nonce.
    sealed: BTreeMap<(u32, Bytes), Bytes>,
}

/// The least term that is accepted, before and after a batch of writes.
pub struct Least {
    before: u32,
    after: u32,
    /// The revision with which a new key came, if one did in the batch.
    raised: Option<u64>,
}

impl Least {
    pub fn of(before: u32, set: &WriteSet) -> Self {
        let keyring = |key: &Key| key.get(1) == Some(&SEAL_TABLE) && key.ends_with(KEYRING);
        let written = set.rows.iter().find(|(key, _)| keyring(key));
        Self {
            before,
            after: set.applied.min_term,
            raised: written.and_then(|(_, row)| Some(row.as_ref()?.revision)),
        }
    }

    fn at(&self, revision: u64) -> u32 {
        match self.raised.is_some_and(|raised| revision > raised) {
            true => self.after,
            false => self.before,
        }
    }
}

impl Ciphertexts {
    /// A node writes a row in place of another: its term must not be below the least that is accepted then.
    pub fn written(
        &mut self,
        least: &Least,
        key: &Key,
        row: &Row,
        before: Option<&Row>,
    ) -> Result<(), String> {
        if row.term == 0 || before.is_some_and(|before| before.value == row.value) {
            return Ok(());
        }
        let least = least.at(row.revision);
        if row.term < least {
            return Err(format!(
                "ciphertexts: row {key:02x?} was sealed with term {}, of which the key may be gone: {least} is the least",
                row.term
            ));
        }
        let (Some(term), Some(nonce)) = (row.value.get(TERM), row.value.get(NONCE)) else {
            return Err(format!("ciphertexts: row {key:02x?} holds no envelope"));
        };
        if term != row.term.to_be_bytes() {
            return Err(format!(
                "ciphertexts: row {key:02x?} is of another term than its envelope"
            ));
        }
        let place = (row.term, row.value.slice_ref(nonce));
        let known = self.sealed.entry(place).or_insert_with(|| row.value.clone());
        match *known == row.value {
            true => Ok(()),
            false => Err(format!(
                "ciphertexts: term {} sealed two values with one nonce, one of them in row {key:02x?}",
                row.term
            )),
        }
    }
}
