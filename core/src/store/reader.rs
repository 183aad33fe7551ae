//! One space of an opened view as engines and core's own records read it.

use zeroize::Zeroizing;

use conclave_engine_api as api;
use conclave_engine_api::{Page, Reader, Stored};
use conclave_raft::{Row, Walk, mutant};

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
        let Some(row) = self.opened.view().row(&key)? else {
            return Ok(None);
        };
        self.open(&key, row).map(Some)
    }

    /// Revision of the row at `path` without opening it; 0 if there is none.
    pub fn revision(&self, path: &str) -> Result<u64, Error> {
        let key = self.opened.key(self.space, path)?;
        Ok(self.opened.view().row(&key)?.map_or(0, |row| row.revision))
    }

    /// The counter at `path`: a clear number kept by replication; `None` if there is none.
    pub fn counter(&self, path: &str) -> Result<Option<i64>, Error> {
        let key = self.opened.key(self.space, path)?;
        let Some(row) = self.opened.view().row(&key)? else {
            return Ok(None);
        };
        let bytes =
            <[u8; 8]>::try_from(row.value.as_ref()).map_err(|_| Error::internal("a counter is damaged"))?;
        Ok(Some(i64::from_be_bytes(bytes)))
    }

    fn open(&self, key: &[u8], row: Row) -> Result<Stored, Error> {
        let value = self.opened.open_value(self.space, key, &row.value)?;
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
        let mut names = Vec::new();
        let mut failed = None;
        self.opened.view().rows().walk(&parent, &end, &mut |key| {
            match self.child(&parent, key) {
                Ok((name, next)) => {
                    names.extend(name.filter(|name| name.as_str() > page.after.as_str()));
                    if names.len() <= MAX_NAMES {
                        return Ok(next);
                    }
                    failed = Some(Error::TooLarge(format!(
                        "more than {MAX_NAMES} names in one list"
                    )));
                }
                Err(error) => failed = Some(error),
            }
            Ok(Walk::End)
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        // Sealed names sort at random: order and limit come after opening.
        names.sort_unstable();
        names.truncate(page.limit.unwrap_or(usize::MAX));
        Ok(names)
    }

    /// The child of `parent` that `key` belongs to, as lists show it, and where the next one is looked for.
    fn child(&self, parent: &[u8], key: &[u8]) -> Result<(Option<String>, Walk), Error> {
        let rest = key.get(parent.len()..).unwrap_or_default();
        if rest.is_empty() {
            // The directory is a row itself.
            return Ok((None, Walk::Next));
        }
        let (sealed, beneath) = layout::split_segment(rest)?;
        let mut name = layout::open_segment(self.opened.barrier(), self.space.ring(), parent, sealed)?;
        if beneath.is_empty() {
            return Ok((Some(name), Walk::Next));
        }
        name.push('/');
        let child = key.get(..key.len() - beneath.len()).unwrap_or_default();
        Ok((Some(name), Walk::Skip(layout::after_prefix(child))))
    }
}

impl Reader for SpaceReader<'_> {
    fn get(&self, path: &str) -> Result<Option<Stored>, api::Error> {
        self.row(path)
            .map_err(|error| api::Error::internal(error.to_string()))
    }

    fn list(&self, dir: &str, page: &Page) -> Result<Vec<String>, api::Error> {
        let mut names = self
            .names(dir, page)
            .map_err(|error| api::Error::internal(error.to_string()))?;
        if mutant::is("short-list") {
            names.truncate(4);
        }
        Ok(names)
    }
}
