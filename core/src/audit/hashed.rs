//! Keyed hashes in Vault's form, and JSON values written as hashes: member names and shape stay, every text is a hash, and
//! every number and boolean that the schema does not list. It must not know what a record holds.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::audit::schema::Open;

/// What every hash begins with.
const PREFIX: &[u8; 12] = b"hmac-sha256:";

/// One device's key, expanded once.
pub struct Hasher(Option<Hmac<Sha256>>);

/// A keyed hash: `hmac-sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Hash([u8; 76]);

/// An object whose values are written as hashes.
#[derive(Clone, Copy)]
pub struct HashedMap<'a> {
    hasher: &'a Hasher,
    map: &'a Map<String, Value>,
    open: Open,
    /// Members that the mount was told to show.
    clear: &'a [String],
}

struct Hashed<'a> {
    hasher: &'a Hasher,
    value: &'a Value,
    /// What is shown of members, if it has any.
    beneath: Open,
    /// Whether a number or boolean is shown.
    shown: bool,
}

impl Hasher {
    /// The hashes of a device with this salt.
    pub fn new(salt: &[u8]) -> Self {
        // HMAC takes keys of any length: this is always there.
        Self(Hmac::new_from_slice(salt).ok())
    }

    /// Vault's form of a keyed hash.
    pub fn hash(&self, text: &[u8]) -> Hash {
        let mut hash = [b'0'; 76];
        let (prefix, digits) = hash.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        if let Some(mac) = &self.0 {
            let tag = mac.clone().chain_update(text).finalize().into_bytes();
            // 32 bytes give 64 digits: this cannot fail.
            hex::encode_to_slice(tag, digits).ok();
        }
        Hash(hash)
    }

    /// A value written as hashes, whatever it is.
    pub fn value<'a>(&'a self, value: &'a Value) -> impl Serialize + 'a {
        Hashed {
            hasher: self,
            value,
            beneath: Open::Nothing,
            shown: false,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.0).map_err(serde::ser::Error::custom)?;
        out.serialize_str(text)
    }
}

impl<'a> HashedMap<'a> {
    /// Writes `map` through `hasher`, but for the numbers and booleans that `open` lists.
    pub fn new(hasher: &'a Hasher, map: &'a Map<String, Value>, open: Open) -> Self {
        Self {
            hasher,
            map,
            open,
            clear: &[],
        }
    }

    /// The same, with these members as they are: the mount was told to (`audit_non_hmac_*_keys`).
    #[must_use]
    pub fn showing(self, clear: &'a [String]) -> Self {
        Self { clear, ..self }
    }
}

/// A member of an object.
#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Clear(&'a Value),
    Hashed(Hashed<'a>),
}

impl Serialize for HashedMap<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let member = |(name, value)| {
            let name: &String = name;
            if self.clear.contains(name) {
                return (name, Member::Clear(value));
            }
            let hashed = Hashed {
                hasher: self.hasher,
                value,
                beneath: self.open.beneath(name),
                shown: self.open.shows(name),
            };
            (name, Member::Hashed(hashed))
        };
        out.collect_map(self.map.iter().map(member))
    }
}

impl Serialize for Hashed<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let hasher = self.hasher;
        let hash = |text: &str| hasher.hash(text.as_bytes());
        match self.value {
            Value::Null => out.serialize_unit(),
            Value::Bool(_) | Value::Number(_) if self.shown => self.value.serialize(out),
            Value::String(text) => hash(text).serialize(out),
            Value::Bool(true) => hash("true").serialize(out),
            Value::Bool(false) => hash("false").serialize(out),
            Value::Number(number) => hash(&number.to_string()).serialize(out),
            Value::Array(items) => out.collect_seq(items.iter().map(|value| Hashed {
                hasher,
                value,
                beneath: Open::Nothing,
                shown: false,
            })),
            Value::Object(map) => HashedMap::new(hasher, map, self.beneath).serialize(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_are_those_of_rfc_4231() {
        // Its test case 2.
        let hash = Hasher::new(b"Jefe").hash(b"what do ya want for nothing?");
        let want = "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(serde_json::to_value(hash).unwrap(), json!(want));
    }

    #[test]
    fn names_and_shape_stay() {
        let hasher = Hasher::new(b"salt");
        let hash = |text: &str| serde_json::to_value(hasher.hash(text.as_bytes())).unwrap();
        let map = json!({"a": "x", "b": [1.25, null, true], "c": {"d": false}});
        let written =
            serde_json::to_value(HashedMap::new(&hasher, map.as_object().unwrap(), Open::Nothing)).unwrap();
        let want =
            json!({"a": hash("x"), "b": [hash("1.25"), null, hash("true")], "c": {"d": hash("false")}});
        assert_eq!(written, want);
    }
}
