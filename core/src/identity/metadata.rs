//! Metadata, policies and names as requests give them: read, bounded and brought into their one form.

use conclave_engine_api::Fields;

use crate::error::Error;
use crate::identity::record::{MAX_NAME_BYTES, MAX_POLICIES, Metadata};
use crate::sys::normal_names;

/// Most pairs.
const MAX_PAIRS: usize = 64;
/// Longest key in bytes.
const MAX_KEY_BYTES: usize = 128;
/// Longest value in bytes.
const MAX_VALUE_BYTES: usize = 512;
/// Keys that begin so are nobody's to set.
const RESERVED: &str = "vault-";

/// Whether somebody may have this as the metadata of `what`.
pub fn check(what: &str, pairs: &Metadata) -> Result<(), Error> {
    let wrong = |why: String| Error::invalid(format!("invalid {what} metadata: {why}"));
    if pairs.len() > MAX_PAIRS {
        return Err(wrong(format!(
            "metadata cannot contain more than {MAX_PAIRS} key/value pairs"
        )));
    }
    for (key, value) in pairs {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let why = if key.is_empty() {
            "key cannot be blank".to_owned()
        } else if !key.chars().all(letter) {
            "key contains invalid characters".to_owned()
        } else if key.len() > MAX_KEY_BYTES {
            format!("key is too long (limit: {MAX_KEY_BYTES} characters)")
        } else if key.starts_with(RESERVED) {
            format!("key prefix {RESERVED:?} is reserved for internal use")
        } else if value.len() > MAX_VALUE_BYTES {
            format!("value is too long (limit: {MAX_VALUE_BYTES} characters)")
        } else {
            continue;
        };
        return Err(wrong(format!("failed to load metadata pair: {why}")));
    }
    Ok(())
}

/// What is kept of what a login says, whatever a role put into it: nobody is kept out for the size of their metadata.
pub fn kept(told: &Metadata) -> Metadata {
    let fits = |(key, value): &(&String, &String)| {
        !key.is_empty() && key.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES
    };
    let pairs = told.iter().filter(fits).take(MAX_PAIRS);
    pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whether somebody may have this as the custom metadata of an alias.
pub fn check_custom(pairs: &Metadata) -> Result<(), Error> {
    let wrong = |why: String| Error::invalid(format!("custom_metadata validation failed: {why}"));
    if pairs.len() > MAX_PAIRS {
        return Err(wrong(format!(
            "payload must contain at most {MAX_PAIRS} keys, provided {}",
            pairs.len()
        )));
    }
    for (key, value) in pairs {
        let printable = |text: &str| !text.chars().any(char::is_control);
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let bound = format!("0 < len(key) <= {MAX_KEY_BYTES}");
            return Err(wrong(format!(
                "length of key {key:?} is {} but must be {bound}",
                key.len()
            )));
        }
        if value.is_empty() || value.len() > MAX_VALUE_BYTES {
            let bound = format!("0 < len(value) <= {MAX_VALUE_BYTES}");
            return Err(wrong(format!(
                "length of value for key {key:?} is {} but must be {bound}",
                value.len()
            )));
        }
        if !printable(key) || !printable(value) {
            return Err(wrong(format!(
                "key {key:?} or its value contains unprintable characters"
            )));
        }
    }
    Ok(())
}

/// Names of policies in their one spelling, sorted. `None`: not given.
pub fn policies(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Error> {
    let Some(names) = fields.strings("policies")? else {
        return Ok(None);
    };
    let names: Vec<String> = names.into_iter().filter(|name| !name.trim().is_empty()).collect();
    let names = normal_names(&names)?;
    if names.iter().any(|name| name == "root") {
        return Err(Error::invalid("policies cannot contain root"));
    }
    if names.len() > MAX_POLICIES {
        return Err(Error::invalid(format!("more than {MAX_POLICIES} policies")));
    }
    Ok(Some(names))
}

/// A name as it is given, if it is not too long.
pub fn checked_name(name: String) -> Result<String, Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(format!(
            "name is longer than {MAX_NAME_BYTES} bytes"
        )));
    }
    Ok(name)
}
