//! Records that wait to be handed on: a bounded row of files in a directory of the node's own, with a mark how far they
//! were sent. What was sent is removed file by file; what a crash left is sent again rather than lost.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use conclave_engine_api::Millis;

use crate::audit::place::Place;

/// Name of the mark.
const SENT: &str = "sent";
/// A spool is made of about so many files.
const SEGMENTS: u64 = 16;
/// Most bytes of one file.
const MAX_SEGMENT: u64 = 16 << 20;
/// Bytes handed on together; more only where one record is longer.
pub const BATCH: u64 = 256 << 10;

/// The spool of one device.
pub struct Spool {
    directory: PathBuf,
    max: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: bool,
    /// Number of the file that is written to.
    current: u64,
    /// Its bytes.
    end: u64,
    /// Bytes of the files before it.
    before: u64,
    /// How far records were sent.
    sent: Mark,
}

/// A place in a spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    segment: u64,
    offset: u64,
}

/// Records that are next to be sent.
pub struct Batch {
    /// Whole lines.
    pub bytes: Vec<u8>,
    /// The place after them.
    pub upto: Mark,
}

impl Spool {
    /// A spool in this directory, of at most so many bytes. Nothing is touched yet.
    pub fn new(directory: PathBuf, max: u64) -> Self {
        Self {
            directory,
            max,
            state: Mutex::default(),
        }
    }

    /// Bytes that were not sent yet, and bytes there is room for.
    pub fn fill(&self) -> (u64, u64) {
        let state = self.state.lock();
        let sent = if state.opened { state.sent.offset } else { 0 };
        ((state.before + state.end).saturating_sub(sent), self.max)
    }

    /// The records after those that were sent; `None` if there are none.
    pub fn next(&self) -> io::Result<Option<Batch>> {
        loop {
            let (from, current, end) = {
                let state = self.state.lock();
                if !state.opened {
                    return Ok(None);
                }
                (state.sent, state.current, state.end)
            };
            let file = File::open(self.segment(from.segment))?;
            let limit = if from.segment == current {
                end
            } else {
                file.metadata()?.len()
            };
            if from.offset < limit {
                return read(&file, from, limit).map(Some);
            }
            if from.segment == current {
                return Ok(None);
            }
            self.leave(from.segment, limit)?;
        }
    }

    /// Everything up to here was sent.
    pub fn sent(&self, upto: Mark) -> io::Result<()> {
        self.mark(upto)?;
        self.state.lock().sent = upto;
        Ok(())
    }

    /// Goes to the file after one that was sent, and removes that.
    fn leave(&self, segment: u64, bytes: u64) -> io::Result<()> {
        let next = Mark {
            segment: segment + 1,
            offset: 0,
        };
        self.mark(next)?;
        fs::remove_file(self.segment(segment))?;
        let mut state = self.state.lock();
        state.sent = next;
        state.before = state.before.saturating_sub(bytes);
        Ok(())
    }

    /// Keeps the mark on disk. Unsynced: an older one sends records twice, which their chain shows.
    fn mark(&self, mark: Mark) -> io::Result<()> {
        let fresh = self.directory.join("sent.new");
        fs::write(&fresh, format!("{} {}\n", mark.segment, mark.offset))?;
        fs::rename(fresh, self.directory.join(SENT))
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:010}.log"))
    }

    /// Finds what an earlier process left.
    fn recall(&self, state: &mut State) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Some(number) = number_of(&entry.path()) {
                found.push((number, entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        let (current, _) = found.pop().unwrap_or((1, 0));
        let first = found.first().map_or(current, |(number, _)| *number);
        let told = fs::read_to_string(self.directory.join(SENT)).unwrap_or_default();
        let told = told.trim().split_once(' ').and_then(|(segment, offset)| {
            Some(Mark {
                segment: segment.parse().ok()?,
                offset: offset.parse().ok()?,
            })
        });
        let start = Mark {
            segment: first,
            offset: 0,
        };
        state.sent = told
            .filter(|mark| mark.segment >= first && mark.segment <= current)
            .unwrap_or(start);
        state.current = current;
        state.before = found.iter().map(|(_, bytes)| bytes).sum();
        state.opened = true;
        Ok(())
    }
}

impl Place for Arc<Spool> {
    fn open(&self) -> io::Result<File> {
        let mut state = self.state.lock();
        if !state.opened {
            self.recall(&mut state)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(self.segment(state.current))?;
        // The spool is this node's alone: half a line at its end is what a crash left, and nobody was told of it.
        let end = whole_lines(&file)?;
        file.set_len(end)?;
        state.end = end;
        Ok(file)
    }

    fn is_full(&self, bytes: u64, _: Millis, _: Millis) -> bool {
        bytes >= (self.max / SEGMENTS).min(MAX_SEGMENT)
    }

    fn turn(&self, _: Millis) -> io::Result<()> {
        let mut state = self.state.lock();
        state.before += state.end;
        state.end = 0;
        state.current += 1;
        Ok(())
    }

    fn admit(&self, bytes: u64) -> io::Result<()> {
        let state = self.state.lock();
        if state.before + state.end + bytes > self.max {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the spool is full: its target has not taken records for too long",
            ));
        }
        Ok(())
    }

    fn written(&self, length: u64) {
        self.state.lock().end = length;
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let from = end.saturating_sub(BATCH);
        let mut bytes = vec![0; usize::try_from(end - from).unwrap_or(0)];
        file.read_exact_at(&mut bytes, from)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

fn read(file: &File, from: Mark, limit: u64) -> io::Result<Batch> {
    let mut wanted = BATCH;
    loop {
        let length = wanted.min(limit - from.offset);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, from.offset)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole == 0 && length < limit - from.offset {
            wanted = wanted.saturating_mul(4);
            continue;
        }
        // At the end of a file that another process was stopped in, what is left is no line: it is passed over.
        let read = if whole == 0 { bytes.len() } else { whole };
        bytes.truncate(whole);
        return Ok(Batch {
            bytes,
            upto: Mark {
                segment: from.segment,
                offset: from.offset + read as u64,
            },
        });
    }
}

/// Makes a name a folder's name.
pub fn folder(directory: &Path, node: &str, path: &str) -> PathBuf {
    let name = |text: &str| -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
            text.to_owned()
        } else {
            format!("x{}", hex::encode(text))
        }
    };
    directory
        .join(".spool")
        .join(name(node))
        .join(name(path.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn append(spool: &Arc<Spool>, mut file: &File, text: &str) {
        file.write_all(text.as_bytes()).unwrap();
        spool.written(file.metadata().unwrap().len());
    }

    #[test]
    fn what_was_not_sent_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let at = folder(dir.path(), "n 1", "siem/");
        let spool = Arc::new(Spool::new(at.clone(), 1 << 20));
        assert!(spool.next().unwrap().is_none());
        let file = spool.open().unwrap();
        append(&spool, &file, "one\ntwo\n");
        let batch = spool.next().unwrap().unwrap();
        assert_eq!(batch.bytes, b"one\ntwo\n");
        spool.sent(batch.upto).unwrap();
        assert!(spool.next().unwrap().is_none());
        append(&spool, &file, "three\n");
        spool.turn(0).unwrap();
        let file = spool.open().unwrap();
        append(&spool, &file, "four\n");
        assert_eq!(spool.fill().0, 11);
        // Another process: half a line is dropped, the rest comes in order and its files go.
        (&file).write_all(b"fi").unwrap();
        let spool = Arc::new(Spool::new(at.clone(), 1 << 20));
        let file = spool.open().unwrap();
        let mut got = Vec::new();
        while let Some(batch) = spool.next().unwrap() {
            got.extend(batch.bytes);
            spool.sent(batch.upto).unwrap();
        }
        assert_eq!(got, b"three\nfour\n");
        assert_eq!((spool.fill().0, file.metadata().unwrap().len()), (0, 5));
        let logs = fs::read_dir(&at).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().ends_with(".log")
        });
        assert_eq!(logs.count(), 1);
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::new(dir.path().join("s"), 100));
        let file = spool.open().unwrap();
        append(&spool, &file, &format!("{}\n", "x".repeat(79)));
        assert!(spool.admit(20).is_ok());
        assert_eq!(spool.admit(21).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(spool.is_full(6, 0, 0) && !spool.is_full(5, 0, 0));
        // A record longer than a batch is read whole.
        let spool = Arc::new(Spool::new(dir.path().join("t"), 1 << 20));
        let file = spool.open().unwrap();
        let long = format!("{}\n", "y".repeat(700_000));
        append(&spool, &file, &long);
        assert_eq!(spool.next().unwrap().unwrap().bytes.len(), long.len());
    }
}
