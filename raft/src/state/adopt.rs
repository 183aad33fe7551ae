//! Adopts a staged archive: in one command every row outside the register and the whole due index give way to the
//! archive's. All or nothing, and the same on every node. This file must not know where the chunks came from.
//!
//! Adopted rows take the adopting command's revision and generation. An expectation from before can then never hold by
//! chance of a number that two histories share, and everything derived from rows is derived anew.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::codec::{CLUSTER_VERSION, MAX_VALUE};
use crate::error::Error;
use crate::state::Row;
use crate::state::archive::{ArchiveHead, ArchiveItem, MAX_ARCHIVE, read_archive};
use crate::state::register::RESERVED_TABLE;
use crate::state::staged::{Halt, Staged, denied};
use crate::state::staging::staged_chunk_key;

impl Staged<'_, '_> {
    /// Puts the archive in `chunks` chunks of the staging `id` in the place of the state, if its SHA-256 is `digest`.
    pub(super) fn adopt(&mut self, id: &[u8; 16], chunks: u32, digest: &[u8; 32]) -> Result<(), Halt> {
        let chunks = self.staged_chunks(id, chunks, digest)?;
        let (mut rows, mut due) = (Vec::new(), Vec::new());
        let mut chunks = chunks.into_iter();
        let head = read_archive(&mut || Ok(chunks.next()), &mut |item| {
            match item {
                ArchiveItem::Row(key, row) => rows.push((key, row)),
                ArchiveItem::Due(entry) => due.push(entry),
            }
            Ok(())
        });
        let head = match head {
            Ok((head, _)) => head,
            // Newer builds adopt it. Going on without would diverge from them.
            Err(error @ Error::UnknownFormat { .. }) => return Err(error.into()),
            Err(error) => return Err(denied(error.to_string())),
        };
        self.may_adopt(&head)?;
        let revision = self.begin_adoption(head.revision, head.min_term);
        for (key, row) in rows {
            let row = Row {
                revision,
                generation: revision,
                ..row
            };
            self.put_adopted(key, row);
        }
        for entry in due {
            self.put_due(entry);
        }
        Ok(())
    }

    fn may_adopt(&self, head: &ArchiveHead) -> Result<(), Halt> {
        let version = self.cluster_version();
        if head.cluster_version <= version && head.cluster_version <= CLUSTER_VERSION {
            return Ok(());
        }
        Err(denied(format!(
            "the archive is of cluster version {} and this cluster of {version}",
            head.cluster_version
        )))
    }

    fn staged_chunks(&mut self, id: &[u8; 16], count: u32, digest: &[u8; 32]) -> Result<Vec<Bytes>, Halt> {
        let mut hash = Sha256::new();
        let mut chunks = Vec::new();
        let mut bytes: u64 = 0;
        for number in 0..count {
            let Some(row) = self.row(&staged_chunk_key(id, number))? else {
                return Err(denied(format!("chunk {number} of the archive is missing")));
            };
            bytes = bytes.saturating_add(row.value.len() as u64);
            if row.value.is_empty() || row.value.len() > MAX_VALUE || bytes > MAX_ARCHIVE {
                return Err(denied("the archive is too large"));
            }
            hash.update(&row.value);
            chunks.push(row.value);
        }
        if <[u8; 32]>::from(hash.finalize()) != *digest || self.row(&staged_chunk_key(id, count))?.is_some() {
            return Err(denied("the staged chunks are not the archive that was announced"));
        }
        Ok(chunks)
    }
}

/// Whether a key stays when the state is replaced: the register's do.
pub(super) fn outlives_adoption(key: &[u8]) -> bool {
    key.get(1) == Some(&RESERVED_TABLE)
}
