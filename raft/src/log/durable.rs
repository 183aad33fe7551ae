//! Small files that must survive a crash whole. This file must not know what they hold.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::Error;

/// Writes a file so that a crash leaves the old content or the new: temporary file, sync, rename, sync of the folder.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|e| failed(path, &e))
}

/// A disk error at `path`.
pub(crate) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Storage(format!("{}: {error}", path.display()))
}
