//! Where a node computes what takes so long that requests queue up for it: hashes of passwords, new RSA keys. A thread for
//! each processor that runs when nothing else wants to, so that a flood of logins costs reads nothing; a bounded queue, so
//! that it ends in an error instead of in memory; and one thread that takes over where those get no time at all, so that a
//! flood of reads does not end logins either. Work that nobody waits for any more is skipped. Knows nothing of what is computed.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use conclave_engine_api::Heavy;
use conclave_engine_api::heavy::Computation;

use crate::error::Error;

/// Most computations that wait: some seconds of work for two processors.
const QUEUE: usize = 256;
/// Most threads, each of which takes 19 MiB for a password.
const MAX_THREADS: usize = 16;
/// A computation that takes longer gets no time: it is begun again by the thread that takes over. A password takes 40 ms.
const STARVED: Duration = Duration::from_secs(1);
/// Between two looks for such a computation.
const LOOK: Duration = Duration::from_millis(250);
/// Niceness of the thread that takes over: a tenth of a processor is its own.
const NICENESS: i32 = 10;

/// The queue of one node and its threads, which start with the first computation and end with the node.
#[derive(Default)]
pub struct Hashing {
    bench: OnceLock<Arc<Bench>>,
}

impl Hashing {
    /// The answer to a question.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too many wait already.
    pub async fn run(&self, heavy: &Heavy) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (answer, answered) = oneshot::channel();
        let job = Arc::new(Job {
            run: heavy.run.clone(),
            answer: Mutex::new(Some(answer)),
        });
        if !self.bench.get_or_init(Bench::start).put(job) {
            return Err(Error::Overloaded(
                "too many logins are waiting; try again".to_owned(),
            ));
        }
        answered
            .await
            .map_err(|_| Error::internal("a hash was not computed"))
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        if let Some(bench) = self.bench.get() {
            bench.close();
        }
    }
}

struct Job {
    run: Computation,
    /// Taken by whoever has the answer first.
    answer: Mutex<Option<oneshot::Sender<Zeroizing<Vec<u8>>>>>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.answer
            .lock()
            .as_ref()
            .is_some_and(|answer| !answer.is_closed())
    }

    fn compute(&self) {
        if self.is_wanted() {
            let computed = (self.run)();
            if let Some(answer) = self.answer.lock().take() {
                // Whoever asked may be gone by now.
                let _ = answer.send(computed);
            }
        }
    }

    /// Nobody computes it any more: whoever waits hears so.
    fn give_up(&self) {
        self.answer.lock().take();
    }
}

/// What the threads of a node share.
#[derive(Default)]
struct Bench {
    state: Mutex<State>,
    /// Something waits.
    waits: Condvar,
    /// Something is under way where nothing was.
    begun: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Job>>,
    /// What each thread is at, and since when.
    under_way: Vec<Option<(Instant, Arc<Job>)>>,
    closed: bool,
}

impl State {
    /// The longest under way that is starved and still wanted, else what waits, if all who could take it are starved.
    fn starved(&mut self, now: Instant) -> Option<Arc<Job>> {
        let is_starved = |since: Instant| now.saturating_duration_since(since) >= STARVED;
        let all = self
            .under_way
            .iter()
            .flatten()
            .filter(|(since, _)| is_starved(*since));
        let (mut starved, mut first) = (0, None);
        for (since, job) in all {
            starved += 1;
            if job.is_wanted() && first.as_ref().is_none_or(|(earliest, _)| since < earliest) {
                first = Some((*since, job.clone()));
            }
        }
        match first {
            Some((_, job)) => Some(job),
            None if starved == self.under_way.len() => self.waiting.pop_front(),
            None => None,
        }
    }
}

impl Bench {
    fn start() -> Arc<Self> {
        let bench = Arc::new(Self::default());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(MAX_THREADS);
        bench.state.lock().under_way.resize_with(threads, || None);
        for number in 0..threads {
            spawn(&bench, format!("hashing-{number}"), move |bench| {
                bench.work(number)
            });
        }
        spawn(&bench, "hashing-starved".to_owned(), Self::take_over);
        bench
    }

    /// Whether there was room for it.
    fn put(&self, job: Arc<Job>) -> bool {
        let mut state = self.state.lock();
        // Those that nobody waits for any more take no room.
        if state.waiting.len() >= QUEUE {
            state.waiting.retain(|job| job.is_wanted());
        }
        if state.closed || state.waiting.len() >= QUEUE {
            return false;
        }
        state.waiting.push_back(job);
        drop(state);
        self.waits.notify_one();
        true
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.waits.notify_all();
        self.begun.notify_all();
    }

    fn work(&self, number: usize) {
        run_when_idle();
        while let Some(job) = self.take(number) {
            // A computation that panics ends with its answer, and no thread with it.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.compute()));
            if done.is_err() {
                job.give_up();
            }
            self.put_down(number);
        }
    }

    /// The next job, once there is one; `None` when there will be none.
    fn take(&self, number: usize) -> Option<Arc<Job>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                if state.under_way.iter().all(Option::is_none) {
                    self.begun.notify_one();
                }
                if let Some(slot) = state.under_way.get_mut(number) {
                    *slot = Some((Instant::now(), job.clone()));
                }
                return Some(job);
            }
            self.waits.wait(&mut state);
        }
    }

    fn put_down(&self, number: usize) {
        if let Some(slot) = self.state.lock().under_way.get_mut(number) {
            *slot = None;
        }
    }

    /// Computes what others have begun and get no time for.
    fn take_over(&self) {
        // Of this thread alone, on Linux. A system that refuses computes all the same, only less politely.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "hashes are computed at full priority");
        }
        let mut state = self.state.lock();
        while !state.closed {
            if let Some(job) = state.starved(Instant::now()) {
                drop(state);
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.compute()));
                if done.is_err() {
                    job.give_up();
                }
                state = self.state.lock();
            } else if state.under_way.iter().any(Option::is_some) {
                self.begun.wait_for(&mut state, LOOK);
            } else {
                self.begun.wait(&mut state);
            }
        }
    }
}

fn spawn(bench: &Arc<Bench>, name: String, work: impl FnOnce(&Bench) + Send + 'static) {
    let bench = bench.clone();
    let thread = std::thread::Builder::new().name(name);
    if let Err(error) = thread.spawn(move || work(&bench)) {
        tracing::error!(%error, "a thread that computes hashes did not start");
    }
}

/// This thread runs when no other wants to, and any other that wakes up takes its processor at once. Niceness alone would let
/// it finish its slice of a millisecond first, which is as long as a read takes.
fn run_when_idle() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let own = thread_priority::unix::thread_native_id();
    if let Err(error) = thread_priority::unix::set_thread_priority_and_policy(own, ThreadPriority::Min, idle)
    {
        // It may be a niceness that this process has already and cannot give up.
        tracing::debug!(?error, "a thread that computes hashes has the priority of others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A computation that goes on until the sender is dropped, and a count of those that ran.
    fn waiting() -> (Heavy, std::sync::mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = ran.clone();
        let gate = Mutex::new(gate);
        let heavy = Heavy::new("wait", move || {
            let _ = gate.lock().recv();
            counted.fetch_add(1, Ordering::SeqCst);
            Zeroizing::new(vec![7])
        });
        (heavy, open, ran)
    }

    #[tokio::test]
    async fn a_full_queue_is_an_error_and_what_nobody_waits_for_is_skipped() {
        let hashing = Hashing::default();
        let (heavy, open, ran) = waiting();
        let mut waiting = Vec::new();
        let refused = loop {
            let mut asked = Box::pin(hashing.run(&heavy));
            match futures::poll!(&mut asked) {
                std::task::Poll::Pending => waiting.push(asked),
                std::task::Poll::Ready(answer) => break answer,
            }
            assert!(waiting.len() <= QUEUE + MAX_THREADS + 1, "the queue has no end");
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
        for _ in 0..=MAX_THREADS {
            assert!(hashing.run(&broken).await.is_err());
        }
        let sound = Heavy::new("sound", || Zeroizing::new(vec![1]));
        assert_eq!(*hashing.run(&sound).await.unwrap(), [1]);
    }

    #[test]
    fn what_is_starved_is_taken_over_before_what_waits() {
        let job = || {
            let (answer, answered) = oneshot::channel();
            let job = Arc::new(Job {
                run: Heavy::new("none", || Zeroizing::new(Vec::new())).run,
                answer: Mutex::new(Some(answer)),
            });
            (job, answered)
        };
        let ((one, _one), (two, two_wants), (three, _three)) = (job(), job(), job());
        let begun = Instant::now();
        let mut state = State {
            waiting: VecDeque::from([three.clone()]),
            under_way: vec![Some((begun + LOOK, one.clone())), Some((begun, two.clone()))],
            closed: false,
        };
        let is =
            |taken: Option<Arc<Job>>, job: &Arc<Job>| taken.is_some_and(|taken| Arc::ptr_eq(&taken, job));
        assert!(state.starved(begun + STARVED / 2).is_none());
        assert!(is(state.starved(begun + STARVED), &two));
        // Nobody wants it any more; the other is not starved yet and will take what waits.
        drop(two_wants);
        assert!(state.starved(begun + STARVED).is_none());
        assert!(is(state.starved(begun + STARVED + LOOK), &one));
        one.compute();
        assert!(is(state.starved(begun + STARVED + LOOK), &three));
        assert!(state.starved(begun + STARVED + LOOK).is_none());
    }
}
