//! The cluster's clock as the log moves it. This file must not read any clock.

use crate::command::Millis;

/// Greatest step forward that an ordinary batch may make, in milliseconds; `Op::AdvanceClock` may make any.
pub const MAX_STEP: Millis = 10 * 60 * 1000;
/// Greatest distance between a command's `now_used` and the cluster's clock, in milliseconds.
pub const MAX_SKEW: Millis = 5 * 1000;

/// The clock that a batch proposed at `proposed_at` shows to its commands, and whether they may rely on it: not when
/// it would be too great a step, for then the proposer's clock is in doubt.
pub(crate) fn advance(cluster_time: Millis, proposed_at: Millis) -> (Millis, bool) {
    // No entry carried a time yet: whatever the first one says is the beginning.
    let trusted = cluster_time == 0 || proposed_at.saturating_sub(cluster_time) <= MAX_STEP;
    (
        if trusted {
            cluster_time.max(proposed_at)
        } else {
            cluster_time
        },
        trusted,
    )
}

/// Whether a decision made at `now_used` still holds at `cluster_time`.
pub(crate) fn near(now_used: Millis, cluster_time: Millis) -> bool {
    now_used.abs_diff(cluster_time) <= MAX_SKEW
}
