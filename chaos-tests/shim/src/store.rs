//! What each watched call does: it is numbered, may be where power is lost or a fault is met, and is noted before it takes
//! effect. One lock orders all of it, except that syncs run beside each other and beside writes.
//! This file must not know the C library's conventions.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, fcntl_getfl, fstat, mkdirat, openat, readlinkat, seek,
    statat,
};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use crate::control::{DATA, IN_LOG, IN_STATE, LOSE_SOME, Slot};
use crate::journal::{Id, Journal, Undo, look};
use crate::lot::Lot;
use crate::page::Page;

/// How often the control page is looked at for `LoseNow`.
const GLANCE: Duration = Duration::from_millis(1);

/// The shim of this process.
pub struct Shim {
    /// The data directory, followed by a slash.
    root: Vec<u8>,
    page: Page,
    journal: Mutex<Journal>,
    watcher: Once,
}

/// A name below the data directory.
pub struct Place {
    folder: OwnedFd,
    name: Vec<u8>,
}

/// The shim, if the environment asks for one.
pub fn shim() -> Option<&'static Shim> {
    static SHIM: OnceLock<Option<Shim>> = OnceLock::new();
    SHIM.get_or_init(Shim::of_environment).as_ref()
}

impl Shim {
    fn of_environment() -> Option<Self> {
        let mut root = std::env::var_os(DATA)?.into_vec();
        let page = Page::map()?;
        // Beside the data directory: in the same file system, and none of the node's business.
        let attic = [
            root.as_slice(),
            format!(".attic-{}", getpid().as_raw_nonzero()).as_bytes(),
        ]
        .concat();
        // It may be left from a process of the same number; then removing names fails, and that is told as trouble.
        let _ = mkdirat(CWD, attic.as_slice(), Mode::RWXU);
        let attic = openat(
            CWD,
            attic.as_slice(),
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        root.push(b'/');
        Some(Self {
            root,
            page,
            journal: Mutex::new(Journal::new(attic)),
            watcher: Once::new(),
        })
    }

    fn journal(&'static self) -> MutexGuard<'static, Journal> {
        self.watcher.call_once(|| {
            std::thread::spawn(|| self.watch());
        });
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&'static self) {
        loop {
            std::thread::park_timeout(GLANCE);
            if self.page.get(Slot::LoseNow) != 0 {
                self.lose(&mut self.journal());
            }
        }
    }

    /// Numbers a write; this may be where power is lost.
    fn step(&self, journal: &mut Journal) {
        let number = self.page.add(Slot::Writes, 1);
        let at = self.page.get(Slot::LoseAt);
        if at != 0 && number >= at {
            self.lose(journal);
        }
    }

    /// Nobody else changes a file while this runs, for the caller holds the journal.
    fn lose(&self, journal: &mut Journal) {
        let lot = (self.page.get(Slot::Loss) == LOSE_SOME).then(|| Lot(self.page.get(Slot::Seed)));
        let loss = journal.lose(lot);
        self.page.add(Slot::Undone, loss.undone);
        self.page.add(Slot::Trouble, loss.trouble);
        loop {
            // Cannot fail: a process may always kill itself.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// Path below the data directory of what is open there.
    fn path_of(&self, fd: impl AsFd) -> Option<Vec<u8>> {
        let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let mut path = readlinkat(CWD, link, Vec::new()).ok()?.into_bytes();
        path.push(b'/');
        path.strip_prefix(self.root.as_slice()).map(<[u8]>::to_vec)
    }

    /// Whether faults are to meet this file.
    fn meets(&self, path: &[u8]) -> bool {
        match self.page.get(Slot::Where) {
            IN_LOG => path.starts_with(b"log/"),
            IN_STATE => path.starts_with(b"state/"),
            _ => true,
        }
    }

    fn fault(&self, path: &[u8], error: Slot, left: Slot) -> Result<(), Errno> {
        let number = self.page.get(error);
        if number == 0 || !self.meets(path) || !self.page.take(left) {
            return Ok(());
        }
        self.page.add(Slot::Met, 1);
        Err(Errno::from_raw_os_error(i32::try_from(number).unwrap_or(5)))
    }

    /// How much of `length` bytes a write takes.
    fn part_of(&self, path: &[u8], length: usize) -> usize {
        if length < 2 || !self.meets(path) || !self.page.take(Slot::ShortWrites) {
            return length;
        }
        self.page.add(Slot::Met, 1);
        length / 2
    }

    /// Takes as much longer as the page says. Holds nothing meanwhile.
    fn dawdle(&self, path: &[u8], delay: Slot) {
        let delay = self.page.get(delay);
        if delay != 0 && self.meets(path) {
            self.page.add(Slot::Met, 1);
            std::thread::park_timeout(Duration::from_millis(delay));
        }
    }

    fn place(&self, folder: BorrowedFd<'_>, path: &[u8]) -> Option<Place> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(0) => return None,
            Some(slash) => (path.get(..slash)?, path.get(slash + 1..)?),
            None => (b".".as_slice(), path),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(folder, parent, flags, Mode::empty()).ok()?;
        self.path_of(&folder)?;
        let name = name.to_vec();
        Some(Place { folder, name })
    }
}

impl Place {
    fn exists(&self) -> bool {
        statat(&self.folder, self.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn remembered(self, journal: &mut Journal) -> Result<(Id, Vec<u8>), Errno> {
        Ok((journal.folder(self.folder)?, self.name))
    }
}

/// A file below the data directory that is open there, and the shim.
fn watched(fd: BorrowedFd<'_>) -> Option<(&'static Shim, Vec<u8>)> {
    let shim = shim()?;
    let kind = FileType::from_raw_mode(fstat(fd).ok()?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return None;
    }
    Some((shim, shim.path_of(fd)?))
}

/// Whether what is open there is watched.
pub fn is_watched(fd: BorrowedFd<'_>) -> bool {
    watched(fd).is_some()
}

/// Writes `length` bytes, at the file's own place without `at`; `real` is told how many of them at most.
pub fn write(
    fd: BorrowedFd<'_>,
    at: Option<u64>,
    length: usize,
    real: impl FnOnce(usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let Some((shim, path)) = watched(fd) else {
        return real(length);
    };
    shim.dawdle(&path, Slot::WriteDelay);
    let mut journal = shim.journal();
    shim.step(&mut journal);
    shim.fault(&path, Slot::WriteError, Slot::WriteFailures)?;
    let at = match at {
        Some(at) => at,
        None if fcntl_getfl(fd)?.contains(OFlags::APPEND) => look(fd)?.1,
        None => seek(fd, SeekFrom::Current(0))?,
    };
    let most = shim.part_of(&path, length);
    journal.before_write(fd, at, most as u64)?;
    real(most)
}

/// Cuts a file to `length`, or makes it that long.
pub fn resize(
    fd: BorrowedFd<'_>,
    length: u64,
    real: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let Some((shim, path)) = watched(fd) else {
        return real();
    };
    let mut journal = shim.journal();
    shim.step(&mut journal);
    shim.fault(&path, Slot::WriteError, Slot::WriteFailures)?;
    journal.before_write(fd, length, u64::MAX)?;
    real()
}

/// Makes a file or the names in a folder durable.
pub fn sync(fd: BorrowedFd<'_>, real: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let Some((shim, path)) = watched(fd) else {
        return real();
    };
    let (id, _) = look(fd)?;
    let moment = {
        let mut journal = shim.journal();
        shim.step(&mut journal);
        journal.moment()
    };
    shim.dawdle(&path, Slot::SyncDelay);
    if shim.page.get(Slot::IgnoreSync) != 0 && shim.meets(&path) {
        shim.page.add(Slot::Met, 1);
        return Ok(());
    }
    let ended = shim
        .fault(&path, Slot::SyncError, Slot::SyncFailures)
        .and_then(|()| real());
    match ended {
        Ok(()) => shim.journal().synced(id, moment),
        Err(_) => shim.journal().failed(id, moment),
    }
    ended
}

/// Opens a file, which may make or empty it.
pub fn open(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<RawFd, Errno> {
    let real = || openat(folder, path, flags, mode).map(IntoRawFd::into_raw_fd);
    let changes = flags.intersects(OFlags::CREATE | OFlags::TRUNC) && !flags.contains(OFlags::TMPFILE);
    let found = shim().filter(|_| changes);
    let Some((shim, place)) = found.and_then(|shim| Some((shim, shim.place(folder, path)?))) else {
        return real();
    };
    let mut journal = shim.journal();
    let existed = place.exists();
    if existed && !flags.contains(OFlags::TRUNC) {
        return real();
    }
    shim.step(&mut journal);
    if existed {
        let before = openat(
            &place.folder,
            place.name.as_slice(),
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        journal.before_write(&before, 0, u64::MAX)?;
        return real();
    }
    let opened = real()?;
    let (folder, name) = place.remembered(&mut journal)?;
    journal.renamed(Undo::Made { folder, name });
    Ok(opened)
}

/// Gives a file a second name.
pub fn link(
    folder: BorrowedFd<'_>,
    path: &[u8],
    real: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    change_name(folder, path, real, |folder, name| Undo::Made { folder, name })
}

/// Makes a folder.
pub fn make_folder(
    folder: BorrowedFd<'_>,
    path: &[u8],
    real: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    change_name(folder, path, real, |folder, name| Undo::MadeFolder {
        folder,
        name,
    })
}

fn change_name(
    folder: BorrowedFd<'_>,
    path: &[u8],
    real: impl FnOnce() -> Result<(), Errno>,
    undo: impl FnOnce(Id, Vec<u8>) -> Undo,
) -> Result<(), Errno> {
    let Some((shim, place)) = shim().and_then(|shim| Some((shim, shim.place(folder, path)?))) else {
        return real();
    };
    let mut journal = shim.journal();
    shim.step(&mut journal);
    real()?;
    let (folder, name) = place.remembered(&mut journal)?;
    journal.renamed(undo(folder, name));
    Ok(())
}

/// Removes a name, of a folder if `is_folder`.
pub fn remove(
    folder: BorrowedFd<'_>,
    path: &[u8],
    is_folder: bool,
    real: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let found = shim().and_then(|shim| Some((shim, shim.place(folder, path)?)));
    let Some((shim, place)) = found.filter(|(_, place)| place.exists()) else {
        return real();
    };
    let mut journal = shim.journal();
    shim.step(&mut journal);
    if is_folder {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = openat(&place.folder, place.name.as_slice(), flags, Mode::empty())?;
        let was = journal.folder(own)?;
        real()?;
        let (folder, name) = place.remembered(&mut journal)?;
        journal.renamed(Undo::RemovedFolder { folder, name, was });
        return Ok(());
    }
    let (folder, name) = place.remembered(&mut journal)?;
    let kept = journal.keep(folder, &name)?;
    real()?;
    journal.renamed(Undo::Removed { folder, name, kept });
    Ok(())
}

/// Moves a name.
pub fn rename(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
    real: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let found = shim().and_then(|shim| Some((shim, shim.place(from.0, from.1)?, shim.place(to.0, to.1)?)));
    let Some((shim, from, to)) = found else {
        return real();
    };
    let mut journal = shim.journal();
    shim.step(&mut journal);
    let existed = to.exists();
    let to = to.remembered(&mut journal)?;
    let replaced = match existed {
        true => Some(journal.keep(to.0, &to.1)?),
        false => None,
    };
    real()?;
    let from = from.remembered(&mut journal)?;
    journal.renamed(Undo::Moved { from, to, replaced });
    Ok(())
}

/// The descriptor of a caller.
///
/// # Safety
/// It must be open as long as the answer is used, or be `AT_FDCWD`.
pub unsafe fn borrowed<'f>(fd: RawFd) -> BorrowedFd<'f> {
    // SAFETY: the caller's promise.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
