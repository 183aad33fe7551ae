//! Headers of requests in audit records: those that `sys/config/auditing/request-headers` names, in the clear or hashed. It
//! must not know what a transport calls a header.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::audit::hashed::Hasher;
use crate::catalog::AuditedHeaders;
use crate::request::Headers;

/// Longest recorded value of a header, in bytes; what is longer is cut and says so.
const MAX_VALUE: usize = 8 * 1024;
/// Most recorded values of one header.
const MAX_VALUES: usize = 64;

/// A header that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    values: Vec<String>,
    hashed: bool,
}

/// Those of a request that are to be recorded.
pub fn chosen(audited: &AuditedHeaders, headers: Option<&dyn Headers>) -> Vec<Header> {
    let Some(headers) = headers else { return Vec::new() };
    let all = audited.iter().filter_map(|(name, hashed)| {
        let mut values = headers.values(name);
        values.truncate(MAX_VALUES);
        values.iter_mut().for_each(cut);
        (!values.is_empty()).then(|| Header {
            name: name.clone(),
            values,
            hashed: *hashed,
        })
    });
    all.collect()
}

fn cut(value: &mut String) {
    if value.len() > MAX_VALUE {
        let end = (0..=MAX_VALUE).rev().find(|at| value.is_char_boundary(*at));
        value.truncate(end.unwrap_or(0));
        value.push_str(" (cut)");
    }
}

/// Headers as a record shows them.
pub struct Shown<'a> {
    headers: &'a [Header],
    hasher: &'a Hasher,
}

impl<'a> Shown<'a> {
    /// `None` if there is nothing to show, or no key to hash with.
    pub fn of(headers: &'a [Header], hasher: Option<&'a Hasher>) -> Option<Self> {
        let hasher = hasher.filter(|_| !headers.is_empty())?;
        Some(Self { headers, hasher })
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.headers.len()))?;
        for header in self.headers {
            if header.hashed {
                let hashes: Vec<_> = header
                    .values
                    .iter()
                    .map(|value| self.hasher.hash(value.as_bytes()))
                    .collect();
                map.serialize_entry(&header.name, &hashes)?;
            } else {
                map.serialize_entry(&header.name, &header.values)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct Fixed;

    impl Headers for Fixed {
        fn values(&self, name: &str) -> Vec<String> {
            match name {
                "x-plain" => vec!["a".to_owned(), "b".to_owned()],
                "x-hashed" => vec!["s3cret".to_owned()],
                "x-long" => vec!["ä".repeat(MAX_VALUE)],
                _ => Vec::new(),
            }
        }
    }

    #[test]
    fn chosen_headers_are_shown_as_told() {
        let audited: AuditedHeaders = [
            ("x-plain", false),
            ("x-hashed", true),
            ("x-none", false),
            ("x-long", false),
        ]
        .map(|(name, hashed)| (name.to_owned(), hashed))
        .into();
        let headers = chosen(&audited, Some(&Fixed));
        let hasher = Hasher::new(b"salt");
        let shown: Value = serde_json::to_value(Shown::of(&headers, Some(&hasher)).unwrap()).unwrap();
        assert_eq!(shown["x-plain"], json!(["a", "b"]));
        assert_eq!(shown["x-hashed"], json!([hasher.hash(b"s3cret").to_string()]));
        assert!(shown.get("x-none").is_none());
        let long = shown["x-long"][0].as_str().unwrap();
        assert!(
            long.len() <= MAX_VALUE + 6 && long.ends_with("ä (cut)"),
            "{}",
            long.len()
        );
        assert!(
            Shown::of(&headers, None).is_none(),
            "nothing is shown without a key"
        );
        assert!(Shown::of(&[], Some(&hasher)).is_none());
        assert!(chosen(&audited, None).is_empty());
    }
}
