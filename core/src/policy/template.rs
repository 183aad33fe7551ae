//! Templates in paths of rules: `{{identity.entity.id}}` and the like, filled in for whoever asks. It must not know where
//! the values come from.

use std::borrow::Cow;

use crate::error::Error;

/// What a value must not hold: it would reach further than the rule's author saw.
const FORBIDDEN: [char; 3] = ['/', '*', '+'];

/// What templates stand for, of one caller.
pub trait Values {
    /// The value of what stands between the braces; `None` if this caller has no such thing.
    fn value(&self, directive: &str) -> Option<&str>;
}

/// Whether a path carries a template.
pub fn is_template(path: &str) -> bool {
    path.contains("{{")
}

/// The path with its templates filled in; `None` if the caller has not all it asks for, and then the rule says nothing.
///
/// # Errors
/// A value would change which paths the rule is about: nothing is decided on such a rule.
pub fn fill<'a>(path: &'a str, values: Option<&dyn Values>) -> Result<Option<Cow<'a, str>>, Error> {
    if !is_template(path) {
        return Ok(Some(Cow::Borrowed(path)));
    }
    let Some(values) = values else {
        return Ok(None);
    };
    let mut pieces = path.split("{{");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let Some((directive, rest)) = piece.split_once("}}") else {
            return Ok(None);
        };
        match values.value(directive.trim()) {
            None | Some("") => return Ok(None),
            Some(value) if value.contains(FORBIDDEN) => return Err(Error::denied()),
            Some(value) => filled.push_str(value),
        }
        filled.push_str(rest);
    }
    Ok(Some(Cow::Owned(filled)))
}
