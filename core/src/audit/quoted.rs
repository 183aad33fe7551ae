//! Errors quote what a client said, to help it; an audit record must not. Whatever of a request's data stands in the text of
//! an error is hidden there.

use serde_json::{Map, Value};

use crate::audit::hashed::Hasher;

/// Shorter texts are not looked for: they would be found in every word.
const SHORTEST: usize = 4;

/// The text of an error, with every value of `data` in it replaced by its keyed hash, or by a mark where there is no key.
pub fn hide(error: String, data: &Map<String, Value>, hasher: Option<&Hasher>) -> String {
    let mut hidden = error;
    for value in data.values() {
        hide_value(&mut hidden, value, hasher);
    }
    hidden
}

fn hide_value(error: &mut String, value: &Value, hasher: Option<&Hasher>) {
    match value {
        Value::String(text) => hide_text(error, text, hasher),
        Value::Number(number) => hide_text(error, &number.to_string(), hasher),
        Value::Array(items) => items.iter().for_each(|item| hide_value(error, item, hasher)),
        Value::Object(map) => {
            for (name, value) in map {
                // The members of a member are the client's too: tags of metadata, for instance.
                hide_text(error, name, hasher);
                hide_value(error, value, hasher);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn hide_text(error: &mut String, text: &str, hasher: Option<&Hasher>) {
    let bare = text.trim().trim_matches('/');
    // As messages quote it: as it is, with escapes, in small letters.
    let forms = [
        text.to_owned(),
        text.escape_debug().to_string(),
        bare.to_owned(),
        bare.to_lowercase(),
    ];
    for form in forms.iter().filter(|form| form.len() >= SHORTEST) {
        if error.contains(form.as_str()) {
            let mark = match hasher {
                Some(hasher) => hasher.hash(text.as_bytes()).to_string(),
                None => "(not shown)".to_owned(),
            };
            *error = error.replace(form.as_str(), &mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_client_said_is_not_repeated() {
        let data =
            json!({"from": "s3cret-mount/", "n": 90125, "x": {"t4gs": ["A\"B-Quote"]}, "b": true, "s": "no"});
        let data = data.as_object().unwrap();
        let error =
            "no mount at \"s3cret-mount\" (90125, t4gs, a\"b-quote, \"A\\\"B-Quote\"): no, true".to_owned();
        let hasher = Hasher::new(b"key");
        for hasher in [Some(&hasher), None] {
            let shown = hide(error.clone(), data, hasher);
            for secret in ["s3cret", "90125", "t4gs", "quote", "Quote"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
            assert!(
                shown.starts_with("no mount at ") && shown.ends_with("): no, true"),
                "{shown}"
            );
        }
    }
}
