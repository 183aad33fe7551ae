//! When to do a thing again: pauses that grow after failures, and the time to renew what ends. Knows no calls.

use std::time::Duration;

use crate::entropy;

/// What is renewed is so after two thirds of its life ...
const SHARE: (u32, u32) = (2, 3);
/// ... or up to this part of its life earlier, so that what began together is not renewed together.
const SPREAD: u32 = 12;

/// Pauses that double from the first to the longest, with jitter, so that clients that failed together do not come back
/// together.
pub struct Pauses {
    first: Duration,
    longest: Duration,
    made: u32,
}

impl Pauses {
    /// None was made yet.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            made: 0,
        }
    }

    /// The next pause: from half of its length to all of it.
    pub fn next(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.made.min(16));
        let whole = doubled.min(self.longest);
        self.made = self.made.saturating_add(1);
        let half = whole / 2;
        half + half * u32::from(entropy::byte()) / 255
    }
}

/// How long after it was handed out to renew what lives for `life`.
pub fn two_thirds(life: Duration) -> Duration {
    let due = life * SHARE.0 / SHARE.1;
    due.saturating_sub(life / SPREAD * u32::from(entropy::byte()) / 255)
}

/// Whether a renewal that asked for `asked` and was given `given` shows that the end, which no renewal moves, is near: what
/// is renewed once more would be given still less.
pub fn is_near_its_end(asked: Duration, given: Duration) -> bool {
    given < asked / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds() {
        let (first, longest) = (Duration::from_millis(25), Duration::from_millis(500));
        let mut pauses = Pauses::new(first, longest);
        for exponent in 0..12 {
            let whole = first.saturating_mul(1 << exponent).min(longest);
            let pause = pauses.next();
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?}");
        }
    }

    #[test]
    fn renewals_are_due_after_two_thirds_or_a_little_earlier() {
        let life = Duration::from_secs(3600);
        for _ in 0..100 {
            let due = two_thirds(life);
            assert!(due <= life * 2 / 3 && due >= life * 2 / 3 - life / 12, "{due:?}");
        }
        assert_eq!(two_thirds(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn half_of_what_was_asked_is_still_enough() {
        let asked = Duration::from_secs(60);
        assert!(!is_near_its_end(asked, asked));
        assert!(!is_near_its_end(asked, asked / 2));
        assert!(is_near_its_end(asked, asked / 2 - Duration::from_secs(1)));
    }
}
