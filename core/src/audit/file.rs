//! A file that records are appended to, one JSON object a line. Made with mode 0600 inside the directories the operator
//! allowed: a path chosen over the API must not become a way to write elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::audit::Record;
use crate::catalog::AuditRecord;
use crate::error::Error;

/// An audit file.
pub struct FileDevice {
    record: AuditRecord,
    file: Result<Mutex<File>, String>,
}

impl FileDevice {
    /// Opens the file, creating it. A failure is kept: the device then refuses every record.
    pub fn open(record: AuditRecord, directories: &[PathBuf]) -> Self {
        let file = open_file(&record, directories).map(Mutex::new);
        Self { record, file }
    }

    /// Its configuration.
    pub fn record(&self) -> &AuditRecord {
        &self.record
    }

    /// Whether it could be opened.
    pub fn check(&self) -> Result<(), Error> {
        match &self.file {
            Ok(_) => Ok(()),
            Err(text) => Err(Error::invalid(text.clone())),
        }
    }

    /// Appends a record in one write, so that lines of several threads do not mix.
    pub fn write(&self, record: &Record<'_>) -> io::Result<()> {
        let file = self
            .file
            .as_ref()
            .map_err(|text| io::Error::other(text.clone()))?;
        let mut line = record.encode(self.record.salt.as_bytes());
        line.push(b'\n');
        file.lock().write_all(&line)
    }
}

fn open_file(record: &AuditRecord, directories: &[PathBuf]) -> Result<File, String> {
    let path = record
        .options
        .get("file_path")
        .or_else(|| record.options.get("path"));
    let path = Path::new(path.ok_or("file_path is required")?);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("file_path must name a file".to_owned());
    };
    // Links are followed before the comparison: what counts is where the file really lies.
    let parent = parent
        .canonicalize()
        .map_err(|error| format!("sanity check failed; unable to open {path:?} for writing: {error}"))?;
    let allowed = directories
        .iter()
        .filter_map(|dir| dir.canonicalize().ok())
        .any(|dir| parent.starts_with(dir));
    if !allowed {
        return Err(format!(
            "{path:?} is outside the directories that audit_directories allows"
        ));
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(NOFOLLOW)
        .open(parent.join(name))
        .map_err(|error| format!("sanity check failed; unable to open {path:?} for writing: {error}"))
}

/// `O_NOFOLLOW` on Linux: the file itself must not be a link out of the allowed directory.
const NOFOLLOW: i32 = 0o400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    fn device(path: &Path, allowed: &Path) -> FileDevice {
        let record = AuditRecord {
            path: "file/".into(),
            kind: "file".into(),
            description: String::new(),
            options: BTreeMap::from([("file_path".to_owned(), path.to_string_lossy().into_owned())]),
            salt: "00".into(),
            accessor: String::new(),
        };
        FileDevice::open(record, &[allowed.to_owned()])
    }

    #[test]
    fn only_inside_allowed_directories_and_private() {
        let allowed = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let good = allowed.path().join("audit.log");
        device(&good, allowed.path()).check().unwrap();
        assert_eq!(good.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(device(&outside.path().join("a"), allowed.path()).check().is_err());
        assert!(
            device(&allowed.path().join("../a"), allowed.path())
                .check()
                .is_err()
        );
        let link = allowed.path().join("link");
        std::os::unix::fs::symlink(outside.path().join("target"), &link).unwrap();
        assert!(device(&link, allowed.path()).check().is_err());
        assert!(!outside.path().join("target").exists());
    }
}
