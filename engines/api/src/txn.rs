//! A transaction as an engine sees it: reads through a scoped view, read-your-writes, and a record of everything that
//! was read, so that the commit can demand that none of it has changed. Knows no keys, sealing or Raft.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::env::Millis;
use crate::error::Error;

/// Longest path of a row in bytes.
pub const MAX_PATH_BYTES: usize = 2048;
/// Largest value of a row in bytes: Vault's `max_entry_size`.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// Most names that one scan gives. Beyond it the caller lists directory by directory.
pub const MAX_SCAN_NAMES: usize = 100_000;

/// What a transaction reads from: the rows of one mount in one consistent view.
pub trait Reader {
    /// The row at `path`.
    fn get(&self, path: &str) -> Result<Option<Stored>, Error>;
    /// Names directly beneath `dir` (empty or ending in `/`), sorted bytewise; sub-directories end in `/`. A name that is
    /// both appears twice.
    fn list(&self, dir: &str, page: &Page) -> Result<Vec<String>, Error>;
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Only names sorting after this one; empty for all.
    pub after: String,
    /// At most this many; `None` for all.
    pub limit: Option<usize>,
}

/// A stored row.
#[derive(Clone)]
pub struct Stored {
    /// The opened value.
    pub value: Zeroizing<Vec<u8>>,
    /// Revision of its last write.
    pub revision: u64,
    /// Revision of its creation or last `new_generation`.
    pub generation: u64,
    /// When it falls due.
    pub deadline: Option<Millis>,
}

/// What was seen of a row when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was not there.
    Absent,
    /// It was there with this revision and deadline.
    Revision {
        /// Its revision.
        revision: u64,
        /// Its deadline.
        deadline: Option<Millis>,
    },
}

/// A change to one row.
#[derive(Clone)]
pub enum Write {
    /// Write the row.
    Put {
        /// New value.
        value: Zeroizing<Vec<u8>>,
        /// When `Engine::due` is called for it.
        deadline: Option<Millis>,
        /// Whether holders of the old generation must fail.
        new_generation: bool,
    },
    /// Remove the row.
    Delete,
}

/// Everything a transaction read and wrote.
#[derive(Clone, Default)]
pub struct Changes {
    /// What was read, and what was seen: all of it must still hold at commit.
    pub reads: BTreeMap<String, Seen>,
    /// What is to be written.
    pub writes: BTreeMap<String, Write>,
    /// Directories that were listed in order to write.
    pub guards: Vec<String>,
}

/// One transaction over the rows of one mount.
pub struct Txn<'a> {
    reader: &'a dyn Reader,
    changes: Changes,
}

impl<'a> Txn<'a> {
    /// A transaction that has read and written nothing.
    pub fn new(reader: &'a dyn Reader) -> Self {
        Self {
            reader,
            changes: Changes::default(),
        }
    }

    /// The row at `path`, as this transaction would leave it.
    pub fn get(&mut self, path: &str) -> Result<Option<Stored>, Error> {
        check_path(path)?;
        if let Some(write) = self.changes.writes.get(path) {
            return Ok(match write {
                Write::Delete => None,
                Write::Put { value, deadline, .. } => Some(Stored {
                    value: value.clone(),
                    revision: 0,
                    generation: 0,
                    deadline: *deadline,
                }),
            });
        }
        let stored = self.reader.get(path)?;
        let seen = match &stored {
            None => Seen::Absent,
            Some(row) => Seen::Revision {
                revision: row.revision,
                deadline: row.deadline,
            },
        };
        self.changes.reads.entry(path.to_owned()).or_insert(seen);
        Ok(stored)
    }

    /// Writes a row that never falls due.
    pub fn put(&mut self, path: &str, value: impl Into<Zeroizing<Vec<u8>>>) -> Result<(), Error> {
        self.write(path, value.into(), None, false)
    }

    /// Writes a row for which `Engine::due` is called at `deadline`.
    pub fn put_due(
        &mut self,
        path: &str,
        value: impl Into<Zeroizing<Vec<u8>>>,
        deadline: Option<Millis>,
    ) -> Result<(), Error> {
        self.write(path, value.into(), deadline, false)
    }

    /// Writes a row and ends its generation: commands that expect the old one fail.
    pub fn put_new_generation(
        &mut self,
        path: &str,
        value: impl Into<Zeroizing<Vec<u8>>>,
        deadline: Option<Millis>,
    ) -> Result<(), Error> {
        self.write(path, value.into(), deadline, true)
    }

    fn write(
        &mut self,
        path: &str,
        value: Zeroizing<Vec<u8>>,
        deadline: Option<Millis>,
        new_generation: bool,
    ) -> Result<(), Error> {
        check_path(path)?;
        if value.len() > MAX_VALUE_BYTES {
            return Err(Error::TooLarge(format!(
                "put failed due to value being too large; got {} bytes, max: {MAX_VALUE_BYTES} bytes",
                value.len()
            )));
        }
        self.changes.writes.insert(
            path.to_owned(),
            Write::Put {
                value,
                deadline,
                new_generation,
            },
        );
        Ok(())
    }

    /// Removes a row; nothing happens if there is none.
    pub fn delete(&mut self, path: &str) -> Result<(), Error> {
        check_path(path)?;
        self.changes.writes.insert(path.to_owned(), Write::Delete);
        Ok(())
    }

    /// Names directly beneath `dir` (empty or ending in `/`), sorted bytewise, as this transaction would leave them.
    /// Not recorded as a read: for answers, not for decisions.
    pub fn list(&mut self, dir: &str, page: &Page) -> Result<Vec<String>, Error> {
        check_dir(dir)?;
        let touched = self
            .changes
            .writes
            .range(dir.to_owned()..)
            .take_while(|(path, _)| path.starts_with(dir));
        if touched.count() == 0 {
            return self.reader.list(dir, page);
        }
        let mut names = self.merged(dir)?;
        names.retain(|name| name.as_str() > page.after.as_str());
        names.truncate(page.limit.unwrap_or(usize::MAX));
        Ok(names)
    }

    /// As `list`, recorded: the commit fails if a name was created or deleted in `dir` meanwhile.
    pub fn list_guarded(&mut self, dir: &str, page: &Page) -> Result<Vec<String>, Error> {
        if !self.changes.guards.iter().any(|guard| guard == dir) {
            self.changes.guards.push(dir.to_owned());
        }
        self.list(dir, page)
    }

    /// Names beneath `dir` (empty or ending in `/`) at any depth, relative to it, without directories: those of a directory
    /// first, then its sub-directories from the last to the first, as Vault orders them. Not recorded as reads. More than
    /// `MAX_SCAN_NAMES` are an error.
    pub fn scan(&mut self, dir: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(prefix) = pending.pop() {
            for name in self.list(&format!("{dir}{prefix}"), &Page::default())? {
                let path = format!("{prefix}{name}");
                if path.ends_with('/') {
                    pending.push(path);
                } else {
                    found.push(path);
                }
            }
            if found.len() + pending.len() > MAX_SCAN_NAMES {
                return Err(Error::invalid(format!(
                    "there are more than {MAX_SCAN_NAMES} names here; list directory by directory"
                )));
            }
        }
        Ok(found)
    }

    fn merged(&self, dir: &str) -> Result<Vec<String>, Error> {
        let mut names: BTreeMap<String, ()> = BTreeMap::new();
        for name in self.reader.list(dir, &Page::default())? {
            if self.still_there(dir, &name)? {
                names.insert(name, ());
            }
        }
        for (path, write) in self
            .changes
            .writes
            .range(dir.to_owned()..)
            .take_while(|(p, _)| p.starts_with(dir))
        {
            if let (Write::Put { .. }, Some(rest)) = (write, path.strip_prefix(dir)) {
                let name = rest.split_inclusive('/').next().unwrap_or(rest);
                names.insert(name.to_owned(), ());
            }
        }
        Ok(names.into_keys().collect())
    }

    /// Whether a listed name survives this transaction's deletes.
    fn still_there(&self, dir: &str, name: &str) -> Result<bool, Error> {
        let path = format!("{dir}{name}");
        if !name.ends_with('/') {
            return Ok(!matches!(self.changes.writes.get(&path), Some(Write::Delete)));
        }
        let deletes_beneath = self
            .changes
            .writes
            .range(path.clone()..)
            .take_while(|(p, _)| p.starts_with(&path))
            .next()
            .is_some();
        Ok(!deletes_beneath || !self.merged(&path)?.is_empty())
    }

    /// How many rows it would write or delete.
    pub fn writes(&self) -> usize {
        self.changes.writes.len()
    }

    /// Ends the transaction.
    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

/// Directories: empty, or a path and a slash.
fn check_dir(dir: &str) -> Result<(), Error> {
    if dir.is_empty() {
        return Ok(());
    }
    check_path(dir.strip_suffix('/').unwrap_or_default())
}

/// Paths of rows: non-empty `/`-separated segments, none empty.
fn check_path(path: &str) -> Result<(), Error> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Error::invalid(format!(
            "path is longer than {MAX_PATH_BYTES} bytes"
        )));
    }
    if path.is_empty() || path.split('/').any(str::is_empty) {
        return Err(Error::invalid("path has an empty segment"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::MemoryReader;

    fn names(txn: &mut Txn<'_>, dir: &str) -> Vec<String> {
        txn.list(dir, &Page::default()).unwrap()
    }

    #[test]
    fn reads_its_own_writes_and_records_what_it_saw() {
        let reader = MemoryReader::with([("a/x", "1"), ("a/y/z", "2")]);
        let mut txn = Txn::new(&reader);
        assert_eq!(names(&mut txn, "a/"), ["x", "y/"]);
        txn.put("a/new", b"3".to_vec()).unwrap();
        txn.delete("a/y/z").unwrap();
        assert_eq!(names(&mut txn, "a/"), ["new", "x"]);
        assert_eq!(names(&mut txn, ""), ["a/"]);
        assert!(txn.get("a/y/z").unwrap().is_none());
        assert!(txn.get("absent").unwrap().is_none());
        assert_eq!(txn.get("a/x").unwrap().unwrap().value.as_slice(), b"1");
        let changes = txn.into_changes();
        assert_eq!(changes.reads.get("absent"), Some(&Seen::Absent));
        assert!(matches!(changes.reads.get("a/x"), Some(Seen::Revision { .. })));
        assert!(!changes.reads.contains_key("a/y/z"), "own writes are not reads");
    }

    #[test]
    fn scans_the_files_of_a_directory_before_its_directories() {
        let rows = ["s/a/1", "s/a/z/1", "s/b/1", "s/c", "t/1"];
        let reader = MemoryReader::with(rows.map(|path| (path, "v")));
        let mut txn = Txn::new(&reader);
        assert_eq!(txn.scan("s/").unwrap(), ["c", "b/1", "a/1", "a/z/1"]);
        assert_eq!(txn.scan("").unwrap().len(), rows.len());
        assert!(txn.scan("none/").unwrap().is_empty());
        assert!(txn.into_changes().reads.is_empty());
    }

    #[test]
    fn refuses_bad_paths_and_oversized_values() {
        let reader = MemoryReader::default();
        let mut txn = Txn::new(&reader);
        for path in ["", "/", "a//b", "a/", &"x".repeat(MAX_PATH_BYTES + 1)] {
            assert!(txn.put(path, b"v".to_vec()).is_err(), "{path:?}");
        }
        for dir in ["/", "a", "a//", "a//b/"] {
            assert!(txn.list(dir, &Page::default()).is_err(), "{dir:?}");
        }
        assert!(matches!(
            txn.put("a", vec![0; MAX_VALUE_BYTES + 1]),
            Err(Error::TooLarge(_))
        ));
        assert!(txn.into_changes().writes.is_empty());
    }
}
