//! What must not be shown: values that are wiped when dropped and have neither `Debug` nor `Display`.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use super::Error;

/// Secret text, for example a token. Wiped when dropped.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the moment it is needed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Secret bytes, for example what was decrypted. Wiped when dropped.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the moment they are needed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The members of a secret. Their values are wiped when dropped, their names are not.
#[derive(Clone, Default)]
pub struct SecretData(Map<String, Value>);

impl SecretData {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(json) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            // Data may have been written as null.
            Ok(Value::Null) => Ok(Self::default()),
            _ => Err(Error::Internal("the node answered no JSON object".to_owned())),
        }
    }

    /// The text of a member; `None` if it is absent or no text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A member as it is.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The names of all members, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All members as a type of the application's own.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they are not of this type; the text names members, never values.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // serde's own texts may repeat values.
        let wrong = |_| Error::Invalid(format!("the secret is no {}", std::any::type_name::<T>()));
        T::deserialize(&self.0).map_err(wrong)
    }
}

impl Drop for SecretData {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

/// Depth is bounded: parsed JSON has at most 128 levels.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A JSON object to send; its bytes are wiped when the last attempt is over.
pub(super) fn object<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, Error> {
    let wrong = || Error::Config("the data does not serialize to a JSON object".to_owned());
    let json = Zeroizing::new(serde_json::to_vec(value).map_err(|_| wrong())?);
    if json.first() != Some(&b'{') {
        return Err(wrong());
    }
    Ok(Bytes::from_owner(json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn members_are_read_as_they_were_written() {
        let data = SecretData::parse(br#"{"b":"text","a":1.10,"n":12345678901234567890123}"#).unwrap();
        assert_eq!(data.text("b"), Some("text"));
        assert_eq!(data.text("a"), None);
        assert_eq!(data.value("n").unwrap().to_string(), "12345678901234567890123");
        assert_eq!(data.names().collect::<Vec<_>>(), ["a", "b", "n"]);
        assert!(SecretData::parse(b"null").unwrap().names().next().is_none());
        assert!(SecretData::parse(b"[1]").is_err());
        assert!(SecretData::parse(b"{").is_err());
    }

    #[test]
    fn decoding_failures_repeat_no_value() {
        let data = SecretData::parse(br#"{"port":"hunter2"}"#).unwrap();
        let decoded: BTreeMap<String, String> = data.decode().unwrap();
        assert_eq!(decoded["port"], "hunter2");
        let error = data.decode::<BTreeMap<String, u16>>().err().unwrap();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn only_objects_are_sent() {
        assert_eq!(&object(&json!({"a": 1})).unwrap()[..], br#"{"a":1}"#);
        assert!(object("text").is_err());
        assert!(object(&[1]).is_err());
    }

    #[test]
    fn values_are_wiped_at_all_depths() {
        let mut value = json!({"a": "x", "b": ["y", {"c": "z"}], "n": 1});
        wipe(&mut value);
        assert_eq!(value, json!({"a": "", "b": ["", {"c": ""}], "n": 1}));
    }
}
