//! A file that records are appended to, one JSON object a line. Made with mode 0600 inside the directories the operator
//! allowed: a path chosen over the API must not become a way to write elsewhere. Many requests share one write and one sync.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::audit::options::FileOptions;

/// `O_NOFOLLOW` on Linux: the file itself must not be a link out of the allowed directory.
const NOFOLLOW: i32 = 0o400_000;

/// Room for lines that is kept for the next ones, in bytes.
const SPARE: usize = 1 << 20;

/// An audit file.
pub struct FileDevice {
    options: FileOptions,
    directories: Arc<[PathBuf]>,
    /// Lines that the next write takes. Locked after `out` by whoever holds both.
    waiting: Mutex<Waiting>,
    out: Mutex<Out>,
    /// Held by the one that syncs for all.
    syncing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Records that were ever handed in.
    last: u64,
    group: Arc<Group>,
}

/// What became of lines that were written in one piece, once that is known.
type Group = OnceLock<Result<(), Arc<io::Error>>>;

/// A record that waits for a write, perhaps somebody else's.
pub struct Place {
    mark: Mark,
    group: Arc<Group>,
}

struct Out {
    file: Option<Arc<File>>,
    /// Room that the next lines may use.
    spare: Vec<u8>,
    /// The last line was cut and could not be taken back.
    torn: bool,
    /// Records written.
    written: u64,
    /// Records that would survive a loss of power, but for those in `lost`.
    synced: u64,
    /// Records whose sync failed last.
    lost: Option<RangeInclusive<u64>>,
}

/// The place of a record in its file: what to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl FileDevice {
    /// The file of these options. Opened by the first write, or by [`FileDevice::check`].
    pub fn new(options: FileOptions, directories: Arc<[PathBuf]>) -> Self {
        Self {
            options,
            directories,
            waiting: Mutex::default(),
            out: Mutex::new(Out {
                file: None,
                spare: Vec::new(),
                torn: false,
                written: 0,
                synced: 0,
                lost: None,
            }),
            syncing: tokio::sync::Mutex::default(),
        }
    }

    /// Its options.
    pub fn options(&self) -> &FileOptions {
        &self.options
    }

    /// Opens the file unless it is open, creating it.
    pub fn check(&self) -> io::Result<()> {
        self.writable(&mut self.out.lock()).map(|_| ())
    }

    /// Hands in whole lines. They lie in memory until [`FileDevice::flush`].
    pub fn hand_in(&self, lines: &[u8]) -> Place {
        let mut waiting = self.waiting.lock();
        waiting.lines.extend_from_slice(lines);
        waiting.last += 1;
        Place {
            mark: Mark(waiting.last),
            group: waiting.group.clone(),
        }
    }

    /// Writes all that was handed in, in one piece, unless somebody else did since then.
    ///
    /// # Errors
    /// The file did not take the lines, or not all of those that were written with them.
    pub fn flush(&self, place: &Place) -> io::Result<Mark> {
        let mut out = self.out.lock();
        if place.group.get().is_none() {
            let spare = std::mem::take(&mut out.spare);
            let Waiting {
                mut lines,
                last,
                group,
            } = {
                let mut waiting = self.waiting.lock();
                let (last, fresh) = (
                    waiting.last,
                    Waiting {
                        lines: spare,
                        last: waiting.last,
                        group: Arc::default(),
                    },
                );
                Waiting {
                    last,
                    ..std::mem::replace(&mut *waiting, fresh)
                }
            };
            let written = self.append(&mut out, &lines).map_err(Arc::new);
            out.written = last;
            // Nobody else can have set it: that takes the lock that is held here.
            group.set(written).ok();
            lines.clear();
            if lines.capacity() <= SPARE {
                out.spare = lines;
            }
        }
        match place.group.get() {
            Some(Ok(())) => Ok(place.mark),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.clone())),
            None => Err(io::Error::other("the lines were not written")),
        }
    }

    /// Appends lines in one piece, so that those of several threads do not mix.
    fn append(&self, out: &mut Out, lines: &[u8]) -> io::Result<()> {
        let (file, length) = self.writable(out)?;
        if out.torn {
            (&*file).write_all(b"\n")?;
            out.torn = false;
        }
        let Err((cut, error)) = append(&file, lines) else {
            return Ok(());
        };
        // Half a line would spoil the next one: take it back, or end it.
        let now = file.metadata().map_or(0, |metadata| metadata.len());
        let alone = now == length.saturating_add(cut);
        out.torn = cut > 0 && !(alone && file.set_len(length).is_ok());
        Err(error)
    }

    /// Waits until a record is as durable as the options ask. Whoever comes first syncs for all that were written by then.
    pub async fn settle(&self, mark: Mark) -> io::Result<()> {
        if !self.options.sync {
            return Ok(());
        }
        if let Some(settled) = self.settled(mark) {
            return settled;
        }
        let _alone = self.syncing.lock().await;
        if let Some(settled) = self.settled(mark) {
            return settled;
        }
        let (file, from, upto) = {
            let out = self.out.lock();
            (out.file.clone(), out.synced + 1, out.written)
        };
        let synced = match file {
            Some(file) => tokio::task::spawn_blocking(move || file.sync_data())
                .await
                .unwrap_or_else(|_| Err(io::Error::other("the sync broke off"))),
            None => Err(closed()),
        };
        let mut out = self.out.lock();
        // The system forgets what it failed to write: a later sync that succeeds says nothing of these.
        out.synced = out.synced.max(upto);
        if let Err(error) = synced {
            out.lost = Some(from..=upto);
            out.file = None;
            return Err(error);
        }
        Ok(())
    }

    /// Opens the file again, for whoever moved it away. What was open stays if that fails.
    pub fn reopen(&self) -> io::Result<()> {
        let fresh = self.open()?;
        let mut out = self.out.lock();
        if let (Some(old), true) = (&out.file, self.options.sync) {
            old.sync_data()?;
            out.synced = out.written;
        }
        out.file = Some(Arc::new(fresh));
        out.torn = false;
        Ok(())
    }

    fn settled(&self, mark: Mark) -> Option<io::Result<()>> {
        let out = self.out.lock();
        if mark.0 > out.synced {
            return None;
        }
        let lost = out.lost.as_ref().is_some_and(|lost| lost.contains(&mark.0));
        Some(if lost { Err(closed()) } else { Ok(()) })
    }

    /// The open file and its length. One that somebody removed is made anew: records in it would be lost unseen.
    fn writable(&self, out: &mut Out) -> io::Result<(Arc<File>, u64)> {
        if let Some(file) = &out.file {
            let metadata = file.metadata()?;
            if metadata.nlink() > 0 {
                return Ok((file.clone(), metadata.len()));
            }
            out.file = None;
        }
        let file = Arc::new(self.open()?);
        let length = file.metadata()?.len();
        out.file = Some(file.clone());
        out.torn = false;
        Ok((file, length))
    }

    fn open(&self) -> io::Result<File> {
        let path = &self.options.file;
        let refused = |text: String| io::Error::new(io::ErrorKind::PermissionDenied, text);
        let unopened = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("sanity check failed; unable to open {path:?} for writing: {error}"),
            )
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused("file_path must name a file".to_owned()));
        };
        // Links are followed before the comparison: what counts is where the file really lies.
        let parent = parent.canonicalize().map_err(unopened)?;
        let mut allowed = self.directories.iter().filter_map(|dir| dir.canonicalize().ok());
        if !allowed.any(|dir| parent.starts_with(dir)) {
            return Err(refused(format!(
                "{path:?} is outside the directories that audit_directories allows"
            )));
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(NOFOLLOW)
            .open(parent.join(name))
            .map_err(unopened)?;
        if !file.metadata()?.is_file() {
            return Err(refused(format!("{path:?} is not a file")));
        }
        Ok(file)
    }
}

fn closed() -> io::Error {
    io::Error::other("the audit file could not be synced")
}

/// Writes all of it; on failure how much of it was written.
fn append(mut file: &File, line: &[u8]) -> Result<(), (u64, io::Error)> {
    let mut rest = line;
    while !rest.is_empty() {
        let cut = u64::try_from(line.len() - rest.len()).unwrap_or(u64::MAX);
        match file.write(rest) {
            Ok(0) => return Err((cut, io::ErrorKind::WriteZero.into())),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((cut, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    impl FileDevice {
        fn write(&self, line: &[u8]) -> io::Result<Mark> {
            self.flush(&self.hand_in(line))
        }
    }

    fn device(path: &Path, allowed: &Path, sync: bool) -> FileDevice {
        let options = FileOptions {
            file: path.to_owned(),
            sync,
        };
        FileDevice::new(options, Arc::from([allowed.to_owned()]))
    }

    #[test]
    fn only_inside_allowed_directories_and_private() {
        let allowed = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let good = allowed.path().join("audit.log");
        let check = |path: &Path| device(path, allowed.path(), false).check();
        check(&good).unwrap();
        assert_eq!(good.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(check(&outside.path().join("a")).is_err());
        assert!(check(&allowed.path().join("../a")).is_err());
        assert!(check(allowed.path()).is_err(), "a directory");
        let link = allowed.path().join("link");
        std::os::unix::fs::symlink(outside.path().join("target"), &link).unwrap();
        assert!(check(&link).is_err());
        assert!(!outside.path().join("target").exists());
        let away = allowed.path().join("away");
        std::os::unix::fs::symlink(outside.path(), &away).unwrap();
        assert!(check(&away.join("a")).is_err());
    }

    #[test]
    fn a_removed_file_is_made_anew_and_a_moved_one_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let device = device(&path, dir.path(), false);
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        device.write(b"one\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        device.write(b"two\n").unwrap();
        assert_eq!(text(&path), "two\n");
        let moved = dir.path().join("audit.log.1");
        std::fs::rename(&path, &moved).unwrap();
        device.write(b"three\n").unwrap();
        device.reopen().unwrap();
        device.write(b"four\n").unwrap();
        assert_eq!(
            (text(&moved), text(&path)),
            ("two\nthree\n".into(), "four\n".into())
        );
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert!(device.write(b"five\n").is_err());
        assert!(device.reopen().is_err());
        std::fs::create_dir(dir.path()).unwrap();
        device.write(b"six\n").unwrap();
        assert_eq!(text(&path), "six\n", "and works again when it can");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_wait_for_one_sync_and_lines_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let device = Arc::new(device(&path, dir.path(), true));
        let writers = (0..64).map(|n| {
            let device = device.clone();
            tokio::spawn(async move {
                for at in 0..20 {
                    let line = format!("{n}-{at}-{}\n", "x".repeat(n * 7));
                    let mark = device.write(line.as_bytes()).unwrap();
                    device.settle(mark).await.unwrap();
                    assert!(device.out.lock().synced >= mark.0);
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 64 * 20);
        for line in text.lines() {
            let mut parts = line.split('-');
            let n: usize = parts.next().unwrap().parse().unwrap();
            assert_eq!(parts.next_back().unwrap().len(), n * 7);
        }
    }

    #[test]
    fn lines_are_written_by_whoever_comes_first_and_refused_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let device = device(&path, dir.path(), false);
        let places = ["one\n", "two\n"].map(|line| device.hand_in(line.as_bytes()));
        assert!(!path.exists(), "nothing is written yet");
        device.flush(&places[1]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        std::fs::remove_file(&path).unwrap();
        device.flush(&places[0]).unwrap();
        assert!(!path.exists(), "it was written with the other");

        std::fs::remove_dir_all(dir.path()).unwrap();
        let lost = ["three\n", "four\n"].map(|line| device.hand_in(line.as_bytes()));
        device.flush(&lost[0]).unwrap_err();
        std::fs::create_dir(dir.path()).unwrap();
        device.write(b"five\n").unwrap();
        device.flush(&lost[1]).unwrap_err();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "five\n",
            "what was refused is not written later"
        );
    }

    #[tokio::test]
    async fn what_a_failed_sync_covered_is_not_taken_later() {
        let dir = tempfile::tempdir().unwrap();
        let device = device(&dir.path().join("audit.log"), dir.path(), true);
        let one = device.write(b"one\n").unwrap();
        // As a sync that failed leaves it.
        {
            let mut out = device.out.lock();
            out.synced = 1;
            out.lost = Some(1..=1);
        }
        let two = device.write(b"two\n").unwrap();
        device.settle(two).await.unwrap();
        assert!(device.settle(one).await.is_err());
    }
}
