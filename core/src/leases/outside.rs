//! What one node has to act outside the cluster: who carries out plans, what is known of targets, what is counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Registry;

use conclave_raft::Key;

use crate::error::Error;
use crate::leases::numbers::Numbers;
use crate::leases::{Targets, Tending};

/// A row that failed and was not tried again for so long is gone, or another node's.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// How often a row that goes on failing is told of in the log: whoever looks there for the last minutes is to find it.
const TOLD_AGAIN: Duration = Duration::from_secs(300);

/// What is tried at a row that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Its engine acts outside: a rotation.
    Rotation,
    /// Its end, and that of what hangs on it.
    End,
    /// The end of a lease.
    Revocation,
}

/// A row at which something failed when it was last tried; times on the boot clock.
struct Failing {
    what: Tried,
    tried: Duration,
    told: Duration,
}

/// One node's means.
pub struct Outside {
    /// Who carries out plans.
    pub targets: Arc<dyn Targets>,
    /// What is known of targets.
    pub tending: Tending,
    /// What is counted.
    pub numbers: Numbers,
    /// Rows of engines that are being acted on.
    acting: Mutex<HashSet<Key>>,
    failed: Mutex<HashMap<Key, Failing>>,
}

impl Outside {
    /// Nothing is known yet.
    pub fn new(targets: Arc<dyn Targets>, registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            targets,
            tending: Tending::default(),
            numbers: Numbers::new(registry)?,
            acting: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Whether nobody acts on a row yet; from now on somebody does.
    pub fn begin(&self, key: &Key) -> bool {
        self.acting.lock().insert(key.clone())
    }

    /// What is due at a row was done.
    pub fn done(&self, key: &Key) {
        self.failed.lock().remove(key);
    }

    /// What is due at a row failed. Whether that is to be told: it had not failed the time before, or was not told of for a while.
    pub fn failed(&self, key: &Key, what: Tried) -> bool {
        let now = self.targets.boot_time();
        let mut failed = self.failed.lock();
        let told = failed.get(key).map(|failing| failing.told);
        let told = told.filter(|told| now.saturating_sub(*told) < TOLD_AGAIN);
        let failing = Failing {
            what,
            tried: now,
            told: told.unwrap_or(now),
        };
        failed.insert(key.clone(), failing);
        told.is_none()
    }

    /// At how many rows this failed when last tried.
    pub fn failing(&self, what: Tried) -> usize {
        let now = self.targets.boot_time();
        let mut failed = self.failed.lock();
        failed.retain(|_, failing| now.saturating_sub(failing.tried) < FORGOTTEN);
        failed.values().filter(|failing| failing.what == what).count()
    }

    /// Tells how many targets are left alone.
    pub fn tell_left_alone(&self) {
        self.numbers
            .left_alone(self.tending.open(self.targets.boot_time()));
    }

    /// Nobody acts on it any more.
    pub fn end(&self, key: &Key) {
        self.acting.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use conclave_engine_api::{Bounds, Done, Failure, Plan};

    use super::*;

    /// A clock, and nobody to reach.
    #[derive(Default)]
    struct Clock(Mutex<Duration>);

    impl Targets for Clock {
        fn run<'t>(&'t self, _: &'t Plan, _: &'t Bounds) -> BoxFuture<'t, Result<Vec<String>, Failure>> {
            async { Err(Failure::new(Done::Nothing, "nobody is there")) }.boxed()
        }

        fn boot_time(&self) -> Duration {
            *self.0.lock()
        }
    }

    #[test]
    fn what_goes_on_failing_is_told_now_and_then() {
        let clock = Arc::new(Clock::default());
        let outside = Outside::new(clock.clone(), &Registry::new()).unwrap();
        let (one, other) = (Key::from(vec![1]), Key::from(vec![2]));
        let mut told = Vec::new();
        for second in 0..1000 {
            *clock.0.lock() = Duration::from_secs(second);
            if outside.failed(&one, Tried::Rotation) {
                told.push(second);
            }
        }
        assert_eq!(told, [0, 300, 600, 900]);
        assert!(outside.failed(&other, Tried::End), "each row for itself");
        assert_eq!(outside.failing(Tried::Rotation), 1);
        outside.done(&one);
        assert_eq!(outside.failing(Tried::Rotation), 0);
        assert!(outside.failed(&one, Tried::Rotation), "it is news again");
        *clock.0.lock() += FORGOTTEN;
        assert_eq!(
            outside.failing(Tried::End),
            0,
            "nobody tried it again, so it is gone or another node's"
        );
    }
}
