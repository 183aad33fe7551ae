//! openraft's own suite for log store and state machine, over each of our stores.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, StorageError};
use tokio::sync::mpsc;

use crate::door::Waiters;
use crate::log::types::{LogEntry, LogId, LogPayload, StoredMembers, TypeConfig, log_id, term_of};
use crate::log::{Fatal, LogBackend, LogStore, MemoryLog};
use crate::node::clock::{ClusterClock, SystemClock};
use crate::node::machine::{self, StateMachine};
use crate::node::offload::{Offload, Threads};
use crate::node::snapshots::{Checkpoint, Meta, Snapshots};
use crate::state::{MemoryStore, Store};

struct Builder<F>(F);

impl<F> StoreBuilder<TypeConfig, LogStore, Dense, tempfile::TempDir> for Builder<F>
where
    F: Fn(&std::path::Path) -> (Arc<dyn LogBackend>, Arc<dyn Store>) + Send + Sync,
{
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Dense), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, state) = (self.0)(dir.path());
        let offload: Arc<dyn Offload> = Arc::new(Threads);
        let fatal: Fatal = Arc::new(|reason: &str| panic!("{reason}"));
        let log = LogStore::open(log, Arc::clone(&fatal), &offload).unwrap();
        log.verify().unwrap();
        let snapshots = Arc::new(Snapshots::open(dir.path().join("snapshots")).unwrap());
        let waiters = Arc::new(Waiters::new(0, 1, mpsc::unbounded_channel().0));
        let clock = Arc::new(ClusterClock::new(Arc::new(SystemClock)));
        let machine = StateMachine::open(state, snapshots, waiters, clock, fatal, offload).unwrap();
        Ok((dir, log, Dense(machine)))
    }
}

/// The suite leaves out indexes in what it applies, which a log never does and our state machine refuses: this puts
/// blank entries there.
struct Dense(StateMachine);

impl RaftStateMachine<TypeConfig> for Dense {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = machine::Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), io::Error> {
        self.0.applied_state().await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut last = self.0.applied_state().await?.0;
        let mut dense = Vec::new();
        for item in entries.collect::<Vec<_>>().await {
            let (entry, responder) = item?;
            let first = last.map_or(entry.log_id.index, |id| id.index + 1);
            for index in first..entry.log_id.index {
                let blank = LogEntry {
                    log_id: log_id(term_of(&entry.log_id), index),
                    payload: LogPayload::Blank,
                };
                dense.push(Ok((blank, None)));
            }
            last = Some(entry.log_id);
            dense.push(Ok((entry, responder)));
        }
        self.0.apply(stream::iter(dense)).await
    }

    async fn get_snapshot_builder(&mut self) -> machine::Builder {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Checkpoint) -> Result<(), io::Error> {
        self.0.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Checkpoint>>, io::Error> {
        self.0.get_current_snapshot().await
    }
}

#[tokio::test]
async fn the_suite_passes_in_memory() {
    let builder = Builder(|_: &std::path::Path| {
        (
            Arc::new(MemoryLog::default()) as Arc<dyn LogBackend>,
            Arc::new(MemoryStore::new()) as Arc<dyn Store>,
        )
    });
    Suite::test_all(builder).await.unwrap();
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_on_disk() {
    use crate::log::RocksLog;
    use crate::state::RocksStore;
    let builder = Builder(|dir: &std::path::Path| {
        (
            Arc::new(RocksLog::open(&dir.join("log")).unwrap()) as Arc<dyn LogBackend>,
            Arc::new(RocksStore::open(&dir.join("state")).unwrap()) as Arc<dyn Store>,
        )
    });
    Suite::test_all(builder).await.unwrap();
}
