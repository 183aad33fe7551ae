//! The directory of a state store: numbered databases and a pointer file that names the one in force. The pointer is
//! replaced by a rename, so a crash at any step leaves the old database or the new one. This file must not know what
//! a database is.
//!
//! `POINTER` holds `conclave-state 1 <number> ready|creating`, then a line feed; databases are `state-<number>`.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

const POINTER: &str = "POINTER";
const POINTER_NEXT: &str = "POINTER.next";
const LOCK: &str = "LOCK";
const MAGIC: &str = "conclave-state 1";
const PREFIX: &str = "state-";
/// Files that databases never change once written: linked rather than copied.
const IMMUTABLE: [&str; 2] = ["sst", "blob"];

/// An open directory, locked against other processes.
pub(super) struct Place {
    root: PathBuf,
    _lock: File,
}

/// What the pointer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    /// The database in force.
    pub number: u64,
    /// Whether it is complete; if not, nothing was ever written to it.
    pub ready: bool,
}

impl Place {
    /// Locks `root` (made if missing) and finds the database in force. In an empty directory that is a first one, yet
    /// to be created.
    pub fn open(root: &Path) -> Result<(Self, Pointer), Error> {
        fs::create_dir_all(root).map_err(|error| failed(root, &error))?;
        let path = root.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = lock.map_err(|error| failed(&path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Storage(format!(
                    "{}: another process uses it",
                    root.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
        }
        let place = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        let pointer = match place.read_pointer()? {
            Some(pointer) => pointer,
            None if place.databases()?.is_empty() => {
                let first = Pointer {
                    number: 1,
                    ready: false,
                };
                place.point_to(first)?;
                first
            }
            None => return Err(place.corrupt("there are databases but no pointer to the one in force")),
        };
        let dir = place.database(pointer.number);
        if !pointer.ready {
            remove_dir(&dir)?;
        } else if !dir.is_dir() {
            return Err(place.corrupt("the database in force is missing"));
        }
        Ok((place, pointer))
    }

    /// Where a database is.
    pub fn database(&self, number: u64) -> PathBuf {
        self.root.join(format!("{PREFIX}{number:010}"))
    }

    /// Makes a durable copy of a database's files under `number`, which must not be in force.
    pub fn stage(&self, files: &[PathBuf], number: u64) -> Result<(), Error> {
        let to = self.database(number);
        remove_dir(&to)?;
        fs::create_dir(&to).map_err(|error| failed(&to, &error))?;
        for (source, name) in files.iter().filter_map(|file| Some((file, file.file_name()?))) {
            copy_or_link(source, &to.join(name))?;
        }
        sync_dir(&to)?;
        sync_dir(&self.root)
    }

    /// Puts a database in force; the rename is the moment.
    pub fn point_to(&self, pointer: Pointer) -> Result<(), Error> {
        let next = self.root.join(POINTER_NEXT);
        let state = if pointer.ready { "ready" } else { "creating" };
        let mut file = File::create(&next).map_err(|error| failed(&next, &error))?;
        writeln!(file, "{MAGIC} {} {state}", pointer.number).map_err(|error| failed(&next, &error))?;
        file.sync_all().map_err(|error| failed(&next, &error))?;
        let path = self.root.join(POINTER);
        fs::rename(&next, &path).map_err(|error| failed(&path, &error))?;
        sync_dir(&self.root)
    }

    /// Removes what a crash left: databases that are not in force.
    pub fn sweep(&self, in_force: u64) -> Result<(), Error> {
        let keep = self.database(in_force);
        for dir in self.databases()? {
            if dir != keep {
                remove_dir(&dir)?;
            }
        }
        Ok(())
    }

    fn databases(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(|error| failed(&self.root, &error))? {
            let entry = entry.map_err(|error| failed(&self.root, &error))?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    fn read_pointer(&self) -> Result<Option<Pointer>, Error> {
        let path = self.root.join(POINTER);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(self.corrupt("the pointer is not text"));
            }
            Err(error) => return Err(failed(&path, &error)),
        };
        let parsed = text.strip_suffix('\n').and_then(|line| {
            let (number, state) = line.strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
            let ready = match state {
                "ready" => true,
                "creating" => false,
                _ => return None,
            };
            Some(Pointer {
                number: number.parse().ok()?,
                ready,
            })
        });
        parsed
            .map(Some)
            .ok_or_else(|| self.corrupt("the pointer does not parse"))
    }

    fn corrupt(&self, detail: &str) -> Error {
        Error::Corrupt {
            what: "state directory",
            detail: format!("{}: {detail}", self.root.display()),
        }
    }
}

/// Removes a directory with its files; one that is missing is fine.
pub(super) fn remove_dir(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(dir, &error)),
        _ => Ok(()),
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| failed(dir, &error))
}

fn copy_or_link(from: &Path, to: &Path) -> Result<(), Error> {
    let immutable = from
        .extension()
        .is_some_and(|kind| IMMUTABLE.iter().any(|known| kind == *known));
    // Linking fails across file systems; then a copy does as well.
    if !(immutable && fs::hard_link(from, to).is_ok()) {
        fs::copy(from, to).map_err(|error| failed(from, &error))?;
    }
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|error| failed(to, &error))
}

/// An error about a path.
pub(super) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Storage(format!("{}: {error}", path.display()))
}
