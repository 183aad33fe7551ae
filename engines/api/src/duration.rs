//! Durations as Vault's clients write and read them: Go's `1h30m` syntax, plain seconds, and a `d` for days.

use crate::env::Millis;
use crate::error::Error;

/// Longest accepted duration, as Vault's: the nanoseconds that 63 bits hold. 292 years, far from any overflow here.
const MAX: Millis = 9_223_372_036_854;

/// Parses `90`, `"90"`, `"1h30m"`, `"1.5h"`, `"2d"` into milliseconds. Negative and absurdly long ones are errors.
pub fn parse_duration(text: &str) -> Result<Millis, Error> {
    let text = text.trim();
    let bad = || Error::invalid(format!("time: invalid duration {text:?}"));
    if text.is_empty() || text == "0" {
        return Ok(0);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse::<u64>()
            .ok()
            .and_then(|s| s.checked_mul(1000))
            .filter(|ms| *ms <= MAX)
            .ok_or_else(bad);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(bad)?;
        let amount: f64 = number.parse().map_err(|_| bad())?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_end).ok_or_else(bad)?;
        total += amount * unit_ms(unit).ok_or_else(bad)?;
        rest = next;
    }
    if !total.is_finite() || total > MAX as f64 {
        return Err(bad());
    }
    // Checked above: finite, not negative (no sign is accepted) and far below 2^53.
    Ok(total.round() as Millis)
}

fn unit_ms(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-6,
        "us" | "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        _ => return None,
    })
}

/// Formats like Go's `time.Duration.String`: `0s`, `1.5s`, `3h25m19s`, `250ms`.
pub fn format_duration(duration: Millis) -> String {
    let (seconds, ms) = (duration / 1000, duration % 1000);
    if duration == 0 {
        return "0s".to_owned();
    }
    if seconds == 0 {
        return format!("{ms}ms");
    }
    let (hours, minutes, secs) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if ms == 0 {
        String::new()
    } else {
        format!(".{ms:03}").trim_end_matches('0').to_owned()
    };
    match (hours, minutes) {
        (0, 0) => format!("{secs}{fraction}s"),
        (0, _) => format!("{minutes}m{secs}{fraction}s"),
        _ => format!("{hours}h{minutes}m{secs}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_syntax_and_seconds() {
        for (text, ms) in [
            ("0", 0),
            ("90", 90_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
            ("250ms", 250),
            ("3h25m19s", 12_319_000),
            ("999999h", 3_599_996_400_000),
            ("9223372036s", 9_223_372_036_000),
            ("9223372036", 9_223_372_036_000),
            ("2562047h", 9_223_369_200_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), ms, "{text}");
        }
        for text in [
            "-1h",
            "1x",
            "h",
            "1e9h",
            "2562048h",
            "9223372037s",
            "9223372037",
            "99999999999h",
            "184467440737095516160",
            "1h 30m",
            "١h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_like_go() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (12_319_000, "3h25m19s"),
            (2_764_800_000, "768h0m0s"),
        ] {
            assert_eq!(format_duration(ms), text);
        }
    }
}
