//! Hands out views of the applied state to any thread: one snapshot per write, made when first asked for.
//! This file must not know what is in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::error::Error;
use crate::mutant;
use crate::state::recent::Recents;
use crate::state::{Store, View};

/// Bytes that rows read lately may take.
const RECENT_BYTES: usize = 4 << 20;

/// A cheap handle to the newest applied state.
#[derive(Clone)]
pub struct Views {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    recents: Recents,
    /// Counts writes and installs.
    written: AtomicU64,
    cached: ArcSwapOption<Cached>,
    /// Held while a snapshot is taken, so that many readers take one.
    taking: Mutex<()>,
}

struct Cached {
    written: u64,
    view: Arc<View>,
}

impl Views {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let shared = Shared {
            store,
            recents: Recents::new(RECENT_BYTES),
            written: AtomicU64::new(0),
            cached: ArcSwapOption::empty(),
            taking: Mutex::new(()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A view of everything applied before this call.
    ///
    /// # Errors
    /// The store's own.
    pub fn latest(&self) -> Result<Arc<View>, Error> {
        if let Some(view) = self.current() {
            return Ok(view);
        }
        let _taking = self.shared.taking.lock();
        if let Some(view) = self.current() {
            return Ok(view);
        }
        // Counted before the snapshot is taken: the snapshot may be newer than its number, never older.
        let written = self.shared.written.load(Ordering::Acquire);
        let recent = self.shared.recents.now();
        let snapshot = self.shared.store.snapshot()?;
        let (applied, _) = snapshot.applied()?;
        let recent = self.shared.recents.since(recent);
        let view = Arc::new(View::sharing(snapshot, applied, recent));
        self.shared.cached.store(Some(Arc::new(Cached {
            written,
            view: Arc::clone(&view),
        })));
        Ok(view)
    }

    /// Rows that views share.
    pub(crate) fn recents(&self) -> &Recents {
        &self.shared.recents
    }

    /// Tells readers that the store has changed, and lets go of the old snapshot.
    pub(crate) fn publish(&self) {
        // The mutant: a later write publishes this one as well.
        if mutant::is("late-view") && mutant::sometimes() {
            return;
        }
        self.shared.written.fetch_add(1, Ordering::Release);
        self.shared.cached.store(None);
    }

    fn current(&self) -> Option<Arc<View>> {
        let cached = self.shared.cached.load();
        let cached = cached.as_ref()?;
        let current = cached.written == self.shared.written.load(Ordering::Acquire);
        current.then(|| Arc::clone(&cached.view))
    }
}
