//! What a node did to its files and has not made durable, with what is needed to undo it. The model is the strictest one
//! that POSIX allows: a write is durable once its file was synced, a name once its folder was.
//! This file must not know which calls lead here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, ftruncate, linkat, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::{Errno, pread, pwrite};

use crate::lot::Lot;

/// A file or folder, whatever it is called.
pub type Id = (u64, u64);

/// All that is not durable.
pub struct Journal {
    files: BTreeMap<Id, Tracked>,
    folders: BTreeMap<Id, OwnedFd>,
    names: Vec<NameChange>,
    /// Holds a second name of each removed file.
    attic: OwnedFd,
    kept: u64,
    clock: u64,
}

struct Tracked {
    own: OwnedFd,
    changes: Vec<Change>,
}

/// One write to a file: what was there before.
struct Change {
    at: u64,
    before: Vec<u8>,
    length: u64,
    /// When it was made; `NEVER` once a sync of it has failed.
    made: u64,
}

/// A sync that failed leaves what it should have covered in doubt for ever.
const NEVER: u64 = u64::MAX;

struct NameChange {
    undo: Undo,
    /// Folders whose sync would make it durable.
    folders: Vec<Id>,
    made: u64,
}

/// How a change of names is taken back.
pub enum Undo {
    /// A file got this name.
    Made { folder: Id, name: Vec<u8> },
    /// A folder was made.
    MadeFolder { folder: Id, name: Vec<u8> },
    /// A file lost this name; the attic has it.
    Removed { folder: Id, name: Vec<u8>, kept: u64 },
    /// A folder was removed.
    RemovedFolder { folder: Id, name: Vec<u8>, was: Id },
    /// A name moved, perhaps onto a file that the attic has.
    Moved {
        from: (Id, Vec<u8>),
        to: (Id, Vec<u8>),
        replaced: Option<u64>,
    },
}

/// How a loss of power ended.
#[derive(Debug, Default)]
pub struct Loss {
    /// Effects undone.
    pub undone: u64,
    /// Effects that could not be undone.
    pub trouble: u64,
}

impl Journal {
    /// An empty journal whose attic is this folder.
    pub fn new(attic: OwnedFd) -> Self {
        Self {
            files: BTreeMap::new(),
            folders: BTreeMap::new(),
            names: Vec::new(),
            attic,
            kept: 0,
            clock: 0,
        }
    }

    /// Notes that `length` bytes at `at` are about to be overwritten, or the file to be cut at `at`.
    pub fn before_write(&mut self, fd: impl AsFd, at: u64, length: u64) -> Result<(), Errno> {
        let (id, size) = look(&fd)?;
        let made = self.tick();
        let tracked = self.tracked(id, fd)?;
        let end = at.saturating_add(length).min(size);
        let before = match end.checked_sub(at) {
            Some(there) if there > 0 => read(&tracked.own, at, there)?,
            _ => Vec::new(),
        };
        tracked.changes.push(Change {
            at,
            before,
            length: size,
            made,
        });
        Ok(())
    }

    fn tracked(&mut self, id: Id, fd: impl AsFd) -> Result<&mut Tracked, Errno> {
        match self.files.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(fresh) => {
                // One's own way to the file: the node's may be closed, or open for writing alone.
                let path = format!("/proc/self/fd/{}", raw(&fd));
                let own = openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
                let changes = Vec::new();
                Ok(fresh.insert(Tracked { own, changes }))
            }
        }
    }

    /// Remembers a folder, so that its names can be reached whatever becomes of its path.
    pub fn folder(&mut self, fd: OwnedFd) -> Result<Id, Errno> {
        let (id, _) = look(&fd)?;
        self.folders.entry(id).or_insert(fd);
        Ok(id)
    }

    /// A second name in the attic for a file that is about to lose its own.
    pub fn keep(&mut self, folder: Id, name: &[u8]) -> Result<u64, Errno> {
        let number = self.kept;
        let folder = self.folders.get(&folder).ok_or(Errno::NOENT)?;
        linkat(folder, name, &self.attic, number.to_string(), AtFlags::empty())?;
        self.kept += 1;
        Ok(number)
    }

    /// Notes a change of names that was made.
    pub fn renamed(&mut self, undo: Undo) {
        let mut folders = match &undo {
            Undo::Made { folder, .. }
            | Undo::MadeFolder { folder, .. }
            | Undo::Removed { folder, .. }
            | Undo::RemovedFolder { folder, .. } => vec![*folder],
            Undo::Moved { from, to, .. } => vec![from.0, to.0],
        };
        folders.dedup();
        let made = self.tick();
        self.names.push(NameChange { undo, folders, made });
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// What a sync that begins now will cover.
    pub fn moment(&self) -> u64 {
        self.clock
    }

    /// A sync of this file or folder, begun at `moment`, has ended well.
    pub fn synced(&mut self, id: Id, moment: u64) {
        if let Some(tracked) = self.files.get_mut(&id) {
            tracked.changes.retain(|change| change.made > moment);
            if tracked.changes.is_empty() {
                self.files.remove(&id);
            }
        }
        let mut durable = Vec::new();
        let mut left = Vec::new();
        for mut change in std::mem::take(&mut self.names) {
            if change.made <= moment {
                change.folders.retain(|folder| *folder != id);
            }
            match change.folders.is_empty() {
                true => durable.push(change.undo),
                false => left.push(change),
            }
        }
        self.names = left;
        for undo in durable {
            self.forget(undo);
        }
    }

    /// A sync of this file, begun at `moment`, has failed: the kernel may have dropped what it should have written.
    pub fn failed(&mut self, id: Id, moment: u64) {
        let tracked = self.files.get_mut(&id);
        for change in tracked.into_iter().flat_map(|tracked| &mut tracked.changes) {
            if change.made <= moment {
                change.made = NEVER;
            }
        }
    }

    fn forget(&mut self, undo: Undo) {
        let kept = match undo {
            Undo::Removed { kept, .. } => Some(kept),
            Undo::Moved { replaced, .. } => replaced,
            Undo::RemovedFolder { was, .. } => {
                // Nobody can come back into a folder that is durably gone.
                self.names.retain(|change| !change.folders.contains(&was));
                None
            }
            Undo::Made { .. } | Undo::MadeFolder { .. } => None,
        };
        if let Some(kept) = kept {
            // Only room would be lost.
            let _ = unlinkat(&self.attic, kept.to_string(), AtFlags::empty());
        }
    }

    /// Undoes what is not durable: all of it, or by lot a last part.
    pub fn lose(&mut self, mut lot: Option<Lot>) -> Loss {
        let mut loss = Loss::default();
        let mut count = |done: Result<(), Errno>| match done {
            Ok(()) => loss.undone += 1,
            Err(_) => loss.trouble += 1,
        };
        for tracked in std::mem::take(&mut self.files).into_values() {
            undo_writes(&tracked, lot.as_mut(), &mut count);
        }
        let mut names = std::mem::take(&mut self.names);
        let stands = lot.as_mut().map_or(0, |lot| lot.below(names.len() + 1));
        for change in names.drain(..).skip(stands).collect::<Vec<_>>().into_iter().rev() {
            count(self.undo_name(change.undo));
        }
        loss
    }

    fn undo_name(&mut self, undo: Undo) -> Result<(), Errno> {
        let folder = |id: &Id| self.folders.get(id).ok_or(Errno::NOENT);
        let bring_back = |to: &(Id, Vec<u8>), kept: u64| {
            let to_folder = folder(&to.0)?;
            linkat(
                &self.attic,
                kept.to_string(),
                to_folder,
                to.1.as_slice(),
                AtFlags::empty(),
            )
        };
        match undo {
            Undo::Made { folder: id, name } => unlinkat(folder(&id)?, name.as_slice(), AtFlags::empty()),
            Undo::MadeFolder { folder: id, name } => remove_tree(folder(&id)?, &name),
            Undo::Removed { folder, name, kept } => bring_back(&(folder, name), kept),
            Undo::RemovedFolder {
                folder: id,
                name,
                was,
            } => {
                let parent = folder(&id)?;
                mkdirat(parent, name.as_slice(), Mode::RWXU)?;
                let again = openat(parent, name.as_slice(), OFlags::DIRECTORY, Mode::empty())?;
                // What was removed from it before comes back into the new one.
                self.folders.insert(was, again);
                Ok(())
            }
            Undo::Moved { from, to, replaced } => {
                renameat(
                    folder(&to.0)?,
                    to.1.as_slice(),
                    folder(&from.0)?,
                    from.1.as_slice(),
                )?;
                replaced.map_or(Ok(()), |kept| bring_back(&to, kept))
            }
        }
    }
}

fn undo_writes(tracked: &Tracked, lot: Option<&mut Lot>, count: &mut impl FnMut(Result<(), Errno>)) {
    let changes = &tracked.changes;
    let Some(lot) = lot else {
        for change in changes.iter().rev() {
            count(undo_write(tracked, change));
        }
        return;
    };
    let appended = changes.iter().all(|change| change.before.is_empty());
    let durable = changes.iter().map(|change| change.length).min();
    match durable {
        Some(durable) if appended => count(tear(&tracked.own, durable, lot)),
        _ => {
            let stands = lot.below(changes.len() + 1);
            for change in changes.iter().skip(stands).rev() {
                count(undo_write(tracked, change));
            }
        }
    }
}

fn undo_write(tracked: &Tracked, change: &Change) -> Result<(), Errno> {
    ftruncate(&tracked.own, change.length)?;
    write(&tracked.own, change.at, &change.before)
}

/// Ends a file anywhere behind what was durable; half the time its last block never got its bytes.
fn tear(file: &OwnedFd, durable: u64, lot: &mut Lot) -> Result<(), Errno> {
    const BLOCK: u64 = 4096;
    let (_, size) = look(file)?;
    let torn = size.saturating_sub(durable);
    let end = durable + lot.below(usize::try_from(torn).unwrap_or(0) + 1) as u64;
    ftruncate(file, end)?;
    let from = durable.max(end.saturating_sub(1) / BLOCK * BLOCK);
    if lot.below(2) == 0 && from < end {
        write(file, from, &vec![0; usize::try_from(end - from).unwrap_or(0)])?;
    }
    Ok(())
}

fn remove_tree(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let own = openat(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    for entry in Dir::read_from(&own)? {
        let entry = entry?;
        let inner = entry.file_name();
        match inner.to_bytes() {
            b"." | b".." => {}
            inner if entry.file_type() == FileType::Directory => remove_tree(&own, inner)?,
            inner => unlinkat(&own, inner, AtFlags::empty())?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Identity and size of what is open there.
pub fn look(fd: impl AsFd) -> Result<(Id, u64), Errno> {
    let found = fstat(fd)?;
    Ok((
        (found.st_dev, found.st_ino),
        u64::try_from(found.st_size).unwrap_or(0),
    ))
}

fn read(file: &OwnedFd, at: u64, length: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Errno::FBIG)?];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, at + done as u64)? {
            0 => return Err(Errno::IO),
            more => done += more,
        }
    }
    Ok(bytes)
}

fn write(file: &OwnedFd, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        done += pwrite(file, rest, at + done as u64)?;
    }
    Ok(())
}

fn raw(fd: impl AsFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd())
}
