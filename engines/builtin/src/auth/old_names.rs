//! Parameters that had other names before `token_*`: still taken, and shown again to who used them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which parameters were given last under their old name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OldNames(BTreeSet<String>);

impl OldNames {
    /// The body with values under their new names, and a note of which came under the old one. A new name wins.
    pub(crate) fn renamed(
        &mut self,
        body: &Map<String, Value>,
        names: &[(&str, &str)],
    ) -> Map<String, Value> {
        let mut body = body.clone();
        for (old, new) in names {
            let given = body.remove(*old);
            if body.contains_key(*new) {
                self.0.remove(*old);
            } else if let Some(value) = given {
                self.0.insert((*old).to_owned());
                body.insert((*new).to_owned(), value);
            }
        }
        body
    }

    /// Shows parameters under the old names they were given by.
    pub(crate) fn describe(&self, data: &mut Map<String, Value>, names: &[(&str, &str)]) {
        for (old, new) in names {
            if let (true, Some(value)) = (self.0.contains(*old), data.get(*new)) {
                let value = value.clone();
                data.insert((*old).to_owned(), value);
            }
        }
    }

    /// Forgets that a parameter was given under its old name.
    pub(crate) fn forget(&mut self, old: &str) {
        self.0.remove(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_name_wins_and_the_last_one_is_shown() {
        const NAMES: &[(&str, &str)] = &[("policies", "token_policies")];
        let object = |value: Value| value.as_object().cloned().unwrap();
        let mut known = OldNames::default();
        let body = known.renamed(&object(json!({"policies": "a", "x": 1})), NAMES);
        assert_eq!(Value::Object(body), json!({"token_policies": "a", "x": 1}));
        let mut shown = object(json!({"token_policies": ["a"]}));
        known.describe(&mut shown, NAMES);
        assert_eq!(shown["policies"], json!(["a"]));
        let both = object(json!({"policies": "a", "token_policies": "b"}));
        assert_eq!(known.renamed(&both, NAMES)["token_policies"], "b");
        let mut shown = object(json!({"token_policies": ["b"]}));
        known.describe(&mut shown, NAMES);
        assert!(!shown.contains_key("policies"));
    }
}
