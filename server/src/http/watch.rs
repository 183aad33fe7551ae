//! What a connection is waiting for, and since when: shared by its byte stream, its requests and its watchdog, so that
//! one timer a connection finds every kind of dawdling. It must not know HTTP beyond the phase of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Timeouts;
use super::framing::Phase;

/// The watch over one connection. Times are milliseconds since `start`, plus one, so that zero means "not".
pub struct Watch {
    start: Instant,
    phase: AtomicU8,
    /// When the phase, or the idleness after the last request, began.
    since: AtomicU64,
    /// When a write began to wait for the peer; 0 while none does.
    stalled: AtomicU64,
    in_flight: AtomicU32,
    served: AtomicBool,
    ambiguous: AtomicBool,
}

/// What the watchdog makes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again then.
    Wait(Instant),
    /// Nothing was asked for so long that it may be closed politely.
    Idle,
    /// The peer keeps the connection without getting on.
    Dawdling,
}

/// Counts a request as under way until dropped.
pub struct InFlight(Arc<Watch>);

const BETWEEN: u8 = 0;
const HEAD: u8 = 1;
const BODY: u8 = 2;

impl Watch {
    /// A connection that begins now.
    pub fn new() -> Arc<Self> {
        let watch = Self {
            start: Instant::now(),
            phase: AtomicU8::new(BETWEEN),
            since: AtomicU64::new(1),
            stalled: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            served: AtomicBool::new(false),
            ambiguous: AtomicBool::new(false),
        };
        Arc::new(watch)
    }

    /// Bytes came in; the messages now stand at `phase`.
    pub fn received(&self, phase: Phase, ambiguous: bool) {
        let phase = match phase {
            Phase::Between => BETWEEN,
            Phase::Head => HEAD,
            Phase::Body => BODY,
        };
        let before = self.phase.swap(phase, Ordering::Relaxed);
        // A head is timed as a whole; a body must only get on.
        if before != phase || phase == BODY {
            self.since.store(self.now(), Ordering::Relaxed);
        }
        if ambiguous {
            self.ambiguous.store(true, Ordering::Relaxed);
        }
    }

    /// A write went through, or waits for the peer.
    pub fn writing(&self, waits: bool) {
        if !waits {
            if self.stalled.load(Ordering::Relaxed) != 0 {
                self.stalled.store(0, Ordering::Relaxed);
            }
        } else if self.stalled.load(Ordering::Relaxed) == 0 {
            self.stalled.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.served.store(true, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Whether any request stated its length in two ways.
    pub fn ambiguous(&self) -> bool {
        self.ambiguous.load(Ordering::Relaxed)
    }

    /// Judges the connection at this moment.
    pub fn judge(&self, timeouts: &Timeouts) -> Verdict {
        let now = self.now();
        let stalled = self.stalled.load(Ordering::Relaxed);
        let mut next = timeouts.shortest() / 2;
        if stalled != 0 {
            match left(stalled, timeouts.write, now) {
                Some(left) => next = next.min(left),
                None => return Verdict::Dawdling,
            }
        }
        let phase = self.phase.load(Ordering::Relaxed);
        let busy = self.is_busy();
        let idle = phase == BETWEEN && self.served.load(Ordering::Relaxed);
        // A body under way belongs to its request, which has its own time-outs.
        if !(busy && phase != HEAD) {
            let limit = match phase {
                BODY => timeouts.body,
                _ if idle => timeouts.idle,
                _ => timeouts.header,
            };
            match left(self.since.load(Ordering::Relaxed), limit, now) {
                Some(left) => next = next.min(left),
                None if idle => return Verdict::Idle,
                None => return Verdict::Dawdling,
            }
        }
        Verdict::Wait(Instant::now() + next.max(Duration::from_millis(1)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}

/// How much of `limit` is left; `None` when it is over.
fn left(since: u64, limit: Duration, now: u64) -> Option<Duration> {
    let waited = Duration::from_millis(now.saturating_sub(since));
    limit.checked_sub(waited).filter(|left| !left.is_zero())
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.since.store(self.0.now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts() -> Timeouts {
        Timeouts {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            write: Duration::from_secs(60),
            request: Duration::from_secs(90),
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_before_the_first_request_and_slow_heads_are_dawdling() {
        let watch = Watch::new();
        assert!(matches!(watch.judge(&timeouts()), Verdict::Wait(_)));
        pass(11).await;
        assert_eq!(watch.judge(&timeouts()), Verdict::Dawdling);

        let watch = Watch::new();
        drop(watch.begin());
        pass(200).await;
        assert!(
            matches!(watch.judge(&timeouts()), Verdict::Wait(_)),
            "idle is allowed"
        );
        for _ in 0..10 {
            watch.received(Phase::Head, false);
            pass(1).await;
        }
        assert_eq!(
            watch.judge(&timeouts()),
            Verdict::Dawdling,
            "drops of a head do not help"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_counts_from_the_last_answer() {
        let watch = Watch::new();
        let request = watch.begin();
        pass(1_000).await;
        assert!(
            matches!(watch.judge(&timeouts()), Verdict::Wait(_)),
            "a request may take its time"
        );
        drop(request);
        pass(299).await;
        assert!(matches!(watch.judge(&timeouts()), Verdict::Wait(_)));
        pass(2).await;
        assert_eq!(watch.judge(&timeouts()), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_dawdling() {
        let watch = Watch::new();
        let _request = watch.begin();
        watch.writing(true);
        pass(30).await;
        watch.writing(true);
        pass(31).await;
        assert_eq!(watch.judge(&timeouts()), Verdict::Dawdling);
        watch.writing(false);
        assert!(matches!(watch.judge(&timeouts()), Verdict::Wait(_)));
    }
}
