//! The clear header in front of every sealed value. It holds no key and opens nothing.

use crate::codec::Reader;
use crate::{Error, aead};

const WHAT: &str = "envelope";
const FORMAT: u8 = 1;
/// XChaCha20-Poly1305 values with AES-SIV names.
pub(crate) const SUITE: u8 = 1;
/// `format u8 | suite u8 | ring u16 | term u32`, big-endian.
const HEADER_LEN: usize = 8;

/// A sealed value taken apart: `format u8 | suite u8 | ring u16 | term u32 | nonce 24 | ciphertext | tag 16`,
/// big-endian. Nothing in it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    ring: u16,
    term: u32,
    body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// How much longer an envelope is than its plaintext, in bytes.
    pub const OVERHEAD: usize = HEADER_LEN + aead::OVERHEAD;

    /// Takes an envelope apart. Total: any input gives an envelope or an error.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::UnknownFormat`] or [`Error::UnknownSuite`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.format(FORMAT)?;
        match reader.u8()? {
            SUITE => {}
            suite => return Err(Error::UnknownSuite { what: WHAT, suite }),
        }
        let ring = reader.u16()?;
        let term = reader.u32()?;
        let body = reader.rest();
        if body.len() < aead::OVERHEAD {
            return Err(Error::Truncated { what: WHAT });
        }
        Ok(Self { ring, term, body })
    }

    /// The term of the data key that sealed `bytes`.
    ///
    /// # Errors
    /// As [`Envelope::parse`].
    pub fn term_of(bytes: &[u8]) -> Result<u32, Error> {
        Envelope::parse(bytes).map(|envelope| envelope.term)
    }

    /// The ring whose key sealed this.
    #[must_use]
    pub fn ring(&self) -> u16 {
        self.ring
    }

    /// The term of the key that sealed this.
    #[must_use]
    pub fn term(&self) -> u32 {
        self.term
    }

    /// Length of the plaintext in bytes.
    #[must_use]
    pub fn plaintext_len(&self) -> usize {
        self.body.len() - aead::OVERHEAD
    }

    pub(crate) fn header(&self) -> [u8; HEADER_LEN] {
        header(self.ring, self.term)
    }

    /// `nonce | ciphertext | tag`.
    pub(crate) fn body(&self) -> &'a [u8] {
        self.body
    }
}

pub(crate) fn header(ring: u16, term: u32) -> [u8; HEADER_LEN] {
    let [r0, r1] = ring.to_be_bytes();
    let [t0, t1, t2, t3] = term.to_be_bytes();
    [FORMAT, SUITE, r0, r1, t0, t1, t2, t3]
}
