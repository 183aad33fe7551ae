//! The one canonicaliser. A path is decoded and checked here, once; router, policy, audit and storage take `CanonPath`
//! and nothing else, so that no two of them can disagree about what a request addresses.

use std::fmt;

use crate::error::Error;

/// Longest accepted path in bytes, before decoding.
const MAX_PATH_BYTES: usize = 4096;
/// Most segments of a path.
const MAX_SEGMENTS: usize = 128;

/// A checked path: `/`-separated segments, none empty, `.` or `..`, no control characters, no backslash. A trailing `/`
/// is kept: it says "what is beneath".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CanonPath {
    text: String,
}

impl CanonPath {
    /// Decodes (percent-encoding, RFC 3986 section 2.1, exactly once) and checks.
    pub fn parse(raw: &str) -> Result<Self, Error> {
        if raw.len() > MAX_PATH_BYTES {
            return Err(Error::invalid(format!(
                "path is longer than {MAX_PATH_BYTES} bytes"
            )));
        }
        let text = decode(raw)?;
        let inner = text.strip_suffix('/').unwrap_or(&text);
        if inner.is_empty() {
            return Err(Error::invalid("path is empty"));
        }
        if inner.split('/').count() > MAX_SEGMENTS {
            return Err(Error::invalid(format!(
                "path has more than {MAX_SEGMENTS} segments"
            )));
        }
        for segment in inner.split('/') {
            check_segment(segment)?;
        }
        Ok(Self { text })
    }

    /// The same path, ending in `/`.
    #[must_use]
    pub fn as_directory(&self) -> Self {
        let mut text = self.text.clone();
        if !text.ends_with('/') {
            text.push('/');
        }
        Self { text }
    }

    /// The same path without its beginning; `None` unless it ends in `rest` and something is left.
    pub(crate) fn ending_in(&self, rest: &str) -> Option<Self> {
        let whole = rest.is_empty() || !self.text.ends_with(rest);
        (!whole).then(|| Self {
            text: rest.to_owned(),
        })
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for CanonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_segment(segment: &str) -> Result<(), Error> {
    match segment {
        "" => return Err(Error::invalid("path has an empty segment")),
        "." | ".." => return Err(Error::invalid("path cannot contain parent references")),
        _ => {}
    }
    if segment.chars().any(|c| c.is_control() || c == '\\') {
        return Err(Error::invalid("path contains control characters or a backslash"));
    }
    Ok(())
}

fn decode(raw: &str) -> Result<String, Error> {
    let malformed = || Error::invalid("path has malformed percent-encoding");
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (rest.next().and_then(hex_digit), rest.next().and_then(hex_digit));
        let decoded = high
            .zip(low)
            .map(|(high, low)| high << 4 | low)
            .ok_or_else(malformed)?;
        // An encoded slash would make one segment look like two, or two like one, depending on who looks.
        if decoded == b'/' {
            return Err(Error::invalid("path contains an encoded slash"));
        }
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("path is not UTF-8"))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_what_people_write() {
        for (raw, text) in [
            ("secret/data/foo", "secret/data/foo"),
            ("secret/metadata/", "secret/metadata/"),
            ("secret/data/caf%C3%A9", "secret/data/café"),
            ("secret/data/a%20b;c=d", "secret/data/a b;c=d"),
            ("secret/data/%252e%252e", "secret/data/%2e%2e"),
            ("secret/data/...", "secret/data/..."),
        ] {
            assert_eq!(CanonPath::parse(raw).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_everything_that_could_mean_two_things() {
        for raw in [
            "",
            "/",
            "//",
            "/secret",
            "secret//data",
            "secret/../sys/seal",
            "secret/./x",
            "secret/%2e%2e/sys",
            "secret/%2E/x",
            "secret%2fdata",
            "secret%5Cdata",
            "secret\\data",
            "a%00b",
            "a%0ab",
            "a\u{7f}b",
            "%ff%fe",
            "%c0%ae%c0%ae/x",
            "%",
            "%4",
            "%zz",
            "secret/data/x//",
        ] {
            assert!(CanonPath::parse(raw).is_err(), "{raw:?}");
        }
        assert!(CanonPath::parse(&"a".repeat(MAX_PATH_BYTES + 1)).is_err());
        assert!(CanonPath::parse(&"a/".repeat(MAX_SEGMENTS + 1)).is_err());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_canonical(raw in "\\PC{0,64}") {
            if let Ok(path) = CanonPath::parse(&raw) {
                let again = path.as_str().replace('%', "%25");
                prop_assert_eq!(CanonPath::parse(&again).unwrap(), path);
            }
        }

        #[test]
        fn never_panics(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = CanonPath::parse(&String::from_utf8_lossy(&raw));
        }
    }
}
