//! Time: the machine's clocks, and the cluster's clock as this node extrapolates it from what the leader says.
//! This file must not know how the leader's answers travel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::command::Millis;
use crate::mutant;

/// The clocks of one machine.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, as the operating system believes. May jump.
    fn wall(&self) -> Millis;
    /// Time since some fixed moment. Never jumps and counts while the machine sleeps.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// By the C library, so that tests can shift it under the unchanged binary.
    #[allow(clippy::disallowed_methods)]
    fn wall(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        since(clock_gettime(ClockId::Boottime))
    }
}

fn since(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Wall clocks that are this near to each other agree on the time.
pub const CLOCK_AGREEMENT: Millis = 30_000;
/// The leader moves its clock towards the wall clock by at most one part in this many.
const SLEW: u32 = 200;

/// The cluster's clock: on the leader anchored at takeover and slewed, elsewhere extrapolated from the leader's.
pub struct ClusterClock {
    clock: Arc<dyn Clock>,
    /// Greatest time applied here: the clock is never behind it.
    floor: AtomicU64,
    anchor: Mutex<Option<Anchor>>,
    /// When this node last followed a leader, by the monotonic clock in milliseconds.
    followed: AtomicU64,
}

#[derive(Clone, Copy)]
struct Anchor {
    cluster: Duration,
    at: Duration,
    /// The term in which this node leads and keeps the clock, if it does.
    leading: Option<u64>,
}

impl Anchor {
    fn now(&self, monotonic: Duration) -> Duration {
        self.cluster + monotonic.saturating_sub(self.at)
    }
}

impl ClusterClock {
    /// A clock that shows the wall clock until it has heard of a better one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            floor: AtomicU64::new(0),
            anchor: Mutex::new(None),
            followed: AtomicU64::new(0),
        }
    }

    /// The cluster's time in Unix milliseconds.
    pub fn now(&self) -> Millis {
        let anchor = *self.anchor.lock();
        let shown = match anchor {
            // The mutant: a follower believes its own clock.
            Some(anchor) if anchor.leading.is_some() || !mutant::is("follower-clock") => {
                millis(anchor.now(self.clock.monotonic()))
            }
            _ => self.clock.wall(),
        };
        shown.max(self.floor.load(Ordering::Relaxed))
    }

    /// The machine's own wall clock.
    pub fn wall(&self) -> Millis {
        self.clock.wall()
    }

    /// An entry that carried this time was applied.
    pub fn applied(&self, cluster_time: Millis) {
        self.floor.fetch_max(cluster_time, Ordering::Relaxed);
    }

    /// The leader's clock showed `now` a moment ago. Ignored while this node leads.
    pub fn observe(&self, now: Millis) {
        let at = self.clock.monotonic();
        let mut anchor = self.anchor.lock();
        if now != 0 && anchor.is_none_or(|anchor| anchor.leading.is_none()) {
            let cluster = Duration::from_millis(now);
            *anchor = Some(Anchor {
                cluster,
                at,
                leading: None,
            });
        }
    }

    /// This node leads in `term`: from now on it keeps the clock. It goes on with what it heard from the leader before it,
    /// so that a wrong wall clock of its own ends no token; but what it heard is not handed on when it is far ahead of a
    /// wall clock that is possible. Never behind what was applied.
    pub fn lead(&self, term: u64) {
        let wall = self.clock.wall();
        let floor = self.floor.load(Ordering::Relaxed);
        let at = self.clock.monotonic();
        let mut anchor = self.anchor.lock();
        if anchor.is_some_and(|anchor| anchor.leading == Some(term)) {
            return;
        }
        let heard = anchor.map(|anchor| millis(anchor.now(at)));
        let start = heard.filter(|heard| wall < floor || *heard <= wall.saturating_add(CLOCK_AGREEMENT));
        *anchor = Some(Anchor {
            cluster: Duration::from_millis(start.unwrap_or(wall).max(floor)),
            at,
            leading: Some(term),
        });
    }

    /// How far what a leader shows is from what its wall clock would have it show, in milliseconds.
    pub fn apart(&self) -> Millis {
        let wall = self.clock.wall().max(self.floor.load(Ordering::Relaxed));
        self.now().abs_diff(wall)
    }

    /// This node does not lead (any more): it keeps its reading until a leader says otherwise.
    pub fn follow(&self) {
        let at = self.clock.monotonic();
        if let Some(anchor) = self
            .anchor
            .lock()
            .as_mut()
            .filter(|anchor| anchor.leading.is_some())
        {
            anchor.cluster = anchor.now(at);
            anchor.at = at;
            anchor.leading = None;
        }
    }

    /// How long ago a leader last told the time; `None` if none ever did. Zero while this node leads.
    pub fn silence(&self) -> Option<Duration> {
        let heard = (*self.anchor.lock())?;
        match heard.leading {
            Some(_) => Some(Duration::ZERO),
            None => Some(self.clock.monotonic().saturating_sub(heard.at)),
        }
    }

    /// What a leader sent for the log was taken a moment ago.
    pub fn follows(&self) {
        let at = millis(self.clock.monotonic());
        self.followed.store(at, Ordering::Relaxed);
    }

    /// How long ago that was. The leader may have told the time since: whom it answers need not know it.
    pub fn unfollowed(&self) -> Duration {
        let followed = Duration::from_millis(self.followed.load(Ordering::Relaxed));
        self.clock.monotonic().saturating_sub(followed)
    }

    /// The machine's own monotonic clock.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The wall clock was wrong when this node began to lead and is known to be right now: a leader begins anew from it,
    /// never behind what was applied.
    pub fn correct(&self) {
        let start = self.clock.wall().max(self.floor.load(Ordering::Relaxed));
        let at = self.clock.monotonic();
        let mut anchor = self.anchor.lock();
        if let Some(anchor) = anchor.as_mut().filter(|anchor| anchor.leading.is_some()) {
            anchor.cluster = Duration::from_millis(start);
            anchor.at = at;
        }
    }

    /// Moves a leader's clock a little towards the wall clock.
    pub fn slew(&self) {
        let wall = Duration::from_millis(self.clock.wall());
        let at = self.clock.monotonic();
        let mut anchor = self.anchor.lock();
        let Some(anchor) = anchor.as_mut().filter(|anchor| anchor.leading.is_some()) else {
            return;
        };
        let now = anchor.now(at);
        let most = at.saturating_sub(anchor.at) / SLEW;
        anchor.cluster = match wall > now {
            true => now + (wall - now).min(most),
            false => now - (now - wall).min(most),
        };
        anchor.at = at;
    }
}

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Hand {
        wall: AtomicU64,
        monotonic: AtomicU64,
    }

    impl Clock for Hand {
        fn wall(&self) -> Millis {
            self.wall.load(Ordering::SeqCst)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
        }
    }

    fn at(wall: Millis) -> (Arc<Hand>, ClusterClock) {
        let hand = Arc::new(Hand::default());
        hand.wall.store(wall, Ordering::SeqCst);
        let clock = ClusterClock::new(Arc::clone(&hand) as Arc<dyn Clock>);
        (hand, clock)
    }

    #[test]
    fn a_wall_clock_step_does_not_move_a_leaders_clock() {
        let (hand, clock) = at(1_000_000);
        clock.lead(1);
        hand.wall.store(9_000_000, Ordering::SeqCst);
        hand.monotonic.store(2_000, Ordering::SeqCst);
        assert_eq!(clock.now(), 1_002_000);
        clock.slew();
        assert_eq!(
            clock.now(),
            1_002_010,
            "half a percent of the two seconds that passed"
        );
        clock.lead(1);
        assert_eq!(clock.now(), 1_002_010, "the same term does not anchor again");
    }

    #[test]
    fn a_leader_that_began_with_a_wrong_clock_is_corrected_but_not_behind_the_cluster() {
        let (hand, clock) = at(9_000_000);
        clock.applied(5_000);
        clock.lead(1);
        hand.wall.store(6_000, Ordering::SeqCst);
        clock.correct();
        assert_eq!(clock.now(), 6_000);
        hand.wall.store(1_000, Ordering::SeqCst);
        clock.correct();
        assert_eq!(clock.now(), 5_000);
    }

    #[test]
    fn a_leader_never_starts_behind_the_cluster() {
        let (_hand, clock) = at(500);
        clock.applied(7_000);
        clock.lead(3);
        assert_eq!(clock.now(), 7_000);
    }

    #[test]
    fn who_takes_over_goes_on_with_the_time_it_heard() {
        let wrong = 3_600_000;
        for (wall, heard, begins) in [
            (80_000 + wrong, 80_000, 80_000),
            (79_000, 80_000, 80_000),
            (80_000, 80_000 + wrong, 80_000),
            (10_000, 80_000, 80_000),
            (10_000, 60_000, 70_000),
        ] {
            let (hand, clock) = at(wall);
            clock.applied(70_000);
            clock.observe(heard);
            hand.monotonic.store(5, Ordering::SeqCst);
            clock.lead(4);
            let late = if begins == heard { 5 } else { 0 };
            assert_eq!(clock.now(), begins + late, "{wall} {heard}");
        }
    }

    #[test]
    fn a_follower_extrapolates_the_leaders_clock() {
        let (hand, clock) = at(500);
        clock.observe(80_000);
        hand.monotonic.store(250, Ordering::SeqCst);
        assert_eq!(clock.now(), 80_250);
        clock.lead(2);
        clock.observe(1);
        assert!(clock.now() >= 500, "a leader keeps its own clock");
    }
}
