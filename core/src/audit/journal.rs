//! Records on their way into a file, in groups: requests that end together share one chain step each and one write, and
//! those that wait for the disk one sync. A group is written whole or refused whole. Knows not what records say.

mod syncing;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

#[cfg(test)]
use futures::FutureExt;
use parking_lot::{Condvar, Mutex};
use zeroize::Zeroize;

use conclave_engine_api::Millis;

use crate::audit::chain::{self, Hash, Tip};
use crate::audit::opening;
use crate::audit::place::{Cut, Place};
use crate::audit::round::Round;

/// Bytes of waiting records that are written at once, without giving others the time to join them.
const LARGE: usize = 1 << 20;
/// Room for lines that is kept for the next ones, in bytes.
const SPARE: usize = 1 << 20;
/// A record, ready to be written.
pub struct Line {
    /// A JSON object without its closing brace.
    body: Vec<u8>,
    /// For chained devices, computed where the record was made.
    digest: Option<Hash>,
}

/// Writes to one place, in order.
pub struct Journal {
    place: Box<dyn Place>,
    sync: bool,
    /// Name of its chain and the same as JSON.
    chain: Option<(String, String)>,
    waiting: Mutex<Waiting>,
    /// Told when enough wait for the next sync.
    enough: Condvar,
    out: Mutex<Out>,
    /// Records written and refused since the process began, for whoever must not wait for `out`.
    counts: [AtomicU64; 2],
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// The sync that will cover what is queued now.
    round: Arc<Round>,
    /// How many wait for it.
    asked: usize,
    /// Whether the last one was for one alone.
    alone: bool,
    /// Whether there is a thread that syncs.
    syncing: bool,
}

/// Records that are written together.
#[derive(Default)]
struct Batch {
    group: Arc<Group>,
    lines: Vec<Line>,
    bytes: usize,
    now: Millis,
}

#[derive(Default)]
struct Group(OnceLock<Result<(), Arc<str>>>);

/// What to wait for: the group a request's records are in, and the sync that will cover them.
#[derive(Clone)]
pub struct Ticket {
    group: Arc<Group>,
    round: Arc<Round>,
}

#[derive(Default)]
struct Out {
    file: Option<Arc<File>>,
    /// Room that the next lines may use.
    spare: Vec<u8>,
    /// When the open file was begun.
    begun: Millis,
    /// The last line was cut and could not be taken back.
    torn: bool,
    /// The end of the chain; `None` until the file was looked into.
    tip: Option<Tip>,
    /// What is to be said before the next record: after what it comes, what is missing.
    preface: Option<opening::Preface>,
    /// Records refused since the last that was taken.
    refused: u64,
    /// How often what was written could not be synced when another file took its place ...
    unkept: u64,
    /// ... by the time the last round began.
    unkept_before: u64,
}

impl Line {
    /// A record as one line of JSON with its end.
    pub fn new(mut text: Vec<u8>, chained: bool) -> Self {
        match text.strip_suffix(b"}\n") {
            Some(body) => text.truncate(body.len()),
            // Nothing in a record can fail to encode; what could would be one that says nothing.
            None => text = br#"{"type":"unreadable""#.to_vec(),
        }
        let digest = chained.then(|| chain::digest(&text));
        Self { body: text, digest }
    }
}

impl Ticket {
    /// Whether its records were written or refused.
    pub fn is_done(&self) -> bool {
        self.group.0.get().is_some()
    }
}

impl Journal {
    /// Opened by the first record, or by [`Journal::check`].
    pub fn new(place: impl Place, sync: bool, chain: Option<String>) -> Self {
        Self {
            place: Box::new(place),
            sync,
            chain: chain.map(|id| {
                let quoted = chain::quoted(&id);
                (id, quoted)
            }),
            waiting: Mutex::default(),
            enough: Condvar::new(),
            out: Mutex::default(),
            counts: Default::default(),
        }
    }

    /// Whether its records are chained.
    pub fn is_chained(&self) -> bool {
        self.chain.is_some()
    }

    /// Name and end of its chain, once there is a record.
    pub fn head(&self) -> Option<(&str, Tip)> {
        let (id, _) = self.chain.as_ref()?;
        let tip = self.out.lock().tip.filter(|tip| tip.seq > 0)?;
        Some((id, tip))
    }

    /// Opens the file unless it is open, creating it.
    pub fn check(&self) -> io::Result<()> {
        self.writable(&mut self.out.lock(), 0).map(drop)
    }

    /// Puts records where the next write takes them.
    pub fn queue(&self, lines: Vec<Line>, now: Millis) -> Ticket {
        let mut waiting = self.waiting.lock();
        let batch = &mut waiting.batch;
        batch.bytes += lines.iter().map(|line| line.body.len()).sum::<usize>();
        batch.lines.extend(lines);
        batch.now = batch.now.max(now);
        Ticket {
            group: batch.group.clone(),
            round: waiting.round.clone(),
        }
    }

    /// Records written and refused since the process began.
    pub fn counts(&self) -> (u64, u64) {
        let [written, refused] = &self.counts;
        (written.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    }

    /// Whether so much waits that nobody else should be waited for.
    pub fn is_pressed(&self) -> bool {
        self.waiting.lock().batch.bytes >= LARGE
    }

    /// Writes what waits, unless another did.
    pub fn write(&self, ticket: &Ticket) -> io::Result<()> {
        if !ticket.is_done() {
            let mut out = self.out.lock();
            let written = (!ticket.is_done()).then(|| self.write_waiting(&mut out));
            drop(out);
            // What was written is freed, and so wiped, when the next group may go on.
            drop(written);
        }
        match ticket.group.0.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(io::Error::other(error.as_ref())),
            None => Err(io::Error::other("a record was not written")),
        }
    }

    /// Opens the file again, for whoever moved it away. What was open stays if that fails.
    pub fn reopen(&self) -> io::Result<()> {
        let fresh = self.place.open()?;
        let mut out = self.out.lock();
        self.take_over(&mut out, fresh)
    }

    /// Writes what waits; hands it back to be dropped by whoever gives up `out` first.
    fn write_waiting(&self, out: &mut Out) -> Vec<Line> {
        let batch = std::mem::take(&mut self.waiting.lock().batch);
        let count = u64::try_from(batch.lines.len()).unwrap_or(u64::MAX);
        let [written, refused] = &self.counts;
        let outcome = match self.append(out, &batch) {
            Ok(()) => {
                written.fetch_add(count, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                refused.fetch_add(count, Ordering::Relaxed);
                out.refused = out.refused.saturating_add(count);
                Err(error.to_string().into())
            }
        };
        // Set once: only who holds `out` gets here, and takes the group away with its lines.
        batch.group.0.set(outcome).ok();
        batch.lines
    }

    /// Writes a group in one piece, so that lines of several processes do not mix, or leaves the file as it was.
    fn append(&self, out: &mut Out, batch: &Batch) -> io::Result<()> {
        let (file, length) = self.writable(out, batch.now)?;
        let mut buffer = std::mem::take(&mut out.spare);
        buffer.clear();
        let tip = self.lay_out(out, batch, &mut buffer);
        let bytes = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        self.place.admit(bytes)?;
        let written = self.place.append(&file, length, &buffer);
        // The journal outlives a seal, and records name paths.
        buffer.as_mut_slice().zeroize();
        if buffer.capacity() <= SPARE {
            out.spare = buffer;
        }
        if let Err(Cut { torn, error }) = written {
            out.torn |= torn;
            return Err(error);
        }
        out.tip = tip;
        out.torn = false;
        out.preface = None;
        out.refused = 0;
        Ok(())
    }

    /// Puts the bytes of a group into `buffer`; the end of the chain after it.
    fn lay_out(&self, out: &Out, batch: &Batch, buffer: &mut Vec<u8>) -> Option<Tip> {
        let mut said = out.preface.as_ref().map_or_else(Vec::new, |preface| {
            let chain = self.chain.as_ref().zip(out.tip.as_ref());
            let chain = chain.map(|((id, _), tip)| (id.as_str(), tip));
            preface.lines(batch.now, chain, out.torn)
        });
        if out.refused > 0 {
            said.push(opening::refused(batch.now, out.refused));
        }
        let said: Vec<Line> = said
            .into_iter()
            .map(|text| Line::new(text, self.is_chained()))
            .collect();
        if out.torn {
            buffer.push(b'\n');
        }
        let mut tip = out.tip;
        for line in said.iter().chain(&batch.lines) {
            buffer.extend_from_slice(&line.body);
            match (&self.chain, &mut tip, &line.digest) {
                (Some((_, quoted)), Some(tip), Some(digest)) => {
                    *tip = tip.next(digest);
                    chain::push_link(buffer, quoted, tip);
                }
                _ => buffer.extend_from_slice(b"}\n"),
            }
        }
        tip
    }

    /// The open file and the length of what it holds. One that somebody removed is made anew: records in it would be lost
    /// unseen.
    fn writable(&self, out: &mut Out, now: Millis) -> io::Result<(Arc<File>, u64)> {
        if let Some(file) = &out.file {
            let metadata = file.metadata()?;
            if metadata.nlink() > 0 {
                let length = self.place.length(&metadata);
                if !self.place.is_full(length, out.begun, now) {
                    return Ok((file.clone(), length));
                }
                self.place.turn(now)?;
            }
            let fresh = self.place.open()?;
            self.take_over(out, fresh)?;
            out.begun = now;
        } else {
            let fresh = self.place.open()?;
            out.begun = begun(&fresh)?.unwrap_or(now);
            self.take_over(out, fresh)?;
        }
        let file = out.file.clone().ok_or_else(unsynced)?;
        let length = self.place.length(&file.metadata()?);
        Ok((file, length))
    }

    /// Writes to `fresh` from now on.
    fn take_over(&self, out: &mut Out, fresh: File) -> io::Result<()> {
        if let (Some(old), true) = (&out.file, self.sync) {
            // One that was removed with its disk is gone with its records, and that is said by who waits for them.
            if let Err(error) = old.sync_data() {
                out.unkept += 1;
                out.file = None;
                return Err(error);
            }
        }
        let chain = self.chain.as_ref().map(|(id, _)| id.as_str());
        let found = match out.tip {
            // Known: nobody else goes on with this chain.
            Some(_) => opening::Found::default(),
            None => opening::look(&fresh, chain)?,
        };
        out.torn = opening::is_torn(&fresh)?;
        if out.tip.is_none() {
            out.tip = chain.map(|id| found.tip.unwrap_or_else(|| Tip::start(id)));
        }
        out.preface = Some(opening::Preface::new(found.unanswered));
        out.file = Some(Arc::new(fresh));
        Ok(())
    }
}

/// When a file that holds something was made.
fn begun(file: &File) -> io::Result<Option<Millis>> {
    let metadata = file.metadata()?;
    if metadata.len() == 0 {
        return Ok(None);
    }
    let made = metadata.created().or_else(|_| metadata.modified())?;
    let since = made.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Millis::try_from(since.as_millis()).ok())
}

fn unsynced() -> io::Error {
    io::Error::other("the audit file could not be synced")
}

#[cfg(test)]
impl Ticket {
    /// Whether its records would survive a loss of power.
    pub fn is_kept(&self) -> bool {
        self.round
            .ended()
            .now_or_never()
            .is_some_and(|ended| ended.is_ok())
    }

    /// Tells its sync from others.
    pub fn round(&self) -> usize {
        Arc::as_ptr(&self.round) as usize
    }
}
