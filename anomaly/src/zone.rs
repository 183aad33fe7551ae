//! Local time: which hour of which day it is where people work. Offsets and daylight saving by a rule that is handed in; no
//! database of zones is read.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::Millis;
use crate::error::Error;

/// Longest text of a zone in bytes.
const MAX_TEXT: usize = 64;

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone {
    text: String,
    zone: TimeZone,
}

/// A local hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Days since 1970.
    pub day: u32,
    /// From 0 to 23.
    pub hour: u8,
    /// Monday is 0.
    pub weekday: u8,
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            text: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}

impl Zone {
    /// `UTC`, an offset such as `+02:00`, or a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    ///
    /// # Errors
    /// [`Error::Zone`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refused = || Error::Zone(text.chars().take(MAX_TEXT).collect());
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(refused());
        }
        let zone = match text {
            "" | "UTC" => return Ok(Self::default()),
            _ if text.starts_with(['+', '-']) => TimeZone::fixed(offset(text).ok_or_else(refused)?),
            _ => TimeZone::posix(text).map_err(|_| refused())?,
        };
        Ok(Self {
            text: text.to_owned(),
            zone,
        })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local hour of a time.
    pub fn local(&self, at: Millis) -> Local {
        const HOUR: i64 = 3600;
        let seconds = i64::try_from(at / 1000).unwrap_or(0);
        let offset = Timestamp::from_second(seconds).map_or(0, |at| self.zone.to_offset(at).seconds());
        let local = seconds.saturating_add(offset.into()).max(0);
        let (day, hour) = (local / (24 * HOUR), local % (24 * HOUR) / HOUR);
        Local {
            day: u32::try_from(day).unwrap_or(u32::MAX),
            hour: u8::try_from(hour).unwrap_or(0),
            // The first day of 1970 was a Thursday.
            weekday: u8::try_from((day + 3) % 7).unwrap_or(0),
        }
    }
}

impl Local {
    /// Which hour of the rhythm it is: those of a working day, then those of the weekend.
    pub fn slot(self) -> usize {
        usize::from(self.hour) + if self.is_weekend() { 24 } else { 0 }
    }

    /// Hours since 1970, counted locally.
    pub fn stamp(self) -> u32 {
        self.day.saturating_mul(24).saturating_add(self.hour.into())
    }

    /// Whether it is a Saturday or a Sunday.
    pub fn is_weekend(self) -> bool {
        self.weekday >= 5
    }
}

fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if !(0..=14).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()
}

/// Working hours that somebody named: outside them every access is unusual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    text: String,
    days: std::ops::RangeInclusive<u8>,
    /// The hour they begin, and the one in which nobody works any more.
    hours: std::ops::Range<u8>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Hours {
    /// Days and hours: `mon-fri 7-19`.
    ///
    /// # Errors
    /// [`Error::Hours`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refused = || Error::Hours(text.chars().take(MAX_TEXT).collect());
        let parsed = || {
            let (days, hours) = text.trim().split_once(' ')?;
            let day = |name: &str| DAYS.iter().position(|known| *known == name.to_lowercase());
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            let (from, to) = hours.trim().split_once('-')?;
            let (from, to): (u8, u8) = (from.parse().ok()?, to.parse().ok()?);
            let (first, last) = (u8::try_from(day(first)?).ok()?, u8::try_from(day(last)?).ok()?);
            (first <= last && from < to && to <= 24).then(|| Self {
                text: text.trim().to_owned(),
                days: first..=last,
                hours: from..to,
            })
        };
        parsed().ok_or_else(refused)
    }

    /// As they were given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is one of them.
    pub fn contain(&self, local: Local) -> bool {
        self.days.contains(&local.weekday) && self.hours.contains(&local.hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-05T06:30:00Z, a Monday.
    const MONDAY: Millis = 1_767_594_600_000;
    /// Half a year later, in summer.
    const SUMMER: Millis = MONDAY + 182 * 86_400_000;

    #[test]
    fn zones_know_their_offset_in_winter_and_in_summer() {
        let berlin = Zone::parse("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!((berlin.local(MONDAY).hour, berlin.local(SUMMER).hour), (7, 8));
        assert_eq!(berlin.local(MONDAY).weekday, 0);
        let east = Zone::parse("+05:30").unwrap().local(MONDAY);
        assert_eq!((east.hour, east.slot()), (12, 12));
        let before = Zone::parse("-08:00").unwrap().local(MONDAY);
        assert_eq!((before.hour, before.weekday, before.slot()), (22, 6, 46));
        assert_eq!(Zone::parse("").unwrap().as_str(), "UTC");
        for bad in ["Mars", "+25:00", "+1:77", "x", &"A".repeat(99)] {
            assert!(matches!(Zone::parse(bad), Err(Error::Zone(_))), "{bad}");
        }
    }

    #[test]
    fn working_hours() {
        let hours = Hours::parse("mon-fri 7-19").unwrap();
        let zone = Zone::parse("+01:00").unwrap();
        assert!(hours.contain(zone.local(MONDAY)));
        assert!(!hours.contain(Zone::default().local(MONDAY)), "half past six");
        assert!(!hours.contain(zone.local(MONDAY + 5 * 86_400_000)), "Saturday");
        for bad in [
            "",
            "mon",
            "mon-fri",
            "fri-mon 7-19",
            "mon-fri 19-7",
            "mon-fri 7-25",
            "xxx 1-2",
        ] {
            assert!(Hours::parse(bad).is_err(), "{bad}");
        }
    }
}
