//! Where a node does heavy arithmetic (RSA, password hashes): beside the threads that serve requests, and few at a time,
//! so that a flood of it leaves the others their share of the processors. Knows nothing of what is computed.

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};

/// A bounded number of benches.
pub struct Workshop {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Default for Workshop {
    /// As many benches as the machine has processors.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            free: Mutex::new(processors),
            freed: Condvar::new(),
        }
    }
}

impl conclave_engine_api::Workshop for Workshop {
    fn run(&self, work: &mut dyn FnMut()) {
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            // The runtime hands this thread's other tasks to another one first.
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| self.take_turn(work)),
            _ => self.take_turn(work),
        }
    }
}

impl Workshop {
    fn take_turn(&self, work: &mut dyn FnMut()) {
        let _bench = self.sit_down();
        work();
    }

    fn sit_down(&self) -> Bench<'_> {
        let mut free = self.free.lock();
        self.freed.wait_while(&mut free, |free| *free == 0);
        *free -= 1;
        Bench(self)
    }
}

/// A bench in use; free again when dropped, also by a panic.
struct Bench<'w>(&'w Workshop);

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_engine_api::Workshop as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_more_work_at_once_than_benches() {
        let workshop = Arc::new(Workshop {
            free: Mutex::new(2),
            freed: Condvar::new(),
        });
        let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..16).map(|_| {
            let (workshop, busy, most) = (workshop.clone(), busy.clone(), most.clone());
            tokio::spawn(async move {
                workshop.run(&mut || {
                    most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    for _ in 0..1000 {
                        std::thread::yield_now();
                    }
                    busy.fetch_sub(1, Ordering::SeqCst);
                });
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(*workshop.free.lock(), 2);
    }
}
