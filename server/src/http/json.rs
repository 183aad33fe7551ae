//! JSON bodies within bounds: one pass that refuses duplicate keys, too many values, too much memory and too
//! much depth. Numbers keep their digits. Errors name no value.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Bounds on one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Values, containers included, and keys.
    pub values: u64,
    /// Estimated bytes the decoded body takes (CVE-2025-6203: a small text can take 35 times its size).
    pub memory: u64,
}

/// What a value takes beside its text.
const VALUE_BYTES: u64 = 32;
/// What a member of an object takes beside key and value.
const MEMBER_BYTES: u64 = 48;

/// How serde_json hands over a number that is not a 64-bit integer: an object with this one key, whose value is the
/// number's text (its feature `arbitrary_precision`).
const NUMBER: &str = "$serde_json::private::Number";

impl Default for JsonLimits {
    /// OpenBao's memory; as many values as fit a storage entry of honest data.
    fn default() -> Self {
        Self {
            values: 100_000,
            memory: 34_078_720,
        }
    }
}

/// Reads one object. The error is a text for the client.
pub fn parse(text: &[u8], limits: JsonLimits) -> Result<Map<String, Value>, String> {
    let budget = Budget {
        values: Cell::new(limits.values),
        memory: Cell::new(limits.memory),
    };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Node(&budget)
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(object)) => Ok(object),
        // What `write -f` sends.
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("failed to decode JSON input: it must be an object".to_owned()),
        Err(error) => Err(format!("failed to decode JSON input: {error}")),
    }
}

struct Budget {
    values: Cell<u64>,
    memory: Cell<u64>,
}

impl Budget {
    fn pay<E: serde::de::Error>(&self, text: usize, fixed: u64) -> Result<(), E> {
        let values = self
            .values
            .get()
            .checked_sub(1)
            .ok_or_else(|| E::custom("too many values"))?;
        let bytes = u64::try_from(text).unwrap_or(u64::MAX).saturating_add(fixed);
        let memory = self
            .memory
            .get()
            .checked_sub(bytes)
            .ok_or_else(|| E::custom("too large when decoded"))?;
        self.values.set(values);
        self.memory.set(memory);
        Ok(())
    }
}

/// Reads one value within the budget. serde_json itself stops at depth 128.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.0.pay(0, VALUE_BYTES).map(|()| Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.0.pay(0, VALUE_BYTES).map(|()| Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.pay(0, VALUE_BYTES).map(|()| value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.pay(0, VALUE_BYTES).map(|()| value.into())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.0
            .pay(value.len(), VALUE_BYTES)
            .map(|()| Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.pay::<A::Error>(0, VALUE_BYTES)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.0.pay::<A::Error>(0, VALUE_BYTES)?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if key == NUMBER && object.is_empty() {
                return number(&members.next_value::<String>()?);
            }
            self.0.pay::<A::Error>(key.len(), MEMBER_BYTES)?;
            let value = members.next_value_seed(self)?;
            // Last-wins would let two readers of one body see two requests.
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key in an object"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A number with its digits as they were sent.
fn number<E: serde::de::Error>(text: &str) -> Result<Value, E> {
    let number: Number = text.parse().map_err(|_| E::custom("a number is malformed"))?;
    match number.as_f64() {
        Some(finite) if finite.is_finite() => Ok(Value::Number(number)),
        _ => Err(E::custom("a number is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Map<String, Value>, String> {
        parse(text.as_bytes(), JsonLimits::default())
    }

    #[test]
    fn good_bodies_come_back_as_they_were_sent() {
        for text in [
            "{}",
            " \n{\"a\":null}",
            r#"{"a":[1,-2,3.5,true,"x",{"b":{}}],"n":18446744073709551615,"m":-9223372036854775808}"#,
            r#"{"a":123456789012345678901234567890,"b":-9223372036854775809,"c":3.14159265358979323846264338}"#,
            r#"{"a":"\u00e4\ud83d\ude00 \u0000"}"#,
        ] {
            let want: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Value::Object(read(text).unwrap()), want, "{text}");
        }
        assert!(read(&format!("{{\"a\":{}1{}}}", "[".repeat(126), "]".repeat(126))).is_ok());
    }

    #[test]
    fn bad_bodies_are_refused_without_naming_values() {
        let deep = format!("{{\"a\":{}", "[".repeat(10_000));
        let rows = [
            "",
            "x",
            "[]",
            "\"hunter2\"",
            "1",
            "{\"a\":1} x",
            "{\"a\":1}{",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":\"hunter2\"}}",
            "{\"a\":NaN}",
            "{\"a\":1e400}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":",
            "\u{feff}{}",
            "{\"a\":'b'}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":01}",
            &deep,
        ];
        for row in rows {
            let text = read(row).unwrap_err();
            assert!(
                text.starts_with("failed to decode JSON input: ") && !text.contains("hunter2"),
                "{text}"
            );
        }
        assert!(parse(b"{\"a\":\"\xff\"}", JsonLimits::default()).is_err());
        assert!(read(r#"{"a":{"$serde_json::private::Number":"x"}}"#).is_err());
        let kept = read(r#"{"a":1.50,"b":12345678901234567890123}"#).unwrap();
        assert_eq!(
            Value::Object(kept).to_string(),
            r#"{"a":1.50,"b":12345678901234567890123}"#
        );
    }

    #[test]
    fn values_and_memory_are_bounded() {
        let many = format!("{{\"a\":[{}[]]}}", "[],".repeat(100_000));
        assert!(read(&many).unwrap_err().contains("too many values"));
        let keys: String = (0..60_000).map(|n| format!("\"{n}\":1,")).collect();
        assert!(
            read(&format!("{{{keys}\"x\":1}}"))
                .unwrap_err()
                .contains("too many values")
        );
        let small = JsonLimits {
            values: 10,
            memory: 200,
        };
        assert!(parse(br#"{"a":"0123456789"}"#, small).is_ok());
        assert!(parse(format!("{{\"a\":\"{}\"}}", "x".repeat(200)).as_bytes(), small).is_err());
    }
}
