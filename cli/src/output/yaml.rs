//! YAML in the style of Go's `sigs.k8s.io/yaml`: sorted keys, plain text where it cannot be mistaken, two spaces.
//! Pure text.

use conclave_client::http::{Fields, Json};

/// Column after which text with spaces is folded.
const FOLD_COLUMN: usize = 80;

/// The value as a YAML document without a final line end.
pub fn document(value: &Json) -> String {
    let mut out = String::new();
    match value {
        Json::Object(fields) if !fields.is_empty() => mapping(&mut out, fields, 0),
        Json::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        other => {
            scalar(&mut out, other, 0, false);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n(' ', level));
}

fn mapping(out: &mut String, fields: &Fields, level: usize) {
    for (i, (name, value)) in fields.sorted().into_iter().enumerate() {
        // The first key of a mapping inside a sequence stands on the dash's line.
        if i > 0 || out.is_empty() || out.ends_with('\n') {
            indent(out, level);
        }
        scalar(out, &Json::from(name), level, true);
        out.push(':');
        match value {
            Json::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(out, inner, level + 2);
            }
            Json::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(out, items, level);
            }
            other => {
                out.push(' ');
                scalar(out, other, level + 2, false);
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Json], level: usize) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 || out.is_empty() || out.ends_with('\n') {
            indent(out, level);
        }
        out.push_str("- ");
        match item {
            Json::Object(fields) if !fields.is_empty() => mapping(out, fields, level + 2),
            Json::Array(inner) if !inner.is_empty() => sequence(out, inner, level + 2),
            other => {
                scalar(out, other, level + 2, false);
                out.push('\n');
            }
        }
    }
}

fn scalar(out: &mut String, value: &Json, level: usize, is_key: bool) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Json::Number(n) => out.push_str(&number(n)),
        Json::Array(_) => out.push_str("[]"),
        Json::Object(_) => out.push_str("{}"),
        Json::String(s) => string(out, s, level, is_key),
    }
}

/// Integers of 64 bits as they are, everything else as Go prints a float64.
fn number(text: &str) -> String {
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return text.to_owned();
    }
    let Ok(value) = text.parse::<f64>() else {
        return text.to_owned();
    };
    if value == 0.0 {
        return "0".into();
    }
    let shown = format!("{value:e}");
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((shown.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's 'g' with the shortest digits uses exponents below -4 and from 21 up; the YAML library of the original
    // caps precision so that exponents start where the digits end.
    let digits = i32::try_from(mantissa.chars().filter(char::is_ascii_digit).count()).unwrap_or(i32::MAX);
    let threshold = if digits > 6 { 21.min(digits).max(6) } else { 21 };
    let threshold = if mantissa.contains('.') && exponent + 1 < digits {
        6.max(exponent.min(5) + 1)
    } else {
        threshold
    };
    if exponent < -4 || exponent >= threshold {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

fn string(out: &mut String, s: &str, level: usize, is_key: bool) {
    let shape = Shape::of(s);
    if s.contains('\n') && shape.literal && !is_key {
        literal(out, s, level);
    } else if shape.special || s.contains('\n') || resolves(s) {
        double_quoted(out, s, level, is_key);
    } else if shape.plain {
        folded(out, s, level, is_key);
    } else {
        folded(out, &format!("'{}'", s.replace('\'', "''")), level, is_key);
    }
}

/// What the text allows.
struct Shape {
    plain: bool,
    literal: bool,
    special: bool,
}

impl Shape {
    fn of(s: &str) -> Self {
        let chars: Vec<char> = s.chars().collect();
        let blank_after = |i: usize| {
            chars
                .get(i + 1)
                .is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'))
        };
        let mut shape = Self {
            plain: true,
            literal: true,
            special: false,
        };
        if s.starts_with("---") || s.starts_with("...") {
            shape.plain = false;
        }
        for (i, c) in chars.iter().enumerate() {
            let indicator = match c {
                '#' if i > 0 => chars.get(i - 1).is_some_and(|p| matches!(p, ' ' | '\t' | '\n')),
                ':' => blank_after(i),
                '-' | '?' if i == 0 => blank_after(i),
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`' => i == 0,
                _ => false,
            };
            if indicator {
                shape.plain = false;
            }
            if !printable(*c) {
                shape.special = true;
                shape.literal = false;
            }
        }
        // A space before a line end would be lost in a literal block.
        if s.contains(" \n") || s.ends_with(' ') {
            shape.literal = false;
        }
        if s.starts_with(' ') || s.ends_with(' ') {
            shape.plain = false;
        }
        shape
    }
}

fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// Whether the plain text would be read as something else than a string.
fn resolves(s: &str) -> bool {
    const WORDS: [&str; 26] = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y", "yes",
        "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "<<", "=",
    ];
    const MORE: [&str; 15] = [
        "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF",
        "-.inf", "-.Inf", "-.INF",
    ];
    // The merge key and `=` stay plain: the original's resolver calls them strings.
    if s == "<<" || s == "=" {
        return false;
    }
    WORDS.contains(&s) || MORE.contains(&s) || numeric(s) || base60(s) || timestamp(s)
}

fn numeric(s: &str) -> bool {
    if s.starts_with('_') {
        return false;
    }
    let bare: String = s.chars().filter(|c| *c != '_').collect();
    let unsigned = bare.strip_prefix(['+', '-']).unwrap_or(&bare);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let radix = |prefix: &str, base: u32| {
        unsigned
            .strip_prefix(prefix)
            .is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_digit(base)))
    };
    if radix("0x", 16) || radix("0o", 8) || radix("0b", 2) {
        return true;
    }
    unsigned.chars().any(|c| c.is_ascii_digit())
        && unsigned
            .chars()
            .all(|c| matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
        && unsigned.parse::<f64>().is_ok()
}

/// `1:20` was a number in YAML 1.1.
fn base60(s: &str) -> bool {
    let unsigned = s.strip_prefix(['+', '-']).unwrap_or(s);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    if rest.is_empty() || first.is_empty() || !first.chars().all(|c| c.is_ascii_digit() || c == '_') {
        return false;
    }
    rest.iter().enumerate().all(|(i, part)| {
        let part = if i + 1 == rest.len() {
            part.split('.').next().unwrap_or_default()
        } else {
            part
        };
        matches!(part.len(), 1 | 2)
            && part.chars().all(|c| c.is_ascii_digit())
            && part.parse::<u8>().is_ok_and(|n| n < 60)
    })
}

fn timestamp(s: &str) -> bool {
    let digits: Vec<&str> = s.splitn(3, '-').collect();
    let [year, month, rest] = digits.as_slice() else {
        return false;
    };
    let all = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit());
    if year.len() != 4 || !all(year) || !all(month) || month.len() > 2 {
        return false;
    }
    let (day, time) = rest.split_once(['T', 't', ' ']).unwrap_or((rest, ""));
    if !all(day) || day.len() > 2 {
        return false;
    }
    if rest.len() == day.len() {
        return month.len() == 2 && day.len() == 2;
    }
    let clock: Vec<&str> = time.splitn(3, ':').collect();
    matches!(clock.as_slice(), [h, m, s] if all(h) && all(m) && s.starts_with(|c: char| c.is_ascii_digit()))
}

fn literal(out: &mut String, s: &str, level: usize) {
    out.push('|');
    if s.starts_with([' ', '\n']) {
        out.push('2');
    }
    let trailing = s.len() - s.trim_end_matches('\n').len();
    out.push_str(match trailing {
        0 => "-",
        1 => "",
        _ => "+",
    });
    let body = if trailing > 0 {
        s.get(..s.len() - 1).unwrap_or_default()
    } else {
        s
    };
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, level.max(2));
            out.push_str(line);
        }
    }
}

/// Breaks at single spaces once the line is past the fold column.
fn folded(out: &mut String, text: &str, level: usize, is_key: bool) {
    let line_start = out.rfind('\n').map_or(0, |at| at + 1);
    let mut column = out.get(line_start..).unwrap_or_default().chars().count();
    let chars: Vec<char> = text.chars().collect();
    let is_space = |i: usize| chars.get(i) == Some(&' ');
    for (i, c) in chars.iter().enumerate() {
        let inner = i > 0 && i + 1 < chars.len();
        if *c == ' ' && !is_key && inner && column > FOLD_COLUMN && !is_space(i + 1) && !is_space(i - 1) {
            out.push('\n');
            indent(out, level);
            column = level;
        } else {
            out.push(*c);
            column += 1;
        }
    }
}

fn double_quoted(out: &mut String, s: &str, level: usize, is_key: bool) {
    let line_start = out.rfind('\n').map_or(0, |at| at + 1);
    let mut column = out.get(line_start..).unwrap_or_default().chars().count() + 1;
    out.push('"');
    let chars: Vec<char> = s.chars().collect();
    let mut spaced = false;
    for (i, c) in chars.iter().enumerate() {
        if *c == ' ' && !is_key && !spaced && column > FOLD_COLUMN && i > 0 && i + 1 < chars.len() {
            out.push('\n');
            indent(out, level);
            column = level;
            if chars.get(i + 1) == Some(&' ') {
                out.push('\\');
                column += 1;
            }
            spaced = true;
            continue;
        }
        spaced = *c == ' ';
        let shown = match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\0' => "\\0".to_owned(),
            '\u{7}' => "\\a".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\u{b}' => "\\v".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\u{1b}' => "\\e".to_owned(),
            c if printable(*c)
                && *c != '\u{85}'
                && *c != '\u{a0}'
                && *c != '\u{2028}'
                && *c != '\u{2029}' =>
            {
                c.to_string()
            }
            '\u{85}' => "\\N".to_owned(),
            '\u{a0}' => "\\_".to_owned(),
            '\u{2028}' => "\\L".to_owned(),
            '\u{2029}' => "\\P".to_owned(),
            c if u32::from(*c) <= 0xff => format!("\\x{:02X}", u32::from(*c)),
            c if u32::from(*c) <= 0xffff => format!("\\u{:04X}", u32::from(*c)),
            c => format!("\\U{:08X}", u32::from(*c)),
        };
        column += shown.chars().count();
        out.push_str(&shown);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(json: &str) -> String {
        document(&Json::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn nests_as_go_yaml() {
        assert_eq!(
            yaml(r#"{"a2":[1,[2,3],{"x":1,"y":[1]}],"arr":[],"o2":{"z":{"k":"v"}},"obj":{}}"#),
            "a2:\n- 1\n- - 2\n  - 3\n- x: 1\n  \"y\":\n  - 1\narr: []\no2:\n  z:\n    k: v\nobj: {}\n"
        );
    }

    #[test]
    fn quotes_what_could_be_mistaken() {
        let cases = [
            ("plain", "plain"),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("true", "\"true\""),
            ("12", "\"12\""),
            ("1e3", "\"1e3\""),
            ("0x1f", "\"0x1f\""),
            ("~", "\"~\""),
            ("", "\"\""),
            ("?x", "?x"),
            ("it's", "it's"),
            ("\"hi\"", "'\"hi\"'"),
            ("2020-01-01", "\"2020-01-01\""),
            ("1:20", "\"1:20\""),
            (" x", "' x'"),
            ("=a", "=a"),
            ("<<", "<<"),
            ("a:", "'a:'"),
            ("\u{1f600}", "\"\\U0001F600\""),
        ];
        for (text, shown) in cases {
            assert_eq!(document(&Json::from(text)), format!("{shown}\n"), "{text:?}");
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(yaml(r#"{"a":"x\ny"}"#), "a: |-\n  x\n  y\n");
        assert_eq!(yaml(r#"{"a":"x\ny\n"}"#), "a: |\n  x\n  y\n");
        assert_eq!(yaml(r#"{"a":"x\n\n"}"#), "a: |+\n  x\n\n");
        assert_eq!(yaml(r#"{"a":"x \ny"}"#), "a: \"x \\ny\"\n");
    }
}
