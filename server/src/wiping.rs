//! After a seal: the stacks of the threads that served are wiped, once the requests that were under way have ended. What is
//! on the heap is wiped as it is freed. Knows threads and seals, not what was on them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Before each of the times the stacks are wiped after a seal: at once, and again when what was under way has ended.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
];
/// How long a thread may wait for the others: it serves nobody meanwhile.
const PATIENCE: Duration = Duration::from_millis(50);

/// Wipes the stacks of these runtimes' threads after each seal that `seals` counts, until told to stop.
pub async fn after_seals(seals: watch::Receiver<u64>, runtimes: Vec<Handle>, stop: CancellationToken) {
    stop.run_until_cancelled(follow(seals, &runtimes)).await;
}

async fn follow(mut seals: watch::Receiver<u64>, runtimes: &[Handle]) {
    while seals.changed().await.is_ok() {
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            join_all(runtimes.iter().map(wipe_threads)).await;
        }
    }
}

/// One task for each thread. None goes on before all have begun, so each has a thread of its own.
async fn wipe_threads(runtime: &Handle) {
    let threads = runtime.metrics().num_workers();
    let meeting = Arc::new(Meeting::default());
    let tasks = (0..threads).map(|_| {
        let meeting = meeting.clone();
        runtime.spawn(async move {
            meeting.wait_for(threads);
            wipe_own();
        })
    });
    let tasks: Vec<_> = tasks.collect();
    join_all(tasks).await;
}

/// Wipes the stack of the thread this runs on.
pub fn wipe_own() {
    if let Err(error) = conclave_mem::wipe_unused_stack() {
        tracing::warn!(%error, "the stack of a thread is not wiped");
    }
}

/// Where threads meet.
#[derive(Default)]
struct Meeting {
    arrived: Mutex<usize>,
    all: Condvar,
}

impl Meeting {
    /// Waits until this many have arrived, or not much longer: a thread that is busy comes another time.
    fn wait_for(&self, threads: usize) {
        let mut arrived = self.arrived.lock();
        *arrived += 1;
        self.all.notify_all();
        let missing = |arrived: &mut usize| *arrived < threads;
        self.all.wait_while_for(&mut arrived, missing, PATIENCE);
    }
}
