//! Names in paths, where Vault takes a part of them only.

use conclave_engine_api::Error;

/// Longest name in bytes.
const MAX_BYTES: usize = 256;

/// The first segment of a path, and the second if there is one; more are no path of engines whose names hold no slashes.
pub(super) fn area_and_name(path: &str) -> Result<(&str, &str), Error> {
    let path = path.trim_end_matches('/');
    let (area, name) = path.split_once('/').unwrap_or((path, ""));
    match name.len() > MAX_BYTES || name.contains('/') {
        true => Err(Error::UnsupportedPath),
        false => Ok((area, name)),
    }
}

/// Letters, digits and `_`, with `-` and `.` between them.
pub(super) fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = name.as_bytes();
    bytes.len() <= MAX_BYTES
        && bytes.first().is_some_and(|first| word(*first))
        && bytes.last().is_some_and(|last| word(*last))
        && bytes
            .iter()
            .all(|byte| word(*byte) || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_and_end_with_a_word() {
        assert!(is_name("a") && is_name("_") && is_name("a.b-c_9"));
        for wrong in ["", "-a", "a.", "a b", "a/b", "é", &"a".repeat(257)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
