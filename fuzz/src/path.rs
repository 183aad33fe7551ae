//! The path canonicaliser: total, idempotent, and what comes out can be read one way only.

use conclave_core::canon::CanonPath;

pub fn run(bytes: &[u8]) {
    let raw = String::from_utf8_lossy(bytes);
    let Ok(path) = CanonPath::parse(&raw) else {
        return;
    };
    let text = path.as_str();
    assert!(!text.starts_with('/') && !text.contains("//"), "{text:?}");
    assert!(
        !text.contains('\\') && !text.chars().any(char::is_control),
        "{text:?}"
    );
    assert!(
        text.split('/').all(|segment| segment != "." && segment != ".."),
        "{text:?}"
    );
    // Encoded anew, it is the same path.
    let again = text.replace('%', "%25");
    // Only its length may be against it.
    if again.len() <= raw.len() {
        assert_eq!(CanonPath::parse(&again).expect("a canonical path"), path);
    }
    assert!(path.as_directory().as_str().ends_with('/'));
}
