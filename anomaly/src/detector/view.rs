//! What an operator may ask of what was learned.

use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::key::Key;
use crate::zone::Local;

use super::Detector;

/// How much is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Identities that are known.
    pub identities: usize,
    /// Those that are past their learning time.
    pub learned: usize,
    /// Those that are active now.
    pub active: usize,
    /// Networks that are known.
    pub networks: usize,
    /// The part of the sketch of (identity, path) pairs that is in use, from 0 to 1.
    pub pair_load: f64,
}

/// What is usual for an identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileView {
    /// When it was seen first, ...
    pub first_seen: Millis,
    /// ... and last.
    pub last_seen: Millis,
    /// On how many days.
    pub days_seen: u32,
    /// Whether it is past its learning time.
    pub learned: bool,
    /// Most in a window: requests, ...
    pub most_requests: u64,
    /// ... different secrets, ...
    pub most_secrets: u64,
    /// ... requests refused, ...
    pub most_refused: u64,
    /// ... directories listed.
    pub most_directories: u64,
    /// Most different secrets in a day.
    pub most_secrets_in_a_day: u64,
    /// Usual requests in a window of this hour.
    pub requests_at_this_hour: u64,
    /// Hours of working days at which it was ever active, local time.
    pub hours: Vec<u8>,
    /// The same of weekends.
    pub weekend_hours: Vec<u8>,
    /// Networks it comes from.
    pub networks: Vec<String>,
}

impl Detector {
    /// How much is known.
    pub fn status(&self, now: Millis) -> Status {
        let learning = self.rules.settings.learning_days;
        Status {
            identities: self.profiles.len(),
            learned: self
                .profiles
                .values()
                .filter(|known| known.is_learned(now, learning))
                .count(),
            active: self.active.len(),
            networks: self.networks.len(),
            pair_load: self.pairs.load(),
        }
    }

    /// Identities that were silent for so long, and since when, longest first; at most `limit`.
    pub fn silent_since(&self, before: Millis, limit: usize) -> Vec<(Key, Millis)> {
        let silent = self.profiles.iter().filter(|(_, known)| known.last < before);
        let mut silent: Vec<_> = silent.map(|(who, known)| (*who, known.last)).collect();
        silent.sort_unstable_by_key(|(who, last)| (*last, *who));
        silent.truncate(limit);
        silent
    }

    /// What is usual for an identity.
    pub fn profile(&self, who: Key, now: Millis) -> Option<ProfileView> {
        let known = self.profiles.get(&who)?;
        let slot = Local::slot(self.rules.settings.zone.local(now));
        let hours = |from: usize| {
            let hours = known.hours.iter().skip(from).take(24).enumerate();
            let active = hours.filter(|(_, days)| **days > 0);
            active.filter_map(|(hour, _)| u8::try_from(hour).ok()).collect()
        };
        let most = |peak: f32| peak.round() as u64;
        Some(ProfileView {
            first_seen: known.first,
            last_seen: known.last,
            days_seen: known.days,
            learned: known.is_learned(now, self.rules.settings.learning_days),
            most_requests: most(known.peaks.requests),
            most_secrets: most(known.peaks.secrets),
            most_refused: most(known.peaks.denied),
            most_directories: most(known.peaks.directories),
            most_secrets_in_a_day: most(known.peaks.day),
            requests_at_this_hour: most(known.rhythm.usual(slot).0),
            hours: hours(0),
            weekend_hours: hours(24),
            networks: known
                .networks
                .iter()
                .map(|(network, _)| self.names.of(*network))
                .collect(),
        })
    }
}
