//! Durations as Vault's files and headers write them: Go's `1h30m`, plain seconds, and `d` for days.

use std::time::Duration;

/// Longest duration taken: a hundred years, far from any overflow.
const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Reads `90`, `90s`, `1h30m`, `1.5h`, `2d`. `None` for anything else, negative and absurdly long ones included.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .map(Duration::from_secs)
            .filter(|duration| *duration <= MAX);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(end)?;
        let seconds = number.parse::<f64>().ok()? * unit_seconds(unit)?;
        total = total
            .checked_add(Duration::try_from_secs_f64(seconds).ok()?)
            .filter(|total| *total <= MAX)?;
        rest = next;
    }
    Some(total)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        "us" | "µs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        "d" => Some(86_400.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_and_seconds() {
        let rows = [
            ("0", Some(0)),
            ("90", Some(90_000)),
            ("90s", Some(90_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("2d", Some(172_800_000)),
            ("250ms", Some(250)),
            ("", None),
            ("-1", None),
            ("-1s", None),
            ("1", Some(1_000)),
            ("1x", None),
            ("h", None),
            ("1h2", None),
            ("1..5h", None),
            ("99999999h", None),
            ("1e9s", None),
            ("9999999999999999999999", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse(text).map(|duration| duration.as_millis()), want, "{text:?}");
        }
    }
}
