//! Names of users and roles: one spelling each, whatever case they come in, so that no two spellings are two accounts or two
//! counts of failures.

use conclave_engine_api::Error;

/// Longest name in bytes.
const MAX_NAME_BYTES: usize = 512;

/// The one spelling of a name: letters, digits and underscores, with dots and dashes inside, in lower case.
///
/// # Errors
/// [`Error::UnsupportedPath`] for everything else, as the original's routes do not match it.
pub(crate) fn canonical(name: &str) -> Result<String, Error> {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    let is_name = bytes.len() <= MAX_NAME_BYTES
        && ends.is_some_and(|(first, last)| word(*first) && word(*last))
        && bytes.iter().all(|c| word(*c) || matches!(c, b'-' | b'.'));
    if !is_name {
        return Err(Error::UnsupportedPath);
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (given, wanted) in [("Ada", "ada"), ("a", "a"), ("A.b-C_9", "a.b-c_9"), ("_x_", "_x_")] {
            assert_eq!(canonical(given).unwrap(), wanted);
        }
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for wrong in [
            "",
            " ada",
            "ada ",
            "-a",
            "a-",
            ".a",
            "a.",
            "a/b",
            "a b",
            "a@b",
            "ä",
            "a\0",
            "K\u{212a}",
            &long,
        ] {
            assert!(canonical(wrong).is_err(), "{wrong:?}");
        }
    }
}
