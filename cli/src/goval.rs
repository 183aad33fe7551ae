//! Values in the spellings of Go's standard library, which the tools we are compatible with print. Pure functions.

use conclave_client::http::Json;

const SECOND: i64 = 1_000_000_000;

/// A span of time in nanoseconds, as Go's `time.Duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub i64);

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// Whole seconds, cut towards zero.
    pub const fn whole_seconds(self) -> i64 {
        self.0 / SECOND
    }

    /// Reads `90`, `90s`, `1h30m`, `2d`, `1.5h`: a bare number is seconds, as in Vault's parameters.
    ///
    /// # Errors
    /// Go's complaint.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(0));
        }
        if let Ok(seconds) = text.parse::<i64>() {
            return seconds.checked_mul(SECOND).map(Self).ok_or_else(|| invalid(text));
        }
        if let Some(days) = text.strip_suffix('d')
            && let Ok(days) = days.parse::<i64>()
        {
            return days
                .checked_mul(86_400 * SECOND)
                .map(Self)
                .ok_or_else(|| invalid(text));
        }
        parse_go_duration(text)
    }
}

fn invalid(text: &str) -> String {
    format!("time: invalid duration {}", quote(text))
}

fn parse_go_duration(text: &str) -> Result<Span, String> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest.is_empty() {
        return Err(invalid(text));
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid(text))?;
        let letters = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(unit),
                    quote(text)
                ));
            }
        };
        total += number * scale;
        rest = tail;
    }
    if total > 9.2e18 {
        return Err(invalid(text));
    }
    // The bound above keeps the cast in range; sub-nanosecond parts are cut as Go cuts them.
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let nanos = total.round() as i64;
    Ok(Span(if negative { -nanos } else { nanos }))
}

impl std::fmt::Display for Span {
    /// Go's `Duration.String`: `1h0m0s`, `1.5s`, `20ms`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < SECOND.unsigned_abs() {
            let (scale, unit) = match nanos {
                0..1_000 => (1, "ns"),
                1_000..1_000_000 => (1_000, "µs"),
                _ => (1_000_000, "ms"),
            };
            return write!(f, "{sign}{}{unit}", decimal(nanos, scale));
        }
        let (hours, rest) = (nanos / 3_600_000_000_000, nanos % 3_600_000_000_000);
        let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
        f.write_str(sign)?;
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(rest, 1_000_000_000))
    }
}

fn decimal(value: u64, scale: u64) -> String {
    let digits = scale.to_string().len() - 1;
    let text = format!("{}.{:0digits$}", value / scale, value % scale);
    if digits == 0 {
        return (value / scale).to_string();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A span without the zeros people do not need: `1h`, `768h`, `1m5s`.
pub fn human(span: Span) -> String {
    let mut text = span.to_string();
    if text.ends_with("m0s") {
        text.truncate(text.len() - 2);
    }
    if let Some(at) = text.find("h0m").filter(|at| *at > 0) {
        text.replace_range(at + 1..at + 3, "");
    }
    text
}

/// Go's `%v` of a decoded value: text bare, `<nil>`, `[a b]`, `map[k:v]`.
pub fn plain(value: &Json) -> String {
    match value {
        Json::Null => "<nil>".into(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.clone(),
        Json::String(s) => s.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Json::Object(fields) => {
            let pairs: Vec<_> = fields
                .sorted()
                .iter()
                .map(|(k, v)| format!("{k}:{}", plain(v)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Go's `%q` of a string.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || c == '\u{feff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Go's `%q` of a list of strings: `["a" "b"]`.
pub fn quote_list(items: &[String]) -> String {
    format!(
        "[{}]",
        items.iter().map(|i| quote(i)).collect::<Vec<_>>().join(" ")
    )
}

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            quote(text)
        )),
    }
}

/// Go's `strconv.ParseInt` with base 0: decimal, `0x`, `0o`, `0b` or a leading zero.
pub fn parse_int(text: &str) -> Result<i64, String> {
    let fail = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", quote(text));
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", text.get(1..).unwrap_or_default()),
        Some(b'+') => ("", text.get(1..).unwrap_or_default()),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.trim_start_matches('0'))
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return if !digits.is_empty() || base != 8 || !lower.starts_with('0') {
            Err(fail("invalid syntax"))
        } else {
            Ok(0)
        };
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).map_err(|_| fail("value out of range"))
}

/// Go's `Time.String` of an RFC 3339 time: `2026-11-22 05:14:03.62 +0000 UTC`.
pub fn time_string(rfc3339: &str) -> String {
    let Some((date, time)) = rfc3339.split_once('T') else {
        return rfc3339.to_owned();
    };
    if let Some(time) = time.strip_suffix('Z') {
        return format!("{date} {time} +0000 UTC");
    }
    match time.rfind(['+', '-']) {
        Some(at) => {
            let (time, zone) = time.split_at(at);
            let zone = zone.replace(':', "");
            format!("{date} {time} {zone} {zone}")
        }
        None => rfc3339.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_print_as_go() {
        let cases = [
            (0, "0s", "0s"),
            (1, "1ns", "1ns"),
            (1_500, "1.5µs", "1.5µs"),
            (20_000_000, "20ms", "20ms"),
            (1_500_000_000, "1.5s", "1.5s"),
            (60 * SECOND, "1m0s", "1m"),
            (3600 * SECOND, "1h0m0s", "1h"),
            (3605 * SECOND, "1h0m5s", "1h5s"),
            (2_764_800 * SECOND, "768h0m0s", "768h"),
            (-SECOND, "-1s", "-1s"),
        ];
        for (nanos, go, short) in cases {
            assert_eq!(Span(nanos).to_string(), go);
            assert_eq!(human(Span(nanos)), short);
        }
    }

    #[test]
    fn spans_parse_as_vault() {
        assert_eq!(Span::parse("90").unwrap(), Span::seconds(90));
        assert_eq!(Span::parse("1h30m").unwrap(), Span::seconds(5400));
        assert_eq!(Span::parse("2d").unwrap(), Span::seconds(172_800));
        assert_eq!(Span::parse("1.5s").unwrap(), Span(1_500_000_000));
        assert_eq!(Span::parse("-1").unwrap(), Span::seconds(-1));
        assert_eq!(Span::parse("zz").unwrap_err(), "time: invalid duration \"zz\"");
        assert_eq!(
            Span::parse("3x").unwrap_err(),
            "time: unknown unit \"x\" in duration \"3x\""
        );
    }

    #[test]
    fn integers_parse_as_go() {
        assert_eq!(parse_int("0x10").unwrap(), 16);
        assert_eq!(parse_int("010").unwrap(), 8);
        assert_eq!(parse_int("0").unwrap(), 0);
        assert_eq!(parse_int("-3").unwrap(), -3);
        assert_eq!(
            parse_int("abc").unwrap_err(),
            "strconv.ParseInt: parsing \"abc\": invalid syntax"
        );
        assert_eq!(
            parse_int("").unwrap_err(),
            "strconv.ParseInt: parsing \"\": invalid syntax"
        );
    }

    #[test]
    fn times_print_as_go() {
        assert_eq!(
            time_string("2026-11-22T05:14:03.62Z"),
            "2026-11-22 05:14:03.62 +0000 UTC"
        );
        assert_eq!(
            time_string("2026-11-22T05:14:03+02:00"),
            "2026-11-22 05:14:03 +0200 +0200"
        );
    }
}
