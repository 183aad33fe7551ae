//! What was found and goes on: an operator hears of it once, not each second.

use std::collections::HashMap;

use crate::Millis;
use crate::key::Key;
use crate::rule::Kind;

/// After so long without it, the same thing is a new one.
const COOLDOWN: Millis = 3_600_000;
/// Between two reports that something goes on.
const PAUSE: Millis = 60_000;
/// Most things that go on at the same time.
const MAX: usize = 16_384;

struct Episode {
    last: Millis,
    told: Millis,
}

/// Whether somebody hears of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// It is new.
    New,
    /// It goes on, and what is stored of it is to be brought up to date.
    Again,
    /// It was told a moment ago.
    Not,
}

/// Everything that goes on.
#[derive(Default)]
pub struct Episodes(HashMap<(Kind, Key), Episode>);

impl Episodes {
    /// Something was found.
    pub fn found(&mut self, what: (Kind, Key), at: Millis) -> Telling {
        if let Some(known) = self.0.get_mut(&what)
            && at < known.last.saturating_add(COOLDOWN)
        {
            known.last = known.last.max(at);
            if at < known.told.saturating_add(PAUSE) {
                return Telling::Not;
            }
            known.told = at;
            return Telling::Again;
        }
        if self.0.len() >= MAX && !self.0.contains_key(&what) {
            return Telling::Not;
        }
        self.0.insert(what, Episode { last: at, told: at });
        Telling::New
    }

    /// Something was going on before this one knew of it.
    pub fn resume(&mut self, what: (Kind, Key), at: Millis) {
        self.0.insert(what, Episode { last: at, told: at });
    }

    /// Forgets what is over.
    pub fn forget(&mut self, now: Millis) {
        self.0
            .retain(|_, known| now < known.last.saturating_add(COOLDOWN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_once() {
        let mut episodes = Episodes::default();
        let what = (Kind::BulkRead, 1);
        assert_eq!(episodes.found(what, 1_000), Telling::New);
        assert_eq!(episodes.found(what, 2_000), Telling::Not);
        assert_eq!(episodes.found(what, 61_000), Telling::Again);
        assert_eq!(episodes.found((Kind::BulkRead, 2), 61_000), Telling::New);
        assert_eq!(episodes.found(what, 61_000 + COOLDOWN), Telling::New);
        episodes.resume((Kind::WideList, 1), 100);
        assert_eq!(episodes.found((Kind::WideList, 1), 200), Telling::Not);
        episodes.forget(10 * COOLDOWN);
        assert!(episodes.0.is_empty());
    }
}
