//! Records on their way into a file, in groups: requests that end together share one chain step each and one write, and
//! those that wait for the disk one sync. A group is written whole or refused whole. Knows not what records say.

use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use conclave_engine_api::Millis;

use crate::audit::chain::{self, Hash, Tip};
use crate::audit::opening;
use crate::audit::place::Place;

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
    out: Mutex<Out>,
    /// Records written and refused since the process began, for whoever must not wait for `out`.
    counts: [AtomicU64; 2],
    /// Held by the one that syncs for all.
    syncing: tokio::sync::Mutex<()>,
}

/// Records that are written together.
#[derive(Default)]
struct Waiting {
    group: Arc<Group>,
    lines: Vec<Line>,
    bytes: usize,
    now: Millis,
}

#[derive(Default)]
struct Group(OnceLock<Result<u64, Arc<str>>>);

/// What to wait for: the group a request's records are in.
#[derive(Clone)]
pub struct Ticket(Arc<Group>);

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
    /// Groups written.
    written: u64,
    /// Groups that would survive a loss of power, but for those in `lost`.
    synced: u64,
    /// Groups whose sync failed last.
    lost: Option<RangeInclusive<u64>>,
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
        self.0.0.get().is_some()
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
            out: Mutex::default(),
            counts: Default::default(),
            syncing: tokio::sync::Mutex::default(),
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
        waiting.bytes += lines.iter().map(|line| line.body.len()).sum::<usize>();
        waiting.lines.extend(lines);
        waiting.now = waiting.now.max(now);
        Ticket(waiting.group.clone())
    }

    /// Records written and refused since the process began.
    pub fn counts(&self) -> (u64, u64) {
        let [written, refused] = &self.counts;
        (written.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    }

    /// Whether so much waits that nobody else should be waited for.
    pub fn is_pressed(&self) -> bool {
        self.waiting.lock().bytes >= LARGE
    }

    /// Writes what waits, unless another did. How many groups were written by then.
    pub fn write(&self, ticket: &Ticket) -> io::Result<u64> {
        if !ticket.is_done() {
            let mut out = self.out.lock();
            let written = (!ticket.is_done()).then(|| self.write_waiting(&mut out));
            drop(out);
            // What was written is freed, and so wiped, when the next group may go on.
            drop(written);
        }
        match ticket.0.0.get() {
            Some(Ok(mark)) => Ok(*mark),
            Some(Err(error)) => Err(io::Error::other(error.as_ref())),
            None => Err(io::Error::other("a record was not written")),
        }
    }

    /// Writes, then waits until the records are as durable as the options ask. Whoever comes first syncs for all that were
    /// written by then.
    pub async fn settle(&self, ticket: &Ticket) -> io::Result<()> {
        let mark = self.write(ticket)?;
        if !self.sync {
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
            None => Err(unsynced()),
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
        let fresh = self.place.open()?;
        let mut out = self.out.lock();
        self.take_over(&mut out, fresh)
    }

    fn settled(&self, mark: u64) -> Option<io::Result<()>> {
        let out = self.out.lock();
        if mark > out.synced {
            return None;
        }
        let lost = out.lost.as_ref().is_some_and(|lost| lost.contains(&mark));
        Some(if lost { Err(unsynced()) } else { Ok(()) })
    }

    /// Writes what waits; hands it back to be dropped by whoever gives up `out` first.
    fn write_waiting(&self, out: &mut Out) -> Vec<Line> {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let count = u64::try_from(waiting.lines.len()).unwrap_or(u64::MAX);
        let [written, refused] = &self.counts;
        let outcome = match self.append(out, &waiting) {
            Ok(()) => {
                written.fetch_add(count, Ordering::Relaxed);
                out.written += 1;
                Ok(out.written)
            }
            Err(error) => {
                refused.fetch_add(count, Ordering::Relaxed);
                out.refused = out.refused.saturating_add(count);
                Err(error.to_string().into())
            }
        };
        // Set once: only who holds `out` gets here, and takes the group away with its lines.
        waiting.group.0.set(outcome).ok();
        waiting.lines
    }

    /// Writes a group in one piece, so that lines of several processes do not mix, or leaves the file as it was.
    fn append(&self, out: &mut Out, waiting: &Waiting) -> io::Result<()> {
        let (file, length) = self.writable(out, waiting.now)?;
        let mut buffer = std::mem::take(&mut out.spare);
        buffer.clear();
        let tip = self.lay_out(out, waiting, &mut buffer);
        let bytes = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        self.place.admit(bytes)?;
        let written = append(&file, &buffer);
        if buffer.capacity() <= SPARE {
            out.spare = buffer;
        }
        if let Err((cut, error)) = written {
            // Half a line would spoil the next one: take it back, or end it.
            let now = file.metadata().map_or(0, |metadata| metadata.len());
            let alone = now == length.saturating_add(cut);
            let back = cut == 0 || (alone && file.set_len(length).is_ok());
            out.torn |= !back;
            return Err(error);
        }
        self.place.written(length.saturating_add(bytes));
        out.tip = tip;
        out.torn = false;
        out.preface = None;
        out.refused = 0;
        Ok(())
    }

    /// Puts the bytes of a group into `buffer`; the end of the chain after it.
    fn lay_out(&self, out: &Out, waiting: &Waiting, buffer: &mut Vec<u8>) -> Option<Tip> {
        let mut said = out.preface.as_ref().map_or_else(Vec::new, |preface| {
            let chain = self.chain.as_ref().zip(out.tip.as_ref());
            let chain = chain.map(|((id, _), tip)| (id.as_str(), tip));
            preface.lines(waiting.now, chain, out.torn)
        });
        if out.refused > 0 {
            said.push(opening::refused(waiting.now, out.refused));
        }
        let said: Vec<Line> = said
            .into_iter()
            .map(|text| Line::new(text, self.is_chained()))
            .collect();
        if out.torn {
            buffer.push(b'\n');
        }
        let mut tip = out.tip;
        for line in said.iter().chain(&waiting.lines) {
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

    /// The open file and its length. One that somebody removed is made anew: records in it would be lost unseen.
    fn writable(&self, out: &mut Out, now: Millis) -> io::Result<(Arc<File>, u64)> {
        if let Some(file) = &out.file {
            let metadata = file.metadata()?;
            if metadata.nlink() > 0 {
                if !self.place.is_full(metadata.len(), out.begun, now) {
                    return Ok((file.clone(), metadata.len()));
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
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Writes to `fresh` from now on.
    fn take_over(&self, out: &mut Out, fresh: File) -> io::Result<()> {
        if let (Some(old), true) = (&out.file, self.sync) {
            // One that was removed with its disk is gone with its records, and that is said by who waits for them.
            old.sync_data()?;
            out.synced = out.written;
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

/// Writes all of it; on failure how much of it was written.
fn append(mut file: &File, bytes: &[u8]) -> Result<(), (u64, io::Error)> {
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

#[cfg(test)]
impl Journal {
    /// Whether a group would survive a loss of power.
    pub fn is_synced(&self, ticket: &Ticket) -> bool {
        let mark = self.write(ticket).unwrap();
        self.out.lock().synced >= mark
    }

    /// Leaves everything as a sync of the first group that failed does.
    pub fn fail_sync(&self) {
        let mut out = self.out.lock();
        out.synced = 1;
        out.lost = Some(1..=1);
    }
}
