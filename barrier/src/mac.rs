//! HMAC-SHA256 (RFC 2104) with its key block worked in once. It knows not what it authenticates.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Key32};

#[derive(Clone)]
pub(crate) struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub(crate) fn new(key: &Key32) -> Result<Self, Error> {
        Self::from_slice(key.expose())
    }

    pub(crate) fn from_slice(key: &[u8]) -> Result<Self, Error> {
        Hmac::new_from_slice(key).map(Self).map_err(|_| Error::Primitive {
            primitive: "HMAC-SHA256",
        })
    }

    /// The MAC of the concatenation of `parts`. Parts of variable length need their lengths among them.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
