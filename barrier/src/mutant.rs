//! Bugs that a build with the feature `mutants` has on purpose, one at a time, to prove that a test notices them. In every
//! other build there is none, and no release can hold one.

use crate::{Error, NAME_OVERHEAD, NameSuite, SecretBytes};

/// Whether this process has the bug of this name.
#[cfg(feature = "mutants")]
pub fn is(name: &str) -> bool {
    static ACTIVE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ACTIVE.get_or_init(|| std::env::var("CONCLAVE_MUTANT").unwrap_or_default()) == name
}

/// Whether this process has the bug of this name: never.
#[cfg(not(feature = "mutants"))]
pub const fn is(_name: &str) -> bool {
    false
}

/// Names in the clear, of the length that sealed ones have: what a search on disk and between nodes must find.
pub struct PlainNames;

impl NameSuite for PlainNames {
    fn seal(&self, _parent: &[u8], segment: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = vec![0; NAME_OVERHEAD];
        plain.extend_from_slice(segment);
        Ok(plain)
    }

    fn open(&self, _parent: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
        let plain = sealed.get(NAME_OVERHEAD..);
        let plain = plain.ok_or(Error::Truncated { what: "plain name" })?;
        Ok(SecretBytes::new(plain.to_vec()))
    }
}
