//! What an identity did lately: two halves of a window, the one that runs and the one before. Together they cover between half
//! a window and a whole one. Kept only while an identity is active.

use crate::act::Act;
use crate::fact::Fact;
use crate::rule::Kind;
use crate::sketch::HyperLogLog;

/// What was done in one half of a window.
#[derive(Clone, Default)]
struct Half {
    index: u64,
    requests: u32,
    denied: u32,
    fresh: u32,
    listed: u32,
    secrets: HyperLogLog,
    directories: HyperLogLog,
    /// Rules that found something in it.
    found: Vec<Kind>,
}

/// What was done in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// All requests.
    pub requests: u32,
    /// Those that were refused.
    pub denied: u32,
    /// Paths read that were never read before.
    pub fresh: u32,
    /// Names that lists told.
    pub listed: u32,
    /// Different secrets that were read.
    pub secrets: u32,
    /// Different directories that were listed.
    pub directories: u32,
}

/// An active identity.
#[derive(Default)]
pub struct Activity {
    now: Half,
    before: Half,
}

/// A window that has ended: what was done in it, and what rules found.
pub struct Ended {
    pub totals: Totals,
    pub found: Vec<Kind>,
}

impl Activity {
    /// Moves on to the half with this index. What was done in the window that ends, if one does.
    pub fn move_to(&mut self, index: u64) -> Option<Ended> {
        if index <= self.now.index {
            return None;
        }
        let ended = (self.now.index > 0).then(|| Ended {
            totals: self.totals(),
            found: self.now.found.iter().chain(&self.before.found).copied().collect(),
        });
        let fresh = Half {
            index,
            ..Half::default()
        };
        let last = std::mem::replace(&mut self.now, fresh);
        self.before = match last.index + 1 == index {
            true => last,
            false => Half::default(),
        };
        ended
    }

    /// Whether nothing was done for a whole window.
    pub fn is_over(&self, index: u64) -> bool {
        self.now.index + 1 < index
    }

    /// Takes in requests; `fresh` if their path was never read before.
    pub fn add(&mut self, fact: &Fact, fresh: bool) {
        let half = &mut self.now;
        half.requests = half.requests.saturating_add(fact.count);
        half.fresh = half.fresh.saturating_add(fresh.into());
        match fact.act {
            Act::Denied => half.denied = half.denied.saturating_add(fact.count),
            Act::Read | Act::Canary if fact.what != 0 => half.secrets.add(fact.what),
            Act::List => {
                half.listed = half.listed.saturating_add(fact.listed);
                if fact.what != 0 {
                    half.directories.add(fact.what);
                }
            }
            _ => {}
        }
    }

    /// A rule found something: what is done now is no example of what is usual.
    pub fn found(&mut self, kind: Kind) {
        if !self.now.found.contains(&kind) {
            self.now.found.push(kind);
        }
    }

    /// What was done in both halves.
    pub fn totals(&self) -> Totals {
        let (a, b) = (&self.now, &self.before);
        Totals {
            requests: a.requests.saturating_add(b.requests),
            denied: a.denied.saturating_add(b.denied),
            fresh: a.fresh.saturating_add(b.fresh),
            listed: a.listed.saturating_add(b.listed),
            secrets: a.secrets.count_with(&b.secrets),
            directories: a.directories.count_with(&b.directories),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(what: u64) -> Fact {
        Fact {
            what: crate::key::Keyer::new(&[1; 16]).key(0, &[&what.to_be_bytes()]),
            ..Fact::new(Act::Read, 0)
        }
    }

    #[test]
    fn a_window_is_two_halves() {
        let mut activity = Activity::default();
        assert!(activity.move_to(5).is_none());
        (1..=10).for_each(|what| activity.add(&read(what), false));
        let ended = activity.move_to(6).unwrap();
        assert_eq!((ended.totals.requests, ended.totals.secrets), (10, 10));
        (6..=15).for_each(|what| activity.add(&read(what), true));
        let totals = activity.totals();
        assert_eq!((totals.requests, totals.fresh), (20, 10));
        assert!((14..=16).contains(&totals.secrets), "15 are different");
        activity.move_to(7);
        assert_eq!(activity.totals().requests, 10);
        assert!(!activity.is_over(8) && activity.is_over(9));
        activity.move_to(20);
        assert_eq!(activity.totals(), Totals::default());
    }
}
