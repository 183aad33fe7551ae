//! Records that wait to be handed on: a bounded row of files in a directory of the node's own, with a mark how far they
//! were sent. What was sent is removed file by file; what a crash left is sent again rather than lost.
//!
//! Where records are synced, zero bytes are written ahead of them: a sync of blocks that are there already is one of data
//! alone, while one of a file that grows is a commit of the file system's journal, too. No record has a zero byte in it, so the
//! first one is where records end, whatever of the blocks behind it a loss of power has kept.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use conclave_engine_api::Millis;

use crate::audit::place::{Cut, Place};

/// Name of the mark.
const SENT: &str = "sent";
/// The folder of a spool and those above it that are made with it, and the one these are in.
const FOLDERS: usize = 4;
/// A spool is made of about so many files.
const SEGMENTS: u64 = 16;
/// Most bytes of one file.
const MAX_SEGMENT: u64 = 16 << 20;
/// Zero bytes written ahead of records, at most; about one sync for so many bytes pays for the file's growth.
const AHEAD: u64 = 1 << 20;
/// Written at once of them.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Bytes handed on together; more only where one record is longer.
pub const BATCH: u64 = 256 << 10;

/// The spool of one device.
pub struct Spool {
    directory: PathBuf,
    max: u64,
    synced: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: bool,
    /// Number of the file that is written to.
    current: u64,
    /// Its bytes.
    end: u64,
    /// Up to where it was filled with zeros.
    filled: u64,
    /// Behind its end is what could not be taken back.
    torn: bool,
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
    /// A spool in this directory, of at most so many bytes, whose records are synced or not. Nothing is touched yet.
    pub fn new(directory: PathBuf, max: u64, synced: bool) -> Self {
        Self {
            directory,
            max,
            synced,
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
            if from.segment == current || (from.segment + 1 == current && end == 0) {
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
        if self.synced {
            // The end of the chain is looked for in the last file: nothing goes before that has a record that stays.
            File::open(self.segment(next.segment))?.sync_data()?;
        }
        self.mark(next)?;
        fs::remove_file(self.segment(segment))?;
        let mut state = self.state.lock();
        state.sent = next;
        state.before = state.before.saturating_sub(bytes);
        Ok(())
    }

    /// Keeps the mark on disk. Unsynced: an older one sends records twice, which their chain shows.
    fn mark(&self, mark: Mark) -> io::Result<()> {
        // In place and always as long: the file's blocks stay as they are, and no name changes.
        let text = format!("{:020} {:020}\n", mark.segment, mark.offset);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.directory.join(SENT))?;
        file.write_all_at(text.as_bytes(), 0)
    }

    /// A file with so many bytes takes no more.
    fn segment_bytes(&self) -> u64 {
        (self.max / SEGMENTS).min(MAX_SEGMENT)
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
        for folder in self.directory.ancestors().take(FOLDERS).filter(|_| self.synced) {
            File::open(folder)?.sync_all()?;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Some(number) = number_of(&entry.path()) {
                found.push((number, entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        // Power was lost while the last file was begun, it may be: then the end of the one before is as open as its own.
        for (number, bytes) in found.iter_mut().rev().take(2) {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.segment(*number))?;
            *bytes = whole_lines(&file)?;
            file.set_len(*bytes)?;
        }
        if let [.., _, (last, 0)] = found.as_slice() {
            // Begun and empty: the chain goes on after the last record of the one before.
            fs::remove_file(self.segment(*last))?;
            found.pop();
        }
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
            .truncate(false)
            .write(true)
            .read(true)
            .mode(0o600)
            .open(self.segment(state.current))?;
        // The spool is this node's alone: half a line at its end is what a crash left, and nobody was told of it.
        let end = whole_lines(&file)?;
        file.set_len(end)?;
        if self.synced {
            // Its name, too, must outlast a loss of power.
            File::open(&self.directory)?.sync_all()?;
        }
        (state.end, state.filled, state.torn) = (end, end, false);
        if state.sent.segment == state.current {
            // What a loss of power took back after it was sent must not be passed over when its place is taken.
            state.sent.offset = state.sent.offset.min(end);
        }
        Ok(file)
    }

    fn is_full(&self, bytes: u64, _: Millis, _: Millis) -> bool {
        bytes >= self.segment_bytes()
    }

    fn turn(&self, _: Millis) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.torn {
            let full = OpenOptions::new().write(true).open(self.segment(state.current))?;
            full.set_len(state.end)?;
        }
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

    fn length(&self, _: &Metadata) -> u64 {
        self.state.lock().end
    }

    fn append(&self, open: &File, length: u64, bytes: &[u8]) -> Result<(), Cut> {
        // Half a line is never ended here, only taken back: until that is done nothing is written behind it.
        let (filled, torn) = {
            let state = self.state.lock();
            (state.filled, state.torn)
        };
        let written = match torn {
            true => open
                .set_len(length)
                .and_then(|()| open.write_all_at(bytes, length)),
            false => open.write_all_at(bytes, length),
        };
        if let Err(error) = written {
            let torn = open.set_len(length).is_err();
            let mut state = self.state.lock();
            (state.filled, state.torn) = (length, torn);
            return Err(Cut { torn: false, error });
        }
        let end = length + bytes.len() as u64;
        let filled = if torn { length } else { filled };
        // Nothing is left of them in a file that is full: none is cut when the next one is begun.
        let filled = if self.synced && end > filled {
            pad(open, end, (end + AHEAD).min(self.segment_bytes()))
        } else {
            filled
        };
        let mut state = self.state.lock();
        (state.end, state.filled, state.torn) = (end, filled, false);
        Ok(())
    }
}

/// Fills a file with zeros from one place up to another, and tells up to where. Where there is no room for them there may be
/// for records, so what was begun is given back.
fn pad(file: &File, from: u64, to: u64) -> u64 {
    let mut at = from;
    while at < to {
        let bytes = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        let zeros = ZEROS.get(..bytes).unwrap_or_default();
        if file.write_all_at(zeros, at).is_err() {
            // What stays is zeros, which nobody reads.
            file.set_len(from).ok();
            return from;
        }
        at += zeros.len() as u64;
    }
    at
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

/// Bytes up to the end of the last whole line before a zero byte.
fn whole_lines(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let (mut at, mut end) = (0, 0);
    while at < length {
        let mut bytes = vec![0; usize::try_from(BATCH.min(length - at)).unwrap_or(0)];
        file.read_exact_at(&mut bytes, at)?;
        let records = bytes.iter().position(|byte| *byte == 0);
        let known = bytes.get(..records.unwrap_or(bytes.len())).unwrap_or_default();
        if let Some(last) = known.iter().rposition(|byte| *byte == b'\n') {
            end = at + last as u64 + 1;
        }
        if records.is_some() {
            break;
        }
        at += bytes.len() as u64;
    }
    Ok(end)
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
