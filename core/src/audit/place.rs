//! Where a journal's lines go: a file that is opened, may be full, and makes room for the next one. The named file of an
//! operator is here; the spool's segments are another.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_engine_api::Millis;

use crate::audit::options::FileOptions;

/// `O_NOFOLLOW` on Linux: the file itself must not be a link out of the allowed directory.
const NOFOLLOW: i32 = 0o400_000;

/// Where lines go.
pub trait Place: Send + Sync + 'static {
    /// Opens what is written to now, creating it.
    fn open(&self) -> io::Result<File>;

    /// Whether what is open (this many bytes, begun then) takes no more before [`Place::turn`].
    fn is_full(&self, bytes: u64, begun: Millis, now: Millis) -> bool;

    /// Puts what was open aside; the next [`Place::open`] begins anew.
    fn turn(&self, now: Millis) -> io::Result<()>;

    /// Whether so many bytes more fit.
    fn admit(&self, bytes: u64) -> io::Result<()>;

    /// Bytes of records in what is open.
    fn length(&self, open: &Metadata) -> u64;

    /// Adds bytes behind the first `length`, all of them or none.
    fn append(&self, open: &File, length: u64, bytes: &[u8]) -> Result<(), Cut>;
}

/// Why nothing was added.
pub struct Cut {
    /// Half a line stays there: it could not be taken back.
    pub torn: bool,
    /// What happened.
    pub error: io::Error,
}

/// A file under a name that an operator chose, inside the directories allowed: a path chosen over the API must not become a
/// way to write elsewhere.
pub struct NamedFile {
    options: FileOptions,
    directories: Arc<[PathBuf]>,
}

impl NamedFile {
    /// The file of these options.
    pub fn new(options: FileOptions, directories: Arc<[PathBuf]>) -> Self {
        Self { options, directories }
    }

    /// Its directory and name, once links are followed: what counts is where the file really lies.
    fn resolve(&self) -> io::Result<(PathBuf, &Path)> {
        let path = &self.options.file;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused("file_path must name a file".to_owned()));
        };
        let parent = parent.canonicalize().map_err(|error| self.unopened(error))?;
        let mut allowed = self.directories.iter().filter_map(|dir| dir.canonicalize().ok());
        if !allowed.any(|dir| parent.starts_with(dir)) {
            return Err(refused(format!(
                "{path:?} is outside the directories that audit_directories allows"
            )));
        }
        Ok((parent, Path::new(name)))
    }

    fn unopened(&self, error: io::Error) -> io::Error {
        let path = &self.options.file;
        io::Error::new(
            error.kind(),
            format!("sanity check failed; unable to open {path:?} for writing: {error}"),
        )
    }

    /// Removes the oldest of the files that were put aside.
    fn prune(&self, parent: &Path, name: &Path) -> io::Result<()> {
        if self.options.rotate_max_files == 0 {
            return Ok(());
        }
        let mut aside = Vec::new();
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            let found = entry.file_name();
            let at = found.to_str().zip(name.to_str()).and_then(|(found, name)| {
                found
                    .strip_prefix(name)?
                    .strip_prefix('.')?
                    .parse::<Millis>()
                    .ok()
            });
            aside.extend(at.map(|at| (at, entry.path())));
        }
        aside.sort();
        let surplus = aside.len().saturating_sub(self.options.rotate_max_files);
        for (_, path) in aside.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

impl Place for NamedFile {
    fn open(&self) -> io::Result<File> {
        let (parent, name) = self.resolve()?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .custom_flags(NOFOLLOW)
            .open(parent.join(name))
            .map_err(|error| self.unopened(error))?;
        if !file.metadata()?.is_file() {
            return Err(refused(format!("{:?} is not a file", self.options.file)));
        }
        Ok(file)
    }

    fn is_full(&self, bytes: u64, begun: Millis, now: Millis) -> bool {
        let FileOptions {
            rotate_bytes,
            rotate_after,
            ..
        } = self.options;
        let old = rotate_after > 0 && now.saturating_sub(begun) >= rotate_after;
        (rotate_bytes > 0 && bytes >= rotate_bytes) || (old && bytes > 0)
    }

    fn turn(&self, now: Millis) -> io::Result<()> {
        let (parent, name) = self.resolve()?;
        let from = parent.join(name);
        let mut at = now;
        // Two in one millisecond must not become one.
        let to = loop {
            let mut to = from.clone().into_os_string();
            to.push(format!(".{at}"));
            if !fs::exists(&to)? {
                break to;
            }
            at = at.saturating_add(1);
        };
        fs::rename(&from, to)?;
        self.prune(&parent, name)
    }

    fn admit(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn length(&self, open: &Metadata) -> u64 {
        open.len()
    }

    fn append(&self, open: &File, length: u64, bytes: &[u8]) -> Result<(), Cut> {
        let (cut, error) = match write(open, bytes) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        // Half a line would spoil the next one: it is taken back, unless another process has written behind it.
        let now = open.metadata().map_or(0, |metadata| metadata.len());
        let alone = now == length.saturating_add(cut);
        let back = cut == 0 || (alone && open.set_len(length).is_ok());
        Err(Cut { torn: !back, error })
    }
}

/// Writes all of it; on failure how much of it was written.
fn write(mut file: &File, bytes: &[u8]) -> Result<(), (u64, io::Error)> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut = u64::try_from(bytes.len() - rest.len()).unwrap_or(u64::MAX);
        match file.write(rest) {
            Ok(0) => return Err((cut, io::ErrorKind::WriteZero.into())),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((cut, error)),
        }
    }
    Ok(())
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}
