//! Typed reading of the objects core answers: each member is taken out once, and one that is absent is the type's zero,
//! as in protobuf. It must not know which answer it reads.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use conclave_proto::v1;

use crate::config::duration;

/// An object whose members are taken out.
#[derive(Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Over an object.
    pub fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// A member as it is.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Text.
    pub fn text(&mut self, name: &str) -> String {
        match self.0.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        }
    }

    /// A number that is not negative.
    pub fn number(&mut self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// A small number that is not negative.
    pub fn small(&mut self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(u32::MAX)
    }

    /// A duration as Go writes it, in seconds.
    pub fn seconds(&mut self, name: &str) -> u64 {
        duration::parse(&self.text(name)).map_or(0, |duration| duration.as_secs())
    }

    /// Truth.
    pub fn flag(&mut self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A list of text.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        match self.0.remove(name) {
            Some(Value::Array(items)) => items
                .into_iter()
                .filter_map(|item| match item {
                    Value::String(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// An object of text.
    pub fn pairs(&mut self, name: &str) -> BTreeMap<String, String> {
        match self.0.remove(name) {
            Some(Value::Object(object)) => object
                .into_iter()
                .filter_map(|(name, value)| match value {
                    Value::String(text) => Some((name, text)),
                    _ => None,
                })
                .collect(),
            _ => BTreeMap::new(),
        }
    }

    /// A list of objects.
    pub fn objects(&mut self, name: &str) -> Vec<Self> {
        match self.0.remove(name) {
            Some(Value::Array(items)) => items.into_iter().filter_map(Self::of).collect(),
            _ => Vec::new(),
        }
    }

    /// An object within.
    pub fn object(&mut self, name: &str) -> Self {
        self.0.remove(name).and_then(Self::of).unwrap_or_default()
    }

    /// All members that are objects, by name.
    pub fn each(self) -> impl Iterator<Item = (String, Self)> {
        let members = self.0.into_iter();
        members.filter_map(|(name, value)| Some((name, Self::of(value)?)))
    }

    /// A token as core hands it out.
    pub fn auth(mut self) -> v1::Auth {
        let mut waits = self.object("mfa_requirement");
        let demands = waits.object("mfa_constraints").each();
        v1::Auth {
            mfa_request_id: waits.text("mfa_request_id"),
            mfa_demands: demands.map(|(name, told)| told.demand(name)).collect(),
            client_token: self.text("client_token"),
            accessor: self.text("accessor"),
            policies: self.texts("policies"),
            metadata: self.pairs("metadata"),
            lease_duration_seconds: self.number("lease_duration"),
            renewable: self.flag("renewable"),
            orphan: self.flag("orphan"),
            num_uses: self.number("num_uses"),
        }
    }

    /// A second factor that a login is to show.
    fn demand(mut self, name: String) -> v1::MfaDemand {
        let methods = self.objects("any").into_iter();
        let any = methods.map(|mut method| v1::MfaMethod {
            id: method.text("id"),
            name: method.text("name"),
            r#type: method.text("type"),
            uses_passcode: method.flag("uses_passcode"),
        });
        v1::MfaDemand {
            name,
            any: any.collect(),
        }
    }

    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(object) => Some(Self(object)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_taken_by_type_and_zero_without() {
        let object = json!({
            "t": "text", "n": 7, "f": true, "d": "3h25m19s", "l": ["a", 1, "b"], "p": {"k": "v", "n": 1},
            "o": {"t": "x"}, "a": [{"n": 1}, 2], "null": null,
        });
        let mut fields = Fields::of(object).unwrap();
        assert_eq!(fields.text("t"), "text");
        assert_eq!((fields.number("n"), fields.small("n")), (7, 7));
        assert!(fields.flag("f"));
        assert_eq!(fields.seconds("d"), 12_319);
        assert_eq!(fields.texts("l"), ["a", "b"]);
        assert_eq!(
            fields.pairs("p"),
            BTreeMap::from([("k".to_owned(), "v".to_owned())])
        );
        assert_eq!(fields.object("o").text("t"), "x");
        assert_eq!(fields.objects("a").len(), 1);
        assert_eq!(fields.text("null"), "");
        assert_eq!(
            (fields.number("none"), fields.flag("none"), fields.seconds("none")),
            (0, false, 0)
        );
        assert!(fields.pairs("none").is_empty() && fields.texts("none").is_empty());
    }
}
