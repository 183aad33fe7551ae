//! Statements of roles: how they are given, and what takes the place of `{{name}}` in them. Knows no database.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_engine_api::{Error, Fields, Hidden, Millis};
use serde_json::Value;

/// Most statements of one kind, and longest together in bytes.
const MAX_STATEMENTS: usize = 100;
const MAX_BYTES: usize = 64 * 1024;

/// The statements of a field: a list, one text, or a list written as text.
pub(super) fn read(fields: &Fields<'_>, name: &str) -> Result<Option<Vec<String>>, Error> {
    let Some(value) = fields.value(name) else {
        return Ok(None);
    };
    let mut given = Vec::new();
    match value {
        Value::String(text) => match serde_json::from_str::<Vec<String>>(text.trim()) {
            Ok(list) if text.trim_start().starts_with('[') => given = list,
            _ => given.push(text.clone()),
        },
        Value::Array(items) => {
            for item in items {
                let text = item
                    .as_str()
                    .ok_or_else(|| fields.mistyped(name, "[]string", item))?;
                given.push(text.to_owned());
            }
        }
        other => return Err(fields.mistyped(name, "[]string", other)),
    }
    given.retain(|statement| !statement.trim().is_empty());
    let bytes: usize = given.iter().map(String::len).sum();
    if given.len() > MAX_STATEMENTS || bytes > MAX_BYTES {
        return Err(Error::TooLarge(format!(
            "{name} may hold {MAX_STATEMENTS} statements and {MAX_BYTES} bytes"
        )));
    }
    if given
        .iter()
        .any(|given| meant(given).iter().any(|one| one.contains('\0')))
    {
        return Err(fields.wrong(name, "a statement holds a NUL"));
    }
    Ok(Some(given))
}

/// What a statement stands for: itself, or the text that is in it as base64, which may be a list written as text. It is kept and
/// told as it was given, as Vault has it. A short word may be base64 too, but is hardly that of a text.
fn meant(given: &str) -> Vec<String> {
    let decoded = STANDARD.decode(given.trim()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let is_text = |text: &String| {
        text.chars()
            .all(|letter| !letter.is_control() || letter.is_whitespace())
    };
    match decoded.filter(is_text) {
        Some(text) => serde_json::from_str(text.trim()).unwrap_or_else(|_| vec![text]),
        None => vec![given.to_owned()],
    }
}

/// What stands for what in statements.
pub(super) struct Filling<'a> {
    pub username: &'a str,
    pub password: &'a str,
    pub expires: Option<Millis>,
}

/// Statements with everything filled in.
pub(super) fn fill(statements: &[String], filling: &Filling<'_>) -> Vec<Hidden> {
    let meant = statements.iter().flat_map(|given| meant(given));
    meant.map(|statement| filled(&statement, filling)).collect()
}

/// One text with everything filled in.
pub(super) fn filled(text: &str, filling: &Filling<'_>) -> Hidden {
    let expiration = filling.expires.map(expiration).unwrap_or_default();
    let pairs = [
        ("{{name}}", filling.username),
        ("{{username}}", filling.username),
        ("{{password}}", filling.password),
        ("{{expiration}}", expiration.as_str()),
    ];
    Hidden::new(replaced(text, &pairs))
}

/// In one pass, so that nothing in a value is taken for a name.
pub(super) fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 128);
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match pairs.iter().find(|(name, _)| from.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                rest = from.get(name.len()..).unwrap_or_default();
            }
            None => {
                out.push_str("{{");
                rest = from.get(2..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

/// As databases read it: `2026-01-01 00:00:00+0000`. Rounded up to a second: an account must not end before its lease.
fn expiration(at: Millis) -> String {
    let text = conclave_engine_api::format_time(at.div_ceil(1000).saturating_mul(1000));
    format!("{}+0000", text.trim_end_matches('Z').replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_not_searched_for_names() {
        let statements = ["x {{name}} {{password}} '{{expiration}}' {{other}} {{".to_owned()];
        let filling = Filling {
            username: "{{password}}",
            password: "p",
            expires: Some(1_767_225_600_001),
        };
        assert_eq!(
            fill(&statements, &filling)[0].as_str(),
            "x {{password}} p '2026-01-01 00:00:01+0000' {{other}} {{"
        );
    }

    #[test]
    fn what_is_given_as_base64_is_meant_as_what_it_says() {
        let filling = Filling {
            username: "u",
            password: "p",
            expires: None,
        };
        let encoded = |text: &str| STANDARD.encode(text);
        let given = [
            encoded("CREATE ROLE {{name}}; x"),
            "ROLLBACK".to_owned(),
            "CRRE".to_owned(),
            encoded("x\0"),
            encoded("[\"a {{name}}\", \"b\"]"),
        ];
        let filled = fill(&given, &filling);
        let filled: Vec<&str> = filled.iter().map(|one| one.as_str()).collect();
        assert_eq!(
            filled,
            ["CREATE ROLE u; x", "ROLLBACK", "CRRE", "eAA=", "a u", "b"]
        );

        let body = json!({"a": encoded("x {{name}}")});
        let fields = Fields::new(body.as_object().unwrap());
        assert_eq!(read(&fields, "a").unwrap().unwrap(), [encoded("x {{name}}")]);
    }

    #[test]
    fn statements_are_a_list_or_one_text() {
        let body = json!({"a": "x; y", "b": ["x", " "], "c": "[\"x\", \"y\"]", "d": 1, "e": "a\0"});
        let fields = Fields::new(body.as_object().unwrap());
        assert_eq!(read(&fields, "a").unwrap().unwrap(), ["x; y"]);
        assert_eq!(read(&fields, "b").unwrap().unwrap(), ["x"]);
        assert_eq!(read(&fields, "c").unwrap().unwrap(), ["x", "y"]);
        assert!(read(&fields, "d").is_err() && read(&fields, "e").is_err());
        assert_eq!(read(&fields, "none").unwrap(), None);
    }
}
