//! openraft's own suite for log store and state machine, over each of our stores.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::mpsc;

use crate::door::Waiters;
use crate::log::types::TypeConfig;
use crate::log::{Fatal, LogBackend, LogStore, MemoryLog};
use crate::node::clock::{ClusterClock, SystemClock};
use crate::node::machine::StateMachine;
use crate::node::snapshots::Snapshots;
use crate::state::{MemoryStore, Store};

struct Builder<F>(F);

impl<F> StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder<F>
where
    F: Fn(&std::path::Path) -> (Arc<dyn LogBackend>, Arc<dyn Store>) + Send + Sync,
{
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, state) = (self.0)(dir.path());
        let fatal: Fatal = Arc::new(|reason: &str| panic!("{reason}"));
        let log = LogStore::open(log, Arc::clone(&fatal)).unwrap();
        let snapshots = Arc::new(Snapshots::open(dir.path().join("snapshots")).unwrap());
        let waiters = Arc::new(Waiters::new(0, 1, mpsc::unbounded_channel().0));
        let clock = Arc::new(ClusterClock::new(Arc::new(SystemClock)));
        let machine = StateMachine::open(state, snapshots, waiters, clock, fatal).unwrap();
        Ok((dir, log, machine))
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
