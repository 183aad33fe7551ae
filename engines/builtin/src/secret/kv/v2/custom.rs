//! `custom_metadata`: what users note about a key, and its limits.

use std::collections::BTreeMap;

use conclave_engine_api::Error;
use serde_json::{Map, Value};

/// Most entries of a key.
const MAX_ENTRIES: usize = 64;

/// Longest name of an entry in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Longest text of an entry in bytes.
const MAX_TEXT_BYTES: usize = 512;

const LEAD: &str = "custom_metadata validation failed";

/// Reads entries as a write gives them: numbers and booleans become text (`true` is "1", as Go's decoder has it).
pub(super) fn parse(map: &Map<String, Value>) -> Result<BTreeMap<String, String>, Error> {
    let mut entries = BTreeMap::new();
    for (name, value) in map {
        let text = match value {
            Value::Null => String::new(),
            Value::Bool(flag) => if *flag { "1" } else { "0" }.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(_) => return Err(mistyped("[]interface {}")),
            Value::Object(_) => return Err(mistyped("map[string]interface {}")),
        };
        entries.insert(name.clone(), text);
    }
    check(&entries)?;
    Ok(entries)
}

/// Applies a merge patch to entries: null removes.
pub(super) fn patch(entries: &mut BTreeMap<String, String>, map: &Map<String, Value>) -> Result<(), Error> {
    let (gone, set): (Vec<_>, Vec<_>) = map.iter().partition(|(_, value)| value.is_null());
    let set = set
        .into_iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let set = parse(&set)?;
    for (name, _) in gone {
        entries.remove(name);
    }
    entries.extend(set);
    check(entries)
}

/// Checks all limits and tells every fault. Texts of entries are not repeated.
fn check(entries: &BTreeMap<String, String>) -> Result<(), Error> {
    let mut faults = Vec::new();
    if entries.len() > MAX_ENTRIES {
        faults.push(format!(
            "{LEAD}: payload must contain at most {MAX_ENTRIES} keys, provided {}",
            entries.len()
        ));
        return Err(many(&faults));
    }
    for (name, text) in entries {
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            faults.push(format!(
                "{LEAD}: length of key {name:?} is {} but must be 0 < len(key) <= {MAX_NAME_BYTES}",
                name.len()
            ));
        }
        if !(1..=MAX_TEXT_BYTES).contains(&text.len()) {
            faults.push(format!(
                "{LEAD}: length of value for key {name:?} is {} but must be 0 < len(value) <= {MAX_TEXT_BYTES}",
                text.len()
            ));
        }
        if name.chars().any(char::is_control) {
            faults.push(format!(
                "{LEAD}: key {name:?} ({name}) contains unprintable characters"
            ));
        }
        if text.chars().any(char::is_control) {
            faults.push(format!(
                "{LEAD}: value for key {name:?} contains unprintable characters"
            ));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(many(&faults))
    }
}

fn mistyped(got: &str) -> Error {
    Error::invalid(format!(
        "{LEAD}: '' expected type 'string', got unconvertible type '{got}'"
    ))
}

/// Many faults as one text, in the shape of Go's `multierror`.
fn many(faults: &[String]) -> Error {
    let count = match faults.len() {
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    Error::invalid(format!("{count} occurred:\n\t* {}\n\n", faults.join("\n\t* ")))
}
