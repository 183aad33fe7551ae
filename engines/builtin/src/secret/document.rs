//! A JSON object as one row: what KV version 1, a version of KV version 2 and a cubbyhole keep. Knows the row's format
//! and the limits on what is written, not where it lies.

use conclave_engine_api::Error;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::record;

/// Format number of a document's row.
const FORMAT: u8 = 1;

/// Deepest nesting of objects and arrays that is stored. Parsers of clients and ours refuse beyond about 128.
pub(crate) const MAX_DEPTH: usize = 100;

/// Encodes an object, or null, which KV version 2 can hold.
pub(crate) fn encode(document: Option<&Map<String, Value>>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let too_deep = document.is_some_and(|map| map.values().any(|value| deeper_than(value, MAX_DEPTH - 1)));
    if too_deep {
        return Err(Error::invalid(format!(
            "data is nested deeper than {MAX_DEPTH} levels"
        )));
    }
    record::encode(FORMAT, &document)
}

/// Decodes a row.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Map<String, Value>>, Error> {
    record::decode(FORMAT, bytes)
}

/// Whether `value` nests deeper than `levels`; recursion ends there.
fn deeper_than(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return matches!(value, Value::Array(_) | Value::Object(_));
    };
    match value {
        Value::Array(items) => items.iter().any(|item| deeper_than(item, below)),
        Value::Object(map) => map.values().any(|item| deeper_than(item, below)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> Map<String, Value> {
        let inner = (1..levels).fold(json!(1), |inner, _| json!([inner]));
        Map::from_iter([("k".to_owned(), inner)])
    }

    #[test]
    fn keeps_numbers_as_written() {
        let text = r#"{"big":12345678901234567890123,"d":1.10,"e":1e+2,"tiny":1e-400,"z":null}"#;
        let document: Map<String, Value> = serde_json::from_str(text).unwrap();
        let bytes = encode(Some(&document)).unwrap();
        assert_eq!(bytes.strip_prefix(&[FORMAT]).unwrap(), text.as_bytes());
        assert_eq!(decode(&bytes).unwrap(), Some(document));
    }

    #[test]
    fn depth_is_bounded_and_what_is_written_can_be_read() {
        let deepest = encode(Some(&nested(MAX_DEPTH))).unwrap();
        assert!(decode(&deepest).unwrap().is_some());
        assert!(matches!(
            encode(Some(&nested(MAX_DEPTH + 1))),
            Err(Error::Invalid(_))
        ));
    }
}
