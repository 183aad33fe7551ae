//! Reading of fixed-layout binary formats, total on any input. It knows no format.

use crate::Error;

/// A cursor that takes big-endian fields off the front of `bytes`, and answers [`Error::Truncated`] naming
/// `what` when they run out.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, what }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (head, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(Error::Truncated { what: self.what })?;
        self.bytes = rest;
        Ok(head)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or(Error::Truncated { what: self.what })?;
        self.bytes = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|&[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// The format number in front of every stored format.
    pub(crate) fn format(&mut self, known: u8) -> Result<(), Error> {
        match self.u8()? {
            format if format == known => Ok(()),
            format => Err(Error::UnknownFormat {
                what: self.what,
                format,
            }),
        }
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Error::TrailingBytes { what: self.what })
        }
    }
}
