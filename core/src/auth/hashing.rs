//! Where a node computes what takes so long that requests queue up for it: hashes of passwords. A few threads of low
//! priority beside everything else, so that a flood of logins leaves reads their processor; a bounded queue, so that it ends
//! in an error instead of in memory. Work that nobody waits for any more is skipped. Knows nothing of what is computed.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use conclave_engine_api::Heavy;
use conclave_engine_api::heavy::Computation;

use crate::error::Error;

/// Most computations that wait: some seconds of work for two processors.
const QUEUE: usize = 256;
/// Most threads, each of which takes 19 MiB for a password.
const MAX_THREADS: usize = 16;
/// Niceness of the threads: whatever else wants to run, runs first, and leaves them a tenth of a processor.
const NICENESS: i32 = 10;

/// The queue of one node and its threads, which start with the first computation and end with the node.
#[derive(Default)]
pub struct Hashing {
    queue: OnceLock<SyncSender<Job>>,
}

struct Job {
    run: Computation,
    answer: oneshot::Sender<Zeroizing<Vec<u8>>>,
}

impl Hashing {
    /// The answer to a question.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too many wait already.
    pub async fn run(&self, heavy: &Heavy) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            run: heavy.run.clone(),
            answer,
        };
        let queue = self.queue.get_or_init(start);
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded("too many logins are waiting; try again".to_owned()),
            TrySendError::Disconnected(_) => Error::internal("nothing computes hashes any more"),
        })?;
        answered
            .await
            .map_err(|_| Error::internal("a hash was not computed"))
    }
}

fn start() -> SyncSender<Job> {
    let (queue, jobs) = sync_channel(QUEUE);
    let jobs = Arc::new(Mutex::new(jobs));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for number in 0..processors.min(MAX_THREADS) {
        let jobs = jobs.clone();
        let thread = std::thread::Builder::new().name(format!("hashing-{number}"));
        if let Err(error) = thread.spawn(move || work(&jobs)) {
            tracing::error!(%error, "a thread that computes hashes did not start");
        }
    }
    queue
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    // Of this thread alone, on Linux. A system that refuses computes all the same, only less politely.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "hashes are computed at full priority");
    }
    loop {
        let job = jobs.lock().recv();
        let Ok(job) = job else { return };
        if !job.answer.is_closed() {
            // Whoever asked may be gone by now.
            let _ = job.answer.send((job.run)());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_full_queue_is_an_error_and_what_nobody_waits_for_is_skipped() {
        let hashing = Hashing::default();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let ran = Arc::new(AtomicUsize::new(0));
        let heavy = {
            let (gate, ran) = (Mutex::new(gate), ran.clone());
            Heavy::new("wait", move || {
                // Until the sender is dropped.
                let _ = gate.lock().recv();
                ran.fetch_add(1, Ordering::SeqCst);
                Zeroizing::new(vec![7])
            })
        };
        let mut waiting = Vec::new();
        let refused = loop {
            let mut asked = Box::pin(hashing.run(&heavy));
            match futures::poll!(&mut asked) {
                std::task::Poll::Pending => waiting.push(asked),
                std::task::Poll::Ready(answer) => break answer,
            }
            assert!(waiting.len() <= QUEUE + MAX_THREADS, "the queue has no end");
        };
        assert!(matches!(refused, Err(Error::Overloaded(_))));
        let last = waiting.pop().unwrap();
        let asked = waiting.len();
        let first = waiting.remove(0);
        drop(waiting);
        drop(open);
        assert_eq!(*first.await.unwrap(), [7]);
        assert_eq!(*last.await.unwrap(), [7]);
        assert!(ran.load(Ordering::SeqCst) < asked, "nobody waited for most of it");
    }

    #[tokio::test]
    async fn a_computation_that_fails_is_an_error_and_the_next_one_runs() {
        let hashing = Hashing::default();
        let broken = Heavy::new("broken", || std::panic::resume_unwind(Box::new("broken")));
        assert!(hashing.run(&broken).await.is_err());
    }
}
