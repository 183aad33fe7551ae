//! A note: what one command did by itself, as a sealed row of the same command. It is there from the moment of the act until
//! its records are written; who finds one that nobody holds writes them. A record that is written twice has the same id.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use conclave_engine_api::{Entropy, Env, Millis};
use conclave_raft::{Key, Op, Replica};

use crate::acts::ledger::{Ledger, Size};
use crate::acts::{Act, tend};
use crate::catalog::{decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::failpoint;
use crate::store::layout::RING;
use crate::store::{Draft, Opened, Space, Table};

/// Where notes lie, and what is on record of members.
pub const SPACE: Space = Space::root(Table::Act);
/// The directory of notes.
pub const NOTES: &str = "note";

/// What one command did, as stored.
#[derive(Serialize, Deserialize)]
pub struct Note {
    /// Random; names the row, and ids of the records are made of it.
    pub id: String,
    /// The node that did it.
    pub node: u64,
    /// When, by the cluster's clock.
    pub time: Millis,
    /// What.
    pub acts: Vec<Act>,
}

impl Note {
    /// Opens a row.
    pub fn read(opened: &Opened, key: &Key, value: &[u8]) -> Result<(Self, Size), Error> {
        let value = opened.barrier().open_value(Table::Act as u8, key, value)?;
        let note: Self = decode_record(value.expose())?;
        let size = Size {
            acts: note.acts.len(),
            bytes: value.expose().len(),
        };
        Ok((note, size))
    }

    /// Its acts, each with the id of its record: the same whoever writes it, however often.
    pub fn records(&self) -> impl Iterator<Item = (String, Act)> {
        (0u64..).zip(&self.acts).map(|(number, act)| {
            let mut hash = Sha256::new();
            hash.update(b"record of an act\0");
            hash.update(self.id.as_bytes());
            hash.update(number.to_be_bytes());
            let mut known = Known(hash.finalize().into());
            (Env::new(0, &mut known).uuid(), act.clone())
        })
    }
}

/// Bytes that are known already, for an id made of them.
struct Known([u8; 32]);

impl Entropy for Known {
    fn fill(&mut self, bytes: &mut [u8]) {
        let known = self.0.iter().copied().cycle();
        bytes
            .iter_mut()
            .zip(known)
            .for_each(|(byte, known)| *byte = known);
    }
}

/// What a command is about to do, to be committed with it and then put on record by [`Core::record_noted`].
pub struct Noted<'c> {
    ledger: &'c Ledger,
    kept: Option<Kept>,
}

/// A note and its row.
struct Kept {
    key: Key,
    op: Op,
    note: Note,
    size: Size,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            self.ledger.release(&kept.key);
        }
    }
}

impl Noted<'_> {
    /// The operation that belongs into the command.
    pub fn op(&self) -> Option<Op> {
        self.kept.as_ref().map(|kept| kept.op.clone())
    }

    /// Adds it to a command in the making.
    pub fn add_to(&self, draft: &mut Draft<'_>) {
        if let Some(op) = self.op() {
            draft.op(op);
        }
    }
}

impl Core {
    /// The note of what a command does by itself. Nothing, where nothing would take the record.
    ///
    /// # Errors
    /// The barrier's own.
    pub(crate) fn note(
        &self,
        opened: &Opened,
        replica: &dyn Replica,
        acts: Vec<Act>,
    ) -> Result<Noted<'_>, Error> {
        let mut noted = Noted {
            ledger: &self.acts,
            kept: None,
        };
        if acts.is_empty() || self.audit.is_empty() {
            return Ok(noted);
        }
        let mut entropy = OsEntropy;
        let note = Note {
            id: Env::new(0, &mut entropy).uuid(),
            node: replica.node_id(),
            time: replica.now(),
            acts,
        };
        let key = opened.key(SPACE, &format!("{NOTES}/{}", note.id))?;
        let value = encode_record(&note)?;
        let barrier = opened.barrier();
        let op = Op::Put {
            key: key.clone(),
            kind: 0,
            term: barrier.active_term(RING)?,
            deadline: 0,
            new_generation: false,
            value: barrier
                .seal_value(RING, Table::Act as u8, &key, &value, &mut entropy)?
                .into(),
        };
        let size = Size {
            acts: note.acts.len(),
            bytes: value.len(),
        };
        self.acts.hold(&key);
        noted.kept = Some(Kept { key, op, note, size });
        Ok(noted)
    }

    /// What was noted is committed: it is put on record. Where no device takes it, the note stays and is tried again.
    pub(crate) async fn record_noted(&self, noted: Noted<'_>) {
        if let Some(Kept { key, note, size, .. }) = &noted.kept {
            failpoint::reach("before-record").await;
            tend::put_on_record(self, key, note, *size).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_records_are_those_of_the_note_and_no_other() {
        let note = |id: &str| Note {
            id: id.to_owned(),
            node: 1,
            time: 7,
            acts: vec![Act::change("sys/rotate"), Act::change("sys/rotate")],
        };
        let ids = |note: &Note| note.records().map(|(id, _)| id).collect::<Vec<_>>();
        let (one, other) = (ids(&note("one")), ids(&note("other")));
        assert_eq!(one, ids(&note("one")), "whoever writes them");
        let all: std::collections::BTreeSet<_> = one.iter().chain(&other).collect();
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all.iter().all(|id| id.len() == 36), "{all:?}");
    }
}
