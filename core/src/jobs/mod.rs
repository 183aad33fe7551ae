//! Work that only the leader does: expiry, closing revoked tokens, promoting learners, sealing old rows anew; and what every
//! node reports now and then. Started with the node and idle unless there is something to do; stopped with it.

mod census;
mod expiry;
mod handover;
mod leases;
mod low_water;
mod outside;
mod rewrap;
mod spent;

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::backup::forget_stagings;
use crate::core::Core;

pub use expiry::Round;
pub(crate) use low_water::LowWater;
pub use rewrap::Rewrapped;
pub(crate) use rewrap::Turns;

/// Pause between rounds when nothing was due.
const IDLE: Duration = Duration::from_millis(500);
/// Most of a pause after a round of expiry. While requests come it is as long as the round was: what is due together ends in
/// twice the time it could, and requests have the other half.
const BREATH: Duration = Duration::from_millis(100);
/// What each command or question that came during the round adds to that pause: it is short where nobody asks.
const BREATH_EACH: Duration = Duration::from_millis(1);
/// Commands and questions of a round of expiry itself.
const OWN: u64 = 4;
/// How long rounds stay short after more than that came during one.
const SHORT_FOR: Duration = Duration::from_millis(100);
/// Pause between rounds while rows are sealed anew: requests come first.
const REWRAP_PAUSE: Duration = Duration::from_millis(10);
/// Pause between rounds of what may wait for members or is not urgent.
const SLOW: Duration = Duration::from_secs(5);
/// Between two comparisons of the targets' accounts with the leases.
const RECONCILE: Duration = Duration::from_secs(3600);
/// Pause between two looks at the queue of requests that are watched.
const LOOK: Duration = Duration::from_millis(250);
/// How long a node that is told to end takes to store what it knows.
const LAST: Duration = Duration::from_secs(1);
/// Between two reports of how many values were sealed, and two counts of what lives for a time.
const REPORT: Duration = Duration::from_secs(60);

impl Core {
    /// Starts the jobs; they end when the node is dropped.
    pub fn start_jobs(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let core = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::join!(
                run(core.clone()),
                run_slowly(core.clone()),
                run_comparisons(core.clone()),
                run_watch(core.clone()),
                run_posts(core.clone()),
                run_reconciliations(core)
            );
        })
    }
}

impl Core {
    /// The process is told to end: the ends of its audit chains, and what it learned of usual access, are stored now and not
    /// within the minute. Without a leader, or where that takes long, they are not.
    pub async fn prepare_to_end(&self) {
        let is_led = self
            .seal
            .replica()
            .is_ok_and(|replica| replica.status().borrow().leader.is_some());
        if self.seal.is_sealed() || !is_led {
            return;
        }
        let last = async {
            // Notes whose records are written would be written once more by whoever finds them.
            self.tend_acts().await.ok();
            self.commit_last_heads().await;
            self.watch_last().await
        };
        if !matches!(tokio::time::timeout(LAST, last).await, Ok(Ok(()))) {
            tracing::info!("what was learned of usual access in the last minute is not stored");
        }
    }

    /// Opens and closes audit devices as the rows say, before a request needs them: members' calls are recorded too.
    fn follow_devices(&self) {
        let (Ok(session), Ok(replica)) = (self.seal.session(), self.seal.replica()) else {
            return;
        };
        let followed = replica
            .view()
            .map_err(Into::into)
            .and_then(|view| session.view(view))
            .and_then(|(_, derived)| self.audit.follow(&derived));
        if let Err(error) = followed {
            tracing::debug!(%error, "audit devices stay as they are");
        }
    }
}

async fn run(core: Weak<Core>) {
    let mut record_from = Instant::now();
    let mut short_until = record_from;
    loop {
        let Some(core) = core.upgrade() else { return };
        core.follow_devices();
        core.follow_verdict().await;
        if Instant::now() >= record_from && !core.seal.is_sealed() {
            record_from = Instant::now() + IDLE;
            if let Err(error) = core.tend_acts().await {
                tracing::debug!(%error, "what was done and is not on record stays noted");
            }
        }
        let pause = one_round(&core, &mut short_until).await;
        drop(core);
        tokio::time::sleep(pause).await;
    }
}

/// One round of everything; how long to wait before the next. Until `short_until` little ends at a time.
async fn one_round(core: &Arc<Core>, short_until: &mut Instant) -> Duration {
    let Ok(replica) = core.seal.replica() else {
        return IDLE;
    };
    if !replica.status().borrow().is_leader {
        return IDLE;
    }
    core.tend_members(replica.as_ref()).await;
    if let Err(error) = forget_stagings(replica.as_ref()).await {
        tracing::debug!(%error, "what abandoned restores have left stays for now");
    }
    let (began, asked) = (Instant::now(), replica.work().asked);
    let most = match began < *short_until {
        true => expiry::FEW,
        false => expiry::MANY,
    };
    let expired = core.expire_up_to(most).await;
    let asked = replica.work().asked.saturating_sub(asked);
    if asked > OWN {
        *short_until = Instant::now() + SHORT_FOR;
    }
    let breath = match expired {
        Ok(Round::Full) => Some(breath(began.elapsed(), asked)),
        Ok(Round::Drained) => None,
        Err(error) => {
            tracing::debug!(%error, "expiry round put off");
            None
        }
    };
    if let Err(error) = core.tend_leases() {
        tracing::debug!(%error, "leases that are due are put off");
    }
    let rewrapped = core.rewrap_once().await;
    if let Err(error) = &rewrapped {
        tracing::debug!(%error, "sealing old rows anew is put off");
    }
    let rewraps = matches!(rewrapped, Ok(Rewrapped::More));
    match (breath, rewraps) {
        (Some(breath), _) => breath,
        (None, true) => REWRAP_PAUSE,
        (None, false) => IDLE,
    }
}

/// How long requests go first after a round of expiry that took so long, in which so much was asked. Never nothing: other
/// tasks have their turn.
fn breath(round: Duration, asked: u64) -> Duration {
    let for_those = BREATH_EACH.saturating_mul(u32::try_from(asked).unwrap_or(u32::MAX));
    for_those.min(round).min(BREATH).max(BREATH_EACH)
}

/// What is not urgent, or waits for members that may be silent.
async fn run_slowly(core: Weak<Core>) {
    let mut report_from = Instant::now() + REPORT;
    let mut count_from = Instant::now();
    let mut heads_from = Instant::now();
    loop {
        tokio::time::sleep(SLOW).await;
        let Some(core) = core.upgrade() else { return };
        if Instant::now() >= count_from {
            count_from = Instant::now() + REPORT;
            if let Err(error) = core.count_leases().await {
                tracing::debug!(%error, "leases are not counted");
            }
        }
        if core.seal.is_sealed() {
            continue;
        }
        if Instant::now() >= heads_from {
            heads_from = Instant::now() + core.settings.audit_heads_every;
            if let Err(error) = core.commit_audit_heads().await {
                tracing::info!(%error, "heads of audit chains are committed later");
            }
        }
        if Instant::now() >= report_from {
            report_from = Instant::now() + REPORT;
            if let Err(error) = core.report_encryptions().await {
                tracing::debug!(%error, "the values sealed here are not reported");
            }
        }
        let leads = core
            .seal
            .replica()
            .is_ok_and(|replica| replica.status().borrow().is_leader);
        if !leads {
            continue;
        }
        if let Err(error) = core.install_version().await {
            tracing::debug!(%error, "that this version leads is stored later");
        }
        if let Err(error) = core.rotate_if_due().await {
            tracing::warn!(%error, "the data key is due and was not rotated");
        }
        if let Err(error) = core.drop_handover_once().await {
            tracing::debug!(%error, "the new root key stays on offer");
        }
    }
}

/// Looks at what was asked since the last time. Often, for the queue is bounded, and so is how late an alert is.
async fn run_watch(core: Weak<Core>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = core.watch_once(false).await {
            tracing::debug!(%error, "what was seen is told to the leader later");
        }
    }
}

/// Posts events to webhooks. On its own, for receivers may be slow.
async fn run_posts(core: Weak<Core>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(core) = core.upgrade() else { return };
        while core.post_once().await {}
    }
}

/// Has the members compare their states now and then. On its own, for it waits for all of them to read everything.
async fn run_comparisons(core: Weak<Core>) {
    let Some(every) = core.upgrade().map(|core| core.settings.compare_every) else {
        return;
    };
    if every.is_zero() {
        return;
    }
    let mut since = 0;
    loop {
        tokio::time::sleep(SLOW.min(every)).await;
        let Some(core) = core.upgrade() else { return };
        if since == 0 {
            since = core.seal.now();
        }
        if let Err(error) = core.compare_if_due(every, since).await {
            tracing::warn!(%error, "the members' states are not compared");
        }
    }
}

/// Has the targets' accounts compared with the leases now and then. On its own, for targets may be slow.
async fn run_reconciliations(core: Weak<Core>) {
    let mut next = Instant::now() + RECONCILE;
    loop {
        tokio::time::sleep(SLOW).await;
        let Some(core) = core.upgrade() else { return };
        let leads = core
            .seal
            .replica()
            .is_ok_and(|replica| replica.status().borrow().is_leader);
        // Who comes to lead late does at once what it has not done for so long: leaders that change often put it off no longer.
        if Instant::now() < next || core.seal.is_sealed() || !leads {
            continue;
        }
        next = Instant::now() + RECONCILE;
        if let Err(error) = core.reconcile_all().await {
            tracing::warn!(%error, "the targets' accounts are not compared with the leases");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_after_a_round_is_for_those_who_ask() {
        let millis = Duration::from_millis;
        // Nobody but the round itself asked; as many as it took milliseconds; more; a round that took very long.
        let pauses = [(20, 3), (20, 20), (20, 500), (900, u64::MAX), (0, 40)];
        let pauses = pauses.map(|(round, asked)| breath(millis(round), asked));
        assert_eq!(pauses, [millis(3), millis(20), millis(20), BREATH, BREATH_EACH]);
    }
}
