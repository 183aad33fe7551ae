//! What is usual for one identity: its hours, its networks, how much it does at which time and at most. About 1 KB each, with
//! a bound on how many are kept.

use crate::Millis;
use crate::error::Error;
use crate::key::Key;
use crate::sketch::{HyperLogLog, Rhythm, SLOTS};
use crate::wire::{Reader, Writer};
use crate::zone::Local;

use super::activity::Totals;

/// Most networks that an identity is known by; one that comes from more is at home nowhere.
pub const MAX_NETWORKS: usize = 8;
/// In which time the memory of a peak is half as strong.
const HALF_LIFE_DAYS: f32 = 30.0;
/// By how much a peak grows at most while a rule says that it is not usual.
const RELUCTANCE: f32 = 1.05;
const DAY: Millis = 86_400_000;

/// The most that was done in a window, and in a day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Peaks {
    pub requests: f32,
    pub denied: f32,
    pub fresh: f32,
    pub listed: f32,
    pub secrets: f32,
    pub directories: f32,
    /// Different secrets in a day.
    pub day: f32,
}

/// One identity.
#[derive(Clone, PartialEq)]
pub struct Profile {
    /// When it was seen first.
    pub first: Millis,
    /// When it was seen last.
    pub last: Millis,
    /// On how many days.
    pub days: u32,
    /// The last of them.
    pub day: u32,
    /// On how many days at which hour.
    pub hours: [u8; SLOTS],
    /// The hour that was counted last.
    counted: u32,
    pub rhythm: Rhythm,
    pub peaks: Peaks,
    /// Networks it comes from, and the day it last did.
    pub networks: Vec<(Key, u32)>,
    /// Whether it came from more networks than are remembered.
    pub roams: bool,
    /// What was read today.
    pub today: HyperLogLog,
}

impl Profile {
    /// One that is seen for the first time.
    pub fn new(at: Millis) -> Self {
        Self {
            first: at,
            last: at,
            days: 0,
            day: 0,
            hours: [0; SLOTS],
            counted: u32::MAX,
            rhythm: Rhythm::default(),
            peaks: Peaks::default(),
            networks: Vec::new(),
            roams: false,
            today: HyperLogLog::default(),
        }
    }

    /// Whether it is known well enough for something to be unusual.
    pub fn is_learned(&self, at: Millis, learning_days: u64) -> bool {
        const MIN_DAYS: u32 = 3;
        at.saturating_sub(self.first) >= learning_days.saturating_mul(DAY) && self.days >= MIN_DAYS
    }

    /// It is seen on this day.
    pub fn seen(&mut self, at: Millis, local: Local) {
        self.last = self.last.max(at);
        if local.day > self.day || self.days == 0 {
            self.peaks.day = self.peaks.day.max(self.today.count() as f32);
            let passed = local.day.saturating_sub(self.day).min(3650);
            if self.days > 0 {
                self.peaks.fade(passed);
            }
            self.today = HyperLogLog::default();
            self.day = local.day;
            self.days = self.days.saturating_add(1);
            if self.networks.len() >= MAX_NETWORKS {
                // Those of a quarter ago make room.
                self.networks
                    .retain(|(_, day)| local.day.saturating_sub(*day) <= 90);
            }
        }
    }

    /// It was active in this hour, which is one of its hours from now on.
    pub fn keeps_hour(&mut self, local: Local) {
        if local.stamp() != self.counted {
            self.counted = local.stamp();
            if let Some(days) = self.hours.get_mut(local.slot()) {
                *days = days.saturating_add(1);
            }
        }
    }

    /// On how many days it was active at this hour or one beside it, before the hour that runs.
    pub fn days_around(&self, local: Local) -> u32 {
        let first = local.slot() / 24 * 24;
        let hour = usize::from(local.hour);
        let around = [(hour + 23) % 24, hour, (hour + 1) % 24];
        let days = around.iter().filter_map(|hour| self.hours.get(first + hour));
        let days: u32 = days.map(|days| u32::from(*days)).sum();
        days.saturating_sub((local.stamp() == self.counted).into())
    }

    /// At how many of the 24 hours of such a day it was ever active.
    pub fn hours_of_day(&self, weekend: bool) -> usize {
        let first = if weekend { 24 } else { 0 };
        let hours = self.hours.iter().skip(first).take(24);
        hours.filter(|days| **days > 0).count()
    }

    /// Learns from a window that ended. `unusual` says of each number whether a rule found it so.
    pub fn learn(&mut self, slot: usize, totals: &Totals, unusual: impl Fn(Measure) -> bool) {
        let usual = self.rhythm.usual(slot).0;
        let requests = totals.requests as f32;
        self.rhythm.learn(
            slot,
            match unusual(Measure::Requests) && usual > 0.0 {
                true => requests.min(usual * 1.5),
                false => requests,
            },
        );
        let peaks = &mut self.peaks;
        for (peak, value, measure) in [
            (&mut peaks.requests, totals.requests, Measure::Requests),
            (&mut peaks.denied, totals.denied, Measure::Denied),
            (&mut peaks.fresh, totals.fresh, Measure::Fresh),
            (&mut peaks.listed, totals.listed, Measure::Lists),
            (&mut peaks.secrets, totals.secrets, Measure::Secrets),
            (&mut peaks.directories, totals.directories, Measure::Lists),
        ] {
            let value = value as f32;
            let most = if unusual(measure) {
                *peak * RELUCTANCE
            } else {
                value
            };
            *peak = peak.max(value.min(most));
        }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u64(self.first);
        out.u64(self.last);
        for number in [self.days, self.day, self.counted] {
            out.u32(number);
        }
        out.bytes(&self.hours);
        self.rhythm.write(out);
        let peaks = &self.peaks;
        for peak in [
            peaks.requests,
            peaks.denied,
            peaks.fresh,
            peaks.listed,
            peaks.secrets,
            peaks.directories,
            peaks.day,
        ] {
            out.f32(peak);
        }
        out.u8(self.roams.into());
        out.count(self.networks.len());
        for (network, day) in &self.networks {
            out.u64(*network);
            out.u32(*day);
        }
        self.today.write(out);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut profile = Self::new(reader.u64()?);
        profile.last = reader.u64()?;
        (profile.days, profile.day, profile.counted) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let hours = reader.bytes(SLOTS)?;
        profile.hours = hours.try_into().map_err(|_| Error::Damaged("cut off"))?;
        profile.rhythm = Rhythm::read(reader)?;
        let peaks = &mut profile.peaks;
        for peak in [
            &mut peaks.requests,
            &mut peaks.denied,
            &mut peaks.fresh,
            &mut peaks.listed,
            &mut peaks.secrets,
            &mut peaks.directories,
            &mut peaks.day,
        ] {
            *peak = reader.f32()?;
        }
        profile.roams = reader.u8()? != 0;
        for _ in 0..reader.count(MAX_NETWORKS)? {
            profile.networks.push((reader.u64()?, reader.u32()?));
        }
        profile.today = HyperLogLog::read(reader)?;
        Ok(profile)
    }
}

/// A number that a rule watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Requests,
    Denied,
    Fresh,
    Lists,
    Secrets,
}

impl Peaks {
    fn fade(&mut self, days: u32) {
        let left = (-(days as f32) / HALF_LIFE_DAYS).exp2();
        for peak in [
            &mut self.requests,
            &mut self.denied,
            &mut self.fresh,
            &mut self.listed,
            &mut self.secrets,
            &mut self.directories,
            &mut self.day,
        ] {
            *peak *= left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_learned_reluctantly_while_unusual_and_fade() {
        let mut profile = Profile::new(0);
        let totals = |secrets| Totals {
            secrets,
            ..Totals::default()
        };
        profile.learn(9, &totals(10), |_| false);
        profile.learn(9, &totals(100), |measure| measure == Measure::Secrets);
        assert!((profile.peaks.secrets - 10.5).abs() < 0.1);
        profile.learn(9, &totals(20), |_| false);
        assert!((profile.peaks.secrets - 20.0).abs() < 0.1);
        let day = |day| Local {
            day,
            hour: 9,
            weekday: 1,
        };
        profile.seen(1, day(100));
        profile.seen(2, day(130));
        assert!((profile.peaks.secrets - 10.0).abs() < 0.1);
        assert_eq!(profile.days, 2);
    }

    #[test]
    fn what_is_saved_comes_back() {
        let mut profile = Profile::new(77);
        let local = Local {
            day: 3,
            hour: 23,
            weekday: 6,
        };
        profile.seen(99, local);
        profile.keeps_hour(local);
        profile.keeps_hour(local);
        profile.networks.push((5, 3));
        profile.today.add(12345);
        profile.learn(
            9,
            &Totals {
                requests: 9,
                ..Totals::default()
            },
            |_| false,
        );
        let mut out = Writer::default();
        profile.write(&mut out);
        let mut reader = Reader(&out.0);
        assert!(Profile::read(&mut reader).unwrap() == profile);
        reader.end().unwrap();
        assert!(out.0.len() < 1024, "{}", out.0.len());
        assert_eq!(
            profile.days_around(Local { hour: 0, ..local }),
            1,
            "midnight has neighbours on both sides"
        );
        assert_eq!(
            profile.days_around(local),
            0,
            "the hour that runs is no habit yet"
        );
        assert_eq!(profile.hours_of_day(true), 1);
    }
}
