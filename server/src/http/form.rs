//! `application/x-www-form-urlencoded`: query strings, and the bodies that plain `curl -d a=b` sends.

use serde_json::{Map, Value};

/// Pairs one query string or body may have.
const MAX_PAIRS: usize = 10_000;

/// Decodes pairs into an object: one value is a string, several of one name are a list of strings.
/// The error is a text for the client.
pub fn parse(text: &[u8]) -> Result<Map<String, Value>, String> {
    let mut object = Map::new();
    for (name, value) in pairs(text)? {
        match object.get_mut(&name) {
            None => {
                object.insert(name, Value::String(value));
            }
            Some(Value::Array(values)) => values.push(Value::String(value)),
            Some(one) => {
                let first = one.take();
                *one = Value::Array(vec![first, Value::String(value)]);
            }
        }
    }
    Ok(object)
}

/// Decodes pairs in their order.
pub fn pairs(text: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for part in text.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
        if pairs.len() == MAX_PAIRS {
            return Err(format!("more than {MAX_PAIRS} parameters"));
        }
        let equals = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let (name, value) = part.split_at_checked(equals).unwrap_or((part, &[]));
        pairs.push((decode(name)?, decode(value.get(1..).unwrap_or_default())?));
    }
    Ok(pairs)
}

fn decode(text: &[u8]) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (rest.next().and_then(digit), rest.next().and_then(digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err("invalid URL escape in a parameter".to_owned()),
            },
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a parameter is not UTF-8".to_owned())
}

fn digit(byte: &u8) -> Option<u8> {
    char::from(*byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pairs_become_strings_and_lists() {
        let rows = [
            ("", json!({})),
            ("a=b&c=d", json!({"a": "b", "c": "d"})),
            ("a=1&a=2&a=3", json!({"a": ["1", "2", "3"]})),
            ("a=&b&&c=x=y", json!({"a": "", "b": "", "c": "x=y"})),
            ("a+b=%7e%C3%A4+x", json!({"a b": "~ä x"})),
        ];
        for (text, want) in rows {
            assert_eq!(Value::Object(parse(text.as_bytes()).unwrap()), want, "{text}");
        }
        for bad in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%ff"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse("a&".repeat(MAX_PAIRS + 1).as_bytes()).is_err());
    }
}
