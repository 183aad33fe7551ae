//! Accounts that were seen without a lease, and since when. Memory of one leader: a new one begins to wait anew, so that an
//! account is dropped by a job only after the same node saw it twice. Knows no targets.

use std::collections::HashMap;

use parking_lot::Mutex;

use conclave_engine_api::Millis;

/// How long an account must have been without a lease before a job drops it.
const GRACE: Millis = 600_000;
/// Most accounts remembered; those beyond wait until some of these are gone.
const MAX: usize = 100_000;

/// What was seen, by mount and target.
#[derive(Default)]
pub struct Suspects(Mutex<HashMap<(u32, String), HashMap<String, Millis>>>);

impl Suspects {
    /// Those of `orphans` that were seen long enough ago. What is no orphan any more is forgotten.
    pub fn ripe(&self, (mount, target): (u32, &str), orphans: &[String], now: Millis) -> Vec<String> {
        let mut all = self.0.lock();
        let others: usize = all.values().map(HashMap::len).sum();
        let place = (mount, target.to_owned());
        let before = all.remove(&place).unwrap_or_default();
        let room = MAX.saturating_sub(others - before.len());
        let mut seen = HashMap::new();
        let mut ripe = Vec::new();
        for name in orphans {
            let since = before.get(name).copied();
            if since.is_some_and(|since| now >= since.saturating_add(GRACE)) {
                ripe.push(name.clone());
            }
            if since.is_some() || seen.len() < room {
                seen.insert(name.clone(), since.unwrap_or(now));
            }
        }
        if !seen.is_empty() {
            all.insert(place, seen);
        }
        ripe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_must_be_seen_twice_with_some_time_between() {
        let suspects = Suspects::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let at = (1, "db");
        assert!(suspects.ripe(at, &names(&["a", "b"]), 0).is_empty());
        assert!(suspects.ripe(at, &names(&["a", "b"]), GRACE - 1).is_empty());
        assert_eq!(suspects.ripe(at, &names(&["a"]), GRACE), names(&["a"]));
        assert!(
            suspects.ripe((2, "db"), &names(&["a"]), GRACE).is_empty(),
            "another mount"
        );
        assert!(
            suspects.ripe(at, &names(&["b"]), 2 * GRACE).is_empty(),
            "it was none in between"
        );
    }
}
