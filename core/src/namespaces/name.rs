//! What a namespace may be called, and how a header names one.

use crate::error::Error;

/// Longest name in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Names that mean something else at the beginning of a path.
const RESERVED: [&str; 6] = ["root", "sys", "audit", "auth", "cubbyhole", "identity"];

/// Checks the name of a new namespace, in the original's order and words.
///
/// # Errors
/// [`Error::Invalid`] says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::invalid(text));
    if name.is_empty() {
        return wrong("namespace name cannot be empty".to_owned());
    }
    if name.contains('/') {
        return wrong("namespace name cannot contain /".to_owned());
    }
    if let Some(wild) = name.chars().find(|c| matches!(c, '+' | '*')) {
        return wrong(format!(
            "{name:?} contains wildcard characters that cannot be used in a namespace name: '{wild}'"
        ));
    }
    if name.contains(char::is_whitespace) {
        return wrong(format!(
            "{name:?} contains space characters that cannot be used in a namespace name"
        ));
    }
    if RESERVED.contains(&name) {
        let path = format!("{name}/");
        return wrong(format!(
            "{path:?} is a reserved path and cannot be used as a namespace name"
        ));
    }
    if name.len() > MAX_NAME_BYTES {
        return wrong(format!("namespace name is longer than {MAX_NAME_BYTES} bytes"));
    }
    check_segment(name)
}

/// Checks one name of a header: what no namespace may be called could mean another one to somebody else.
///
/// # Errors
/// [`Error::Invalid`] says what is wrong with it.
pub fn check_segment(name: &str) -> Result<(), Error> {
    if matches!(name, "" | "." | "..") || name.contains('\\') || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "namespace name contains characters that no path may contain",
        ));
    }
    Ok(())
}

/// The namespace that a header names, without slashes around it; `None` for the root.
pub fn path_of_header(header: Option<&str>) -> Option<&str> {
    let path = header?.trim_matches('/');
    Some(path).filter(|path| !matches!(*path, "" | "root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_mean_something_else_are_refused() {
        for name in ["a", "A.b", "ä", "team-1", "token", "a%2fb", "..."] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "a/b",
            "/",
            "+",
            "a*",
            "a b",
            "root",
            "sys",
            "auth",
            "audit",
            "cubbyhole",
            "identity",
            ".",
            "..",
            "a\\b",
            "a\u{0}",
            "a\n",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name(&"n".repeat(MAX_NAME_BYTES + 1)).is_err());
    }

    #[test]
    fn headers_are_read_with_any_slashes() {
        assert_eq!(path_of_header(Some("/a/b/")), Some("a/b"));
        for root in [None, Some(""), Some("/"), Some("root"), Some("root/")] {
            assert_eq!(path_of_header(root), None);
        }
    }
}
