//! Points in time as Vault's clients read them: RFC 3339 in UTC. Knows no clock.

use jiff::Timestamp;

use crate::env::Millis;

/// Formats like Go's `time.RFC3339Nano` in UTC: `2026-01-01T00:00:00Z`, `2026-01-01T00:00:00.25Z`. Times beyond the year
/// 9999 are shown as its end.
pub fn format_time(time: Millis) -> String {
    let time = i64::try_from(time).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(time)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// Reads what [`format_time`] writes, and any other RFC 3339 time; parts of a millisecond are dropped. `None` if it is no
/// such time. A time before 1970 is 1970.
pub fn parse_time(text: &str) -> Option<Millis> {
    let time: Timestamp = text.parse().ok()?;
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_others_print() {
        assert_eq!(
            parse_time("2026-01-01T00:00:00.250999999Z"),
            Some(1_767_225_600_250)
        );
        assert_eq!(parse_time("2026-01-01T01:00:00+01:00"), Some(1_767_225_600_000));
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn prints_like_go() {
        assert_eq!(format_time(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!(format_time(1_767_225_600_250), "2026-01-01T00:00:00.25Z");
        assert_eq!(format_time(1_767_225_600_001), "2026-01-01T00:00:00.001Z");
        assert!(format_time(u64::MAX).starts_with("9999-12-3"));
    }
}
