//! Typed reading of request bodies with Vault's leniency: numbers as strings, lists as comma-separated text,
//! durations as text or seconds. Errors name the field, never its value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::duration::parse_duration;
use crate::env::Millis;
use crate::error::Error;

/// A request body read by field.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    data: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Wraps a body.
    pub fn new(data: &'a Map<String, Value>) -> Self {
        Self { data }
    }

    /// The raw value, unless it is absent or null.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.data.get(name).filter(|value| !value.is_null())
    }

    /// Text; numbers and booleans are accepted as their text.
    pub fn string(&self, name: &str) -> Result<Option<String>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    /// Text that must be there and not be empty.
    pub fn required(&self, name: &str) -> Result<String, Error> {
        self.string(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Error::invalid(format!("missing {name}")))
    }

    /// A boolean, or its text.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) => match text.as_str() {
                "true" | "True" | "TRUE" | "t" | "T" | "1" => Ok(Some(true)),
                "false" | "False" | "FALSE" | "f" | "F" | "0" | "" => Ok(Some(false)),
                _ => Err(wrong(name, "a boolean")),
            },
            Some(Value::Number(number)) => Ok(Some(number.as_f64() != Some(0.0))),
            Some(_) => Err(wrong(name, "a boolean")),
        }
    }

    /// An integer, or its text.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(number)) => number
                .as_i64()
                .or_else(|| {
                    number
                        .as_f64()
                        .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
                        .map(|f| f as i64)
                })
                .map(Some)
                .ok_or_else(|| wrong(name, "an integer")),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|_| wrong(name, "an integer")),
            Some(_) => Err(wrong(name, "an integer")),
        }
    }

    /// An integer that must not be negative.
    pub fn count(&self, name: &str) -> Result<Option<u64>, Error> {
        self.int(name)?
            .map(|number| u64::try_from(number).map_err(|_| wrong(name, "a number that is not negative")))
            .transpose()
    }

    /// A duration: seconds as a number or text, or Go's syntax.
    pub fn duration(&self, name: &str) -> Result<Option<Millis>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(_)) => {
                let seconds = self.count(name)?.unwrap_or(0).to_string();
                parse_duration(&seconds)
                    .map(Some)
                    .map_err(|_| wrong(name, "a duration"))
            }
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => parse_duration(text)
                .map(Some)
                .map_err(|_| wrong(name, "a duration")),
            Some(_) => Err(wrong(name, "a duration")),
        }
    }

    /// A list of texts, or comma-separated text.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|s| !s.is_empty())
                    .map(str::to_owned)
                    .collect(),
            )),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text.clone()),
                    Value::Number(number) => Ok(number.to_string()),
                    _ => Err(wrong(name, "a list of strings")),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(wrong(name, "a list of strings")),
        }
    }

    /// A list of version numbers: numbers, texts, or comma-separated text.
    pub fn numbers(&self, name: &str) -> Result<Option<Vec<u64>>, Error> {
        let texts = match self.value(name) {
            Some(Value::Number(number)) => Some(vec![number.to_string()]),
            _ => self.strings(name)?,
        };
        texts
            .map(|texts| {
                texts
                    .iter()
                    .map(|t| t.parse().map_err(|_| wrong(name, "a list of numbers")))
                    .collect()
            })
            .transpose()
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(wrong(name, "an object")),
        }
    }

    /// An object whose values are texts.
    pub fn string_map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
        let Some(map) = self.object(name)? else {
            return Ok(None);
        };
        let fields = Fields::new(map);
        map.keys()
            .map(|key| {
                let text = fields
                    .string(key)
                    .map_err(|_| wrong(name, "an object of strings"))?;
                Ok((key.clone(), text.unwrap_or_default()))
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

fn wrong(name: &str, expected: &str) -> Error {
    Error::invalid(format!(
        "Field validation failed: error converting input for field {name:?}: expected {expected}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn lenient_where_vault_is() {
        let body =
            map(json!({"n": "3", "f": 2.0, "b": "true", "d": "1h", "s": 90, "l": "a, b,,c", "v": [1, "2"]}));
        let fields = Fields::new(&body);
        assert_eq!(fields.int("n").unwrap(), Some(3));
        assert_eq!(fields.int("f").unwrap(), Some(2));
        assert_eq!(fields.bool("b").unwrap(), Some(true));
        assert_eq!(fields.duration("d").unwrap(), Some(3_600_000));
        assert_eq!(fields.duration("s").unwrap(), Some(90_000));
        assert_eq!(fields.strings("l").unwrap().unwrap(), ["a", "b", "c"]);
        assert_eq!(fields.numbers("v").unwrap().unwrap(), [1, 2]);
        assert_eq!(fields.string("absent").unwrap(), None);
    }

    #[test]
    fn errors_name_the_field_and_not_the_value() {
        let body = map(json!({"ttl": "hunter2", "n": {}, "neg": -1}));
        let fields = Fields::new(&body);
        let text = fields.duration("ttl").unwrap_err().to_string();
        assert!(text.contains("ttl") && !text.contains("hunter2"), "{text}");
        assert!(fields.int("n").is_err());
        assert!(fields.count("neg").is_err());
    }
}
