//! One space of an opened view as engines and core's own records read it.

use zeroize::Zeroizing;

use conclave_engine_api as api;
use conclave_engine_api::{Page, Reader, Stored};
use conclave_raft::Row;

use crate::error::Error;
use crate::store::Opened;
use crate::store::layout::{self, Space};

/// Most names one list may collect.
const MAX_NAMES: usize = 1_000_000;

/// Rows of one space, opened as they are read.
pub struct SpaceReader<'v> {
    opened: &'v Opened,
    space: Space,
}

impl<'v> SpaceReader<'v> {
    pub(super) fn new(opened: &'v Opened, space: Space) -> Self {
        Self { opened, space }
    }

    /// The row at `path`, with its error in core's own type.
    pub fn row(&self, path: &str) -> Result<Option<Stored>, Error> {
        let key = self.opened.key(self.space, path)?;
        let Some(row) = self.opened.view().rows().get(&key)? else {
            return Ok(None);
        };
        self.open(&key, row).map(Some)
    }

    /// Revision of the row at `path` without opening it; 0 if there is none.
    pub fn revision(&self, path: &str) -> Result<u64, Error> {
        let key = self.opened.key(self.space, path)?;
        Ok(self.opened.view().rows().get(&key)?.map_or(0, |row| row.revision))
    }

    /// The counter at `path`: a clear number kept by replication; `None` if there is none.
    pub fn counter(&self, path: &str) -> Result<Option<i64>, Error> {
        let key = self.opened.key(self.space, path)?;
        let Some(row) = self.opened.view().rows().get(&key)? else {
            return Ok(None);
        };
        let bytes =
            <[u8; 8]>::try_from(row.value.as_ref()).map_err(|_| Error::internal("a counter is damaged"))?;
        Ok(Some(i64::from_be_bytes(bytes)))
    }

    fn open(&self, key: &[u8], row: Row) -> Result<Stored, Error> {
        let value = self
            .opened
            .barrier()
            .open_value(self.space.table as u8, key, &row.value)?;
        Ok(Stored {
            value: Zeroizing::new(value.expose().to_vec()),
            revision: row.revision,
            generation: row.generation,
            deadline: Some(row.deadline).filter(|deadline| *deadline > 0),
        })
    }

    /// Names directly beneath `dir`, sorted; sub-directories end in `/`.
    pub fn names(&self, dir: &str, page: &Page) -> Result<Vec<String>, Error> {
        let parent = if dir.is_empty() {
            self.space.prefix()
        } else {
            self.opened.key(self.space, dir)?.to_vec()
        };
        let end = layout::after_prefix(&parent);
        let mut from = parent.clone();
        let mut names = Vec::new();
        while let Some((key, _)) = self.opened.view().rows().seek(&from, &end)? {
            let rest = key.get(parent.len()..).unwrap_or_default();
            if rest.is_empty() {
                // The directory is a row itself.
                from = parent.clone();
                from.push(0);
                continue;
            }
            let (sealed, beneath) = layout::split_segment(rest)?;
            let mut name = layout::open_segment(self.opened.barrier(), &parent, sealed)?;
            let child = key.get(..key.len() - beneath.len()).unwrap_or_default();
            if beneath.is_empty() {
                from = child.to_vec();
                from.push(0);
            } else {
                name.push('/');
                from = layout::after_prefix(child);
            }
            if name.as_str() > page.after.as_str() {
                names.push(name);
            }
            if names.len() > MAX_NAMES {
                return Err(Error::TooLarge(format!(
                    "more than {MAX_NAMES} names in one list"
                )));
            }
        }
        // Sealed names sort at random: order and limit come after opening.
        names.sort_unstable();
        names.truncate(page.limit.unwrap_or(usize::MAX));
        Ok(names)
    }
}

impl Reader for SpaceReader<'_> {
    fn get(&self, path: &str) -> Result<Option<Stored>, api::Error> {
        self.row(path)
            .map_err(|error| api::Error::internal(error.to_string()))
    }

    fn list(&self, dir: &str, page: &Page) -> Result<Vec<String>, api::Error> {
        self.names(dir, page)
            .map_err(|error| api::Error::internal(error.to_string()))
    }
}
