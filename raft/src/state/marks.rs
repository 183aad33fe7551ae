//! Keeps the view that stands exactly behind a named command, so that nodes can compare their states at one place however
//! each of them cuts the log into writes. This file must not know what is compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::codec::{decode_batch, decode_command};
use crate::command::Origin;
use crate::error::Error;
use crate::state::{Entry, Payload, View};

/// Most commands waited for at a time: each may hold a snapshot of the whole state.
const MAX_MARKS: usize = 4;

/// The commands whose views are wanted. Clones share them.
#[derive(Clone, Default)]
pub struct Marks {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Whether any command is waited for: all that applying looks at otherwise.
    any: AtomicBool,
    marks: Mutex<BTreeMap<Origin, Mark>>,
}

enum Mark {
    Awaited,
    Reached(Arc<View>),
    /// A snapshot took the place of the state: the command will not be seen.
    Missed,
}

impl Marks {
    /// From now on the view behind the command of this origin is kept, until `forget`.
    ///
    /// # Errors
    /// `Error::Limit` when too many are wanted.
    pub fn want(&self, origin: Origin) -> Result<(), Error> {
        let mut marks = self.shared.marks.lock();
        if marks.len() >= MAX_MARKS && !marks.contains_key(&origin) {
            return Err(Error::Limit("views kept behind commands"));
        }
        marks.entry(origin).or_insert(Mark::Awaited);
        self.shared.any.store(true, Ordering::Release);
        Ok(())
    }

    /// The view behind the command; `None` while it was not applied.
    ///
    /// # Errors
    /// `Error::NotCommitted` if it was not asked for, or will never be seen here.
    pub fn view(&self, origin: Origin) -> Result<Option<Arc<View>>, Error> {
        match self.shared.marks.lock().get(&origin) {
            Some(Mark::Awaited) => Ok(None),
            Some(Mark::Reached(view)) => Ok(Some(Arc::clone(view))),
            Some(Mark::Missed) | None => Err(Error::NotCommitted),
        }
    }

    /// Lets the view go, or waits for it no longer.
    pub fn forget(&self, origin: Origin) {
        let mut marks = self.shared.marks.lock();
        marks.remove(&origin);
        let awaited = marks.values().any(|mark| matches!(mark, Mark::Awaited));
        self.shared.any.store(awaited, Ordering::Release);
    }

    /// How many entries may be written at once: up to the first that holds a wanted command, and which those are.
    pub(super) fn cut(&self, entries: &[Entry]) -> Result<(usize, Vec<Origin>), Error> {
        if self.shared.any.load(Ordering::Acquire) {
            for (at, entry) in entries.iter().enumerate() {
                let found = self.wanted_in(entry)?;
                if !found.is_empty() {
                    return Ok((at + 1, found));
                }
            }
        }
        Ok((entries.len(), Vec::new()))
    }

    fn wanted_in(&self, entry: &Entry) -> Result<Vec<Origin>, Error> {
        let Payload::Commands(bytes) = &entry.payload else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for command in decode_batch(bytes)?.commands {
            let origin = decode_command(&command)?.origin;
            if matches!(self.shared.marks.lock().get(&origin), Some(Mark::Awaited)) {
                found.push(origin);
            }
        }
        Ok(found)
    }

    /// The state stands right behind these commands.
    pub(super) fn reached(&self, origins: &[Origin], view: &Arc<View>) {
        let mut marks = self.shared.marks.lock();
        for origin in origins {
            if let Some(mark) = marks.get_mut(origin) {
                *mark = Mark::Reached(Arc::clone(view));
            }
        }
        let awaited = marks.values().any(|mark| matches!(mark, Mark::Awaited));
        self.shared.any.store(awaited, Ordering::Release);
    }

    /// The state was replaced: what was waited for lies behind it, or not, and nobody can tell.
    pub(super) fn miss_all(&self) {
        let mut marks = self.shared.marks.lock();
        for mark in marks.values_mut().filter(|mark| matches!(mark, Mark::Awaited)) {
            *mark = Mark::Missed;
        }
        self.shared.any.store(false, Ordering::Release);
    }
}
