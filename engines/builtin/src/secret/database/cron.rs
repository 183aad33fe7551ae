//! Times of a schedule in cron's five fields (POSIX crontab), in UTC: minute, hour, day of the month, month, day of the week;
//! lists, ranges, steps, stars, and months and days of the week by their names. As in cron, a day counts if either of two day
//! fields that are no star names it.

use conclave_engine_api::{Error, Millis};

const MINUTE: Millis = 60_000;
const DAY: Millis = 86_400_000;
/// How far ahead a time is looked for: 29 February comes within eight years.
const MAX_DAYS: u64 = 366 * 8;
/// Longest schedule in bytes.
const MAX_BYTES: usize = 256;
/// What names every value of a field: `?` as well, as Vault takes it.
const STARS: [char; 2] = ['*', '?'];
/// Names of months, the first being 1, and of days of the week, the first being 0; in whatever case.
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field takes: numbers from the first to the last, and names of those from the first on.
struct Range {
    first: u64,
    last: u64,
    names: &'static [&'static str],
}

const fn numbers(first: u64, last: u64) -> Range {
    Range {
        first,
        last,
        names: &[],
    }
}

impl Range {
    /// A number, or its name.
    fn value(&self, text: &str) -> Option<u64> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        match named {
            Some(at) => Some(self.first + at as u64),
            None => text.parse().ok(),
        }
    }
}

/// A schedule, each field as the set of its values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

impl Schedule {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid("could not parse rotation_schedule: five fields of cron are expected");
        if text.len() > MAX_BYTES {
            return Err(wrong());
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(wrong());
        };
        let set = |field, range| set(field, &range).ok_or_else(wrong);
        let month = Range {
            names: &MONTHS,
            ..numbers(1, 12)
        };
        let weekday = Range {
            names: &WEEKDAYS,
            ..numbers(0, 7)
        };
        let sunday_twice = set(weekdays, weekday)?;
        Ok(Self {
            minutes: set(minutes, numbers(0, 59))?,
            hours: set(hours, numbers(0, 23))?,
            days: set(days, numbers(1, 31))?,
            months: set(months, month)?,
            weekdays: (sunday_twice | sunday_twice >> 7) & 0x7f,
            any_day: days.starts_with(STARS),
            any_weekday: weekdays.starts_with(STARS),
        })
    }

    /// The first time after `now`; `None` if there is none (30 February).
    pub fn next(&self, now: Millis) -> Option<Millis> {
        let from = now - now % MINUTE + MINUTE;
        (0..MAX_DAYS).find_map(|ahead| {
            let day = (from / DAY).checked_add(ahead)?;
            if !self.names_day(day) {
                return None;
            }
            let first = if ahead == 0 { from % DAY / MINUTE } else { 0 };
            let minute = (first..1440).find(|minute| {
                self.hours >> (minute / 60) & 1 == 1 && self.minutes >> (minute % 60) & 1 == 1
            })?;
            Some(day * DAY + minute * MINUTE)
        })
    }

    fn names_day(&self, day: u64) -> bool {
        let (month, date) = civil(day);
        // 1970-01-01 was a Thursday.
        let weekday = (day + 4) % 7;
        let (by_date, by_weekday) = (self.days >> date & 1 == 1, self.weekdays >> weekday & 1 == 1);
        let named = match (self.any_day, self.any_weekday) {
            (false, false) => by_date || by_weekday,
            _ => by_date && by_weekday,
        };
        self.months >> month & 1 == 1 && named
    }
}

/// `*`, `a`, `a-b`, each with `/step`, between commas.
fn set(field: &str, range: &Range) -> Option<u64> {
    let Range { first, last, .. } = *range;
    let mut values = 0;
    for part in field.split(',') {
        let (named, step) = match part.split_once('/') {
            Some((named, step)) => (named, step.parse().ok().filter(|step| *step > 0)?),
            None => (part, 1_u64),
        };
        let (from, to) = match named.split_once('-') {
            _ if named == "*" || named == "?" => (first, last),
            Some((from, to)) => (range.value(from)?, range.value(to)?),
            None => {
                let one = range.value(named)?;
                (one, if part.contains('/') { last } else { one })
            }
        };
        if from < first || to > last || from > to {
            return None;
        }
        let mut value = from;
        while value <= to {
            values |= 1 << value;
            value = value.checked_add(step)?;
        }
    }
    Some(values)
}

/// Month and day of the month of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(day: u64) -> (u64, u64) {
    let shifted = day + 719_468;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, a Thursday.
    const START: Millis = 1_767_225_600_000;

    fn next(schedule: &str, now: Millis) -> Option<String> {
        let at = Schedule::parse(schedule).unwrap().next(now)?;
        Some(conclave_engine_api::format_time(at))
    }

    #[test]
    fn times_follow_the_schedule() {
        for (schedule, expected) in [
            ("* * * * *", "2026-01-01T00:01:00Z"),
            ("0 0 * * *", "2026-01-02T00:00:00Z"),
            ("30 4 * * 6", "2026-01-03T04:30:00Z"),
            ("*/15 2-3 * * *", "2026-01-01T02:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 0 13 * 5", "2026-01-02T00:00:00Z"),
            ("0 12 1 */3 *", "2026-01-01T12:00:00Z"),
            ("5,10 0 * 12 7", "2026-12-06T00:05:00Z"),
            ("0 0 * * SAT", "2026-01-03T00:00:00Z"),
            ("0 0 * * sun", "2026-01-04T00:00:00Z"),
            ("0 0 ? * Mon-Fri", "2026-01-02T00:00:00Z"),
            ("0 0 1 feb,MAR ?", "2026-02-01T00:00:00Z"),
            ("0 0 1 Nov-Dec *", "2026-11-01T00:00:00Z"),
        ] {
            assert_eq!(next(schedule, START).as_deref(), Some(expected), "{schedule}");
        }
        assert_eq!(next("0 0 30 2 *", START), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "a * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "MON * * * *",
            "* * * SAT *",
            "* * * * JAN",
            "* * * * saturday",
            "* * * * FRI-MON",
            "@daily",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
    }
}
