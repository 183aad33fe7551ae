//! Typed reading of request bodies with Vault's leniency: numbers as strings, lists as comma-separated text,
//! durations as text or seconds. Errors name the field, never its value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::duration::parse_duration;
use crate::env::Millis;
use crate::error::Error;
use crate::txn::Page;

/// A request body read by field. Error texts are those of OpenBao's framework, without the value.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    data: &'a Map<String, Value>,
    lead: &'static str,
}

impl<'a> Fields<'a> {
    /// Wraps a body.
    pub fn new(data: &'a Map<String, Value>) -> Self {
        Self {
            data,
            lead: "Field validation failed: ",
        }
    }

    /// The same, with errors that do not begin with "Field validation failed: ". OpenBao says so where it validates
    /// while it checks for existence.
    #[must_use]
    pub fn unprefixed(self) -> Self {
        Self { lead: "", ..self }
    }

    /// The raw value, unless it is absent or null.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.data.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field was given, be it as null.
    pub fn given(&self, name: &str) -> bool {
        self.data.contains_key(name)
    }

    /// Text; numbers and booleans are accepted as their text.
    pub fn string(&self, name: &str) -> Result<Option<String>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(other) => Err(self.mistyped(name, "string", other)),
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
                _ => Err(self.wrong(
                    name,
                    "'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax",
                )),
            },
            Some(Value::Number(number)) => Ok(Some(number.as_f64() != Some(0.0))),
            Some(other) => Err(self.mistyped(name, "bool", other)),
        }
    }

    /// An integer, or its text. Numbers with a fraction are errors, also `2.0`.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Error> {
        let text = match self.value(name) {
            None => return Ok(None),
            Some(Value::Bool(flag)) => return Ok(Some(i64::from(*flag))),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(other) => return Err(self.mistyped(name, "int", other)),
        };
        text.parse().map(Some).map_err(|_| {
            self.wrong(
                name,
                "'' cannot parse value as 'int': strconv.ParseInt: invalid syntax",
            )
        })
    }

    /// An integer that must not be negative.
    pub fn count(&self, name: &str) -> Result<Option<u64>, Error> {
        self.int(name)?
            .map(|number| {
                u64::try_from(number).map_err(|_| self.wrong(name, "cannot provide negative value"))
            })
            .transpose()
    }

    /// A duration that is not negative: seconds as a number or text, or Go's syntax.
    pub fn duration(&self, name: &str) -> Result<Option<Millis>, Error> {
        self.signed_duration(name)?
            .map(|ms| u64::try_from(ms).map_err(|_| self.wrong(name, "cannot provide negative value")))
            .transpose()
    }

    /// A duration in milliseconds that may be negative.
    pub fn signed_duration(&self, name: &str) -> Result<Option<i64>, Error> {
        let text = match self.value(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(self.wrong(name, "could not parse duration from input")),
        };
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let ms = parse_duration(text)
            .ok()
            .and_then(|ms| i64::try_from(ms).ok())
            .ok_or_else(|| self.wrong(name, "time: invalid duration"))?;
        Ok(Some(if negative { -ms } else { ms }))
    }

    /// Which part of a list is asked for: `after` and `limit`. No limit, zero and negative limits mean all.
    pub fn page(&self) -> Result<Page, Error> {
        let limit = self.int("limit")?.and_then(|limit| usize::try_from(limit).ok());
        Ok(Page {
            after: self.string("after")?.unwrap_or_default(),
            limit: limit.filter(|limit| *limit > 0),
        })
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
                    other => Err(self.mistyped(name, "string", other)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(self.mistyped(name, "[]string", other)),
        }
    }

    /// A list of integers: numbers, texts, or comma-separated text.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Error> {
        let texts = match self.value(name) {
            Some(Value::Number(number)) => Some(vec![number.to_string()]),
            _ => self.strings(name)?,
        };
        let Some(texts) = texts else {
            return Ok(None);
        };
        let number = |(index, text): (usize, &String)| {
            text.trim().parse().map_err(|_| {
                self.wrong(
                    name,
                    &format!(
                        "decoding failed due to the following error(s):\n\n'[{index}]' cannot parse value as 'int': \
                         strconv.ParseInt: invalid syntax"
                    ),
                )
            })
        };
        texts
            .iter()
            .enumerate()
            .map(number)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of integers that must not be negative.
    pub fn numbers(&self, name: &str) -> Result<Option<Vec<u64>>, Error> {
        let Some(numbers) = self.ints(name)? else {
            return Ok(None);
        };
        let number =
            |number| u64::try_from(number).map_err(|_| self.wrong(name, "cannot provide negative value"));
        numbers
            .into_iter()
            .map(number)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(self.mistyped(name, "map[string]interface {}", other)),
        }
    }

    /// An object whose values are texts.
    pub fn string_map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
        let map = self.object(name)?;
        map.map(|map| self.texts_of(name, map)).transpose()
    }

    fn texts_of(&self, name: &str, map: &Map<String, Value>) -> Result<BTreeMap<String, String>, Error> {
        let fields = Fields::new(map);
        map.keys()
            .map(|key| {
                let text = fields
                    .string(key)
                    .map_err(|_| self.wrong(name, "expected an object of strings"))?;
                Ok((key.clone(), text.unwrap_or_default()))
            })
            .collect()
    }

    /// Pairs of texts: an object, a text `key=value`, or a list of such, all objects or all texts, in which the last says what a key
    /// has. Nothing is trimmed, and a comma is a letter like others.
    pub fn pairs(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
        let items = match self.value(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let mut pairs = BTreeMap::new();
        let objects: Option<Vec<_>> = items.iter().map(Value::as_object).collect();
        if let Some(objects) = objects {
            for object in objects {
                pairs.extend(self.texts_of(name, object)?);
            }
            return Ok(Some(pairs));
        }
        for (index, item) in items.iter().enumerate() {
            let (key, value) = self.pair(name, index, item)?;
            pairs.insert(key.to_owned(), value.to_owned());
        }
        Ok(Some(pairs))
    }

    fn pair<'v>(&self, name: &str, index: usize, item: &'v Value) -> Result<(&'v str, &'v str), Error> {
        let pair = match item {
            Value::String(text) => text.split_once('=').filter(|(key, _)| !key.is_empty()),
            Value::Object(_) | Value::Array(_) => {
                let why = unconvertible(&format!("[{index}]"), "string", item);
                let lead = "decoding failed due to the following error(s):\n\n";
                return Err(self.wrong(name, &format!("{lead}{why}")));
            }
            _ => None,
        };
        pair.ok_or_else(|| {
            self.wrong(
                name,
                &format!("invalid key pair at index {index} in field {name:?}"),
            )
        })
    }

    /// A field of another type than `expected`, named as Go names it.
    pub fn mistyped(&self, name: &str, expected: &str, got: &Value) -> Error {
        self.wrong(name, &unconvertible("", expected, got))
    }

    /// A field whose value cannot be used; `detail` must not repeat the value.
    pub fn wrong(&self, name: &str, detail: &str) -> Error {
        Error::invalid(format!(
            "{}error converting input for field {name:?}: {detail}",
            self.lead
        ))
    }
}

/// What Go's decoder says of a value that is of another type than `expected`.
fn unconvertible(place: &str, expected: &str, got: &Value) -> String {
    let got = match got {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "json.Number",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    format!("'{place}' expected type '{expected}', got unconvertible type '{got}'")
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
        let body = map(json!({"n": "3", "b": "true", "d": "1h", "s": 90, "l": "a, b,,c", "v": [1, "2"]}));
        let fields = Fields::new(&body);
        assert_eq!(fields.int("n").unwrap(), Some(3));
        assert_eq!(fields.bool("b").unwrap(), Some(true));
        assert_eq!(fields.duration("d").unwrap(), Some(3_600_000));
        assert_eq!(fields.duration("s").unwrap(), Some(90_000));
        assert_eq!(fields.strings("l").unwrap().unwrap(), ["a", "b", "c"]);
        assert_eq!(fields.numbers("v").unwrap().unwrap(), [1, 2]);
        assert_eq!(fields.string("absent").unwrap(), None);
    }

    #[test]
    fn pairs_are_read_in_every_form() {
        let body = map(json!({
            "object": {"a": 1, "b": "x"}, "text": " a =b,c=d", "list": ["a=1=2", "b=", "a=3"], "objects": [{"a": "b"}, {"c": 1}], "none": [], "null": null,
            "bare": "hunter2", "empty": "", "keyless": ["a=b", "=hunter2"], "number": 5, "deep": {"a": ["hunter2"]},
            "mixed": ["a=b", {"a": "hunter2"}],
        }));
        let fields = Fields::new(&body);
        let read = |name: &str| json!(fields.pairs(name).unwrap());
        assert_eq!(read("object"), json!({"a": "1", "b": "x"}));
        assert_eq!(read("text"), json!({" a ": "b,c=d"}));
        assert_eq!(read("list"), json!({"a": "3", "b": ""}));
        assert_eq!(read("objects"), json!({"a": "b", "c": "1"}));
        assert_eq!(read("none"), json!({}));
        assert_eq!((read("null"), read("absent")), (Value::Null, Value::Null));
        for wrong in ["bare", "empty", "keyless", "number", "deep", "mixed"] {
            let text = fields.pairs(wrong).unwrap_err().to_string();
            assert!(text.contains(wrong) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn errors_name_the_field_and_not_the_value() {
        let body = map(json!({"ttl": "hunter2", "n": {}, "neg": -1, "f": 2.0}));
        let fields = Fields::new(&body);
        let text = fields.duration("ttl").unwrap_err().to_string();
        assert!(text.contains("ttl") && !text.contains("hunter2"), "{text}");
        assert!(fields.int("n").is_err());
        assert!(fields.count("neg").is_err());
        assert!(fields.duration("neg").is_err());
        assert_eq!(fields.signed_duration("neg").unwrap(), Some(-1000));
        assert!(fields.int("f").is_err());
        assert_eq!(
            fields.int("n").unwrap_err().to_string(),
            "Field validation failed: error converting input for field \"n\": '' expected type 'int', got \
             unconvertible type 'map[string]interface {}'"
        );
    }
}
