//! A state in memory that knows what of it was flushed. A write is whole or not there; what a power loss leaves is what was
//! flushed and some of the writes after it, in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use conclave_raft::state::{MemoryStore, Row, Snapshot, Store, View, WriteSet, digest};
use conclave_raft::{Applied, Error};
use parking_lot::Mutex;

use crate::disk::SimLog;
use crate::invariants::ciphertexts::Least;
use crate::plan::Mutant;
use crate::world::World;

pub struct SimStore {
    world: Arc<World>,
    node: u64,
    log: Arc<SimLog>,
    dir: PathBuf,
    copies: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    live: Arc<MemoryStore>,
    durable: MemoryStore,
    /// Written and not flushed.
    pending: Vec<WriteSet>,
}

impl SimStore {
    pub fn new(world: Arc<World>, node: u64, log: Arc<SimLog>, dir: PathBuf) -> Self {
        Self {
            world,
            node,
            log,
            dir,
            copies: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                live: Arc::new(MemoryStore::new()),
                durable: MemoryStore::new(),
                pending: Vec::new(),
            }),
        }
    }

    /// Writes that are not flushed.
    pub fn unsynced(&self) -> usize {
        self.inner.lock().pending.len()
    }

    /// The power fails: of what was not flushed only the first `kept` writes are there.
    pub fn lose_power(&self, kept: usize) {
        let mut inner = self.inner.lock();
        let pending = std::mem::take(&mut inner.pending);
        for set in pending.into_iter().take(kept) {
            inner.durable.write(set).unwrap();
        }
        let copy = self.copies.fetch_add(1, Ordering::Relaxed);
        let copy = self.dir.join(format!("power-{copy}"));
        inner.durable.checkpoint(&copy).unwrap();
        inner.live = Arc::new(MemoryStore::new());
        inner.live.install(&copy).unwrap();
        std::fs::remove_dir_all(&copy).unwrap();
        let applied = inner.live.applied().unwrap().0;
        self.world
            .check(|all| all.clock.reset(self.node, applied.cluster_time));
    }

    /// Writes all it holds into a folder.
    pub fn save(&self, dir: &Path) {
        self.live().checkpoint(dir).unwrap();
    }

    /// Holds what was saved, and nothing that came after.
    pub fn set_back(&self, dir: &Path) {
        let mut inner = self.inner.lock();
        inner.live.install(dir).unwrap();
        inner.durable.install(dir).unwrap();
        inner.pending.clear();
        let time = inner.live.applied().unwrap().0.cluster_time;
        self.world.check(|all| all.clock.reset(self.node, time));
    }

    /// The newest state, for the driver.
    pub fn view(&self) -> View {
        let snapshot = self.live().snapshot().unwrap();
        let applied = snapshot.applied().unwrap().0;
        View::new(snapshot, applied)
    }

    fn live(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.inner.lock().live)
    }

    /// Shows rows that are about to be written to the invariants.
    fn look_at_rows(&self, before: Applied, set: &WriteSet) -> Result<(), Error> {
        let least = Least::of(before.min_term, set);
        for (key, row) in &set.rows {
            let Some(row) = row.as_ref().filter(|row| row.term != 0) else {
                continue;
            };
            let before = self.live().get(key)?;
            self.world
                .check(|all| all.ciphertexts.written(&least, key, row, before.as_ref()));
        }
        Ok(())
    }

    /// Shows a new state to the invariants.
    fn look(&self, before: Applied) {
        let view = self.view();
        let applied = view.applied();
        let digest = digest(&view).unwrap();
        let terms: Vec<(u64, Option<u64>)> = (before.index + 1..=applied.index)
            .map(|position| (position, self.log.term_at(position - 1)))
            .collect();
        self.world.note(format_args!(
            "n{} applied {} {} revision {} time {} digest {:02x}{:02x}{:02x}{:02x}",
            self.node,
            applied.term,
            applied.index,
            applied.revision,
            applied.cluster_time,
            digest[0],
            digest[1],
            digest[2],
            digest[3]
        ));
        self.world
            .check(|all| all.completeness.applied(self.node, applied, &terms));
        self.world
            .check(|all| all.state.applied(self.node, applied, digest));
        let showed = self.world.clocks_that_showed(applied.cluster_time);
        let voters = fewest_voters(&self.live().applied().unwrap().1);
        self.world
            .check(|all| all.clock.applied(self.node, before, applied, (showed, voters)));
    }
}

/// Voters of the smaller of the configurations that have a say: `format u16 | flag u8 | (term u64 | index u64)? | count u32
/// | (count u32 | node u64*)* | ...`.
fn fewest_voters(membership: &Bytes) -> usize {
    let number = |at: usize| {
        let bytes = membership.get(at..at + 4)?;
        usize::try_from(u32::from_be_bytes(bytes.try_into().unwrap())).ok()
    };
    let mut at = if membership.get(2) == Some(&1) { 19 } else { 3 };
    let mut fewest = usize::MAX;
    for _ in 0..number(at).unwrap_or(0) {
        at += 4;
        let voters = number(at).unwrap_or(0);
        fewest = fewest.min(voters);
        at += voters * 8;
    }
    fewest
}

impl Store for SimStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error> {
        self.live().snapshot()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Row>, Error> {
        self.live().get(key)
    }

    fn write(&self, mut set: WriteSet) -> Result<(), Error> {
        let before = self.live().applied()?.0;
        if self.world.is(Mutant::DivergentApply) && self.node == 2 {
            // The mutant: one node computes another value.
            for row in set.rows.iter_mut().filter_map(|(_, row)| row.as_mut()) {
                if row.revision % 97 == 0 {
                    row.deadline += 1;
                }
            }
        }
        self.look_at_rows(before, &set)?;
        {
            let mut inner = self.inner.lock();
            inner.live.write(set.clone())?;
            inner.pending.push(set);
        }
        self.look(before);
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let pending = std::mem::take(&mut inner.pending);
        for set in pending {
            inner.durable.write(set)?;
        }
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        self.flush()?;
        self.world.fired("snapshot made");
        self.live().checkpoint(dir)
    }

    fn inspect(&self, dir: &Path) -> Result<(Applied, Bytes), Error> {
        self.live().inspect(dir)
    }

    fn install(&self, dir: &Path) -> Result<(), Error> {
        {
            let mut inner = self.inner.lock();
            inner.live.install(dir)?;
            inner.durable.install(dir)?;
            inner.pending.clear();
        }
        self.world.fired("snapshot installed");
        // The log may lack what the snapshot covers: nothing is said of its entries.
        let after = self.live().applied()?.0;
        self.look(after);
        Ok(())
    }
}
