//! Metadata of a secret id: JSON, JSON in base64, or `key=value` pairs, as the original takes them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use conclave_engine_api::Error;

/// Most entries.
const MAX_ENTRIES: usize = 64;

/// Reads metadata.
///
/// # Errors
/// The text is none of the three forms, or has too many entries.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let decoded = BASE64.decode(text).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let forms = [Some(text), decoded.as_deref()];
    let json = forms
        .into_iter()
        .flatten()
        .find_map(|form| serde_json::from_str::<BTreeMap<String, String>>(form).ok());
    let wrong =
        || Error::invalid("failed to parse metadata: failed to parse the input: invalid <key,value> format");
    let entries = match json {
        Some(entries) => entries,
        None => {
            let decoded = decoded.filter(|text| text.contains('='));
            pairs(decoded.as_deref().unwrap_or(text)).ok_or_else(wrong)?
        }
    };
    if entries.len() > MAX_ENTRIES {
        return Err(Error::invalid(format!(
            "more than {MAX_ENTRIES} entries of metadata"
        )));
    }
    Ok(entries)
}

fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let (key, value) = (key.trim(), value.trim());
            (!key.is_empty() && !value.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms() {
        let want = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())]);
        let json = r#"{"a":"b","c":"d"}"#;
        for form in [
            json,
            &BASE64.encode(json),
            "a=b,c=d",
            " a = b , c=d ",
            &BASE64.encode("a=b,c=d"),
        ] {
            assert_eq!(parse(form).unwrap(), want, "{form}");
        }
        assert!(parse("").unwrap().is_empty());
        let many: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!("k{n}=v")).collect();
        for wrong in ["zz", r#"{"a":1}"#, "a=", "=b", "a=b,c", &many.join(",")] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
