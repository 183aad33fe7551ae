//! A name suite that seals nothing: the bug that a search for names on disk and between nodes must find. Debug builds
//! with the feature `mutant-plain-names` alone have it.

use crate::{Error, NAME_OVERHEAD, NameSuite, SecretBytes};

/// Names in the clear, of the length that sealed ones have.
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
