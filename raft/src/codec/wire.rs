//! Reading and writing the primitive fields of our binary formats. Total: any input gives a value or an error.
//! This file must not know what the fields mean.

use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::Error;

/// Reads fields from the front of a buffer; byte strings share the buffer.
pub(crate) struct Reader {
    rest: Bytes,
    what: &'static str,
}

impl Reader {
    /// `what` names the record in errors.
    pub fn new(bytes: &Bytes, what: &'static str) -> Self {
        Self {
            rest: bytes.clone(),
            what,
        }
    }

    /// The leading format number, which must be the one given.
    pub fn format(&mut self, known: u16) -> Result<(), Error> {
        self.formats(known..=known).map(drop)
    }

    /// A format number of several; which it is.
    pub fn formats(&mut self, known: RangeInclusive<u16>) -> Result<u16, Error> {
        let format = self.u16()?;
        if known.contains(&format) {
            Ok(format)
        } else {
            Err(Error::UnknownFormat {
                what: self.what,
                format: u32::from(format),
            })
        }
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.rest.try_get_u8().map_err(|_| self.short())
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        self.rest.try_get_u16().map_err(|_| self.short())
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.rest.try_get_u32().map_err(|_| self.short())
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        self.rest.try_get_u64().map_err(|_| self.short())
    }

    pub fn i64(&mut self) -> Result<i64, Error> {
        self.rest.try_get_i64().map_err(|_| self.short())
    }

    /// Only 0 and 1 are booleans, so that every value has one encoding.
    pub fn bool(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt(format!("{other} is not a boolean"))),
        }
    }

    /// A fixed number of bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        self.rest.try_copy_to_slice(&mut out).map_err(|_| self.short())?;
        Ok(out)
    }

    /// A byte string with a u16 length of at most `max`.
    pub fn short_bytes(&mut self, max: usize) -> Result<Bytes, Error> {
        let length = usize::from(self.u16()?);
        self.take(length, max)
    }

    /// A byte string with a u32 length of at most `max`.
    pub fn long_bytes(&mut self, max: usize) -> Result<Bytes, Error> {
        let length = self.count(max)?;
        self.take(length, max)
    }

    /// UTF-8 text with a u16 length of at most `max`.
    pub fn text(&mut self, max: usize) -> Result<String, Error> {
        let bytes = self.short_bytes(max)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.corrupt("text is not UTF-8".to_owned())),
        }
    }

    /// A u32 that counts something there are at most `max` of.
    pub fn count(&mut self, max: usize) -> Result<usize, Error> {
        let count = self.u32()?;
        match usize::try_from(count) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(self.corrupt(format!("a length of {count} is above {max}"))),
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub fn remaining(self) -> Bytes {
        self.rest
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.corrupt(format!("{left} bytes too many"))),
        }
    }

    /// An error about this record.
    pub fn corrupt(&self, detail: String) -> Error {
        Error::Corrupt {
            what: self.what,
            detail,
        }
    }

    fn take(&mut self, length: usize, max: usize) -> Result<Bytes, Error> {
        if length > max {
            return Err(self.corrupt(format!("a length of {length} is above {max}")));
        }
        if length > self.rest.len() {
            return Err(self.short());
        }
        Ok(self.rest.split_to(length))
    }

    fn short(&self) -> Error {
        self.corrupt("it ends early".to_owned())
    }
}

/// Writes a byte string with a u16 length. The caller has checked that it fits.
pub(crate) fn put_short_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<(), Error> {
    let length = u16::try_from(bytes.len()).map_err(|_| Error::Limit("a key or text above 64 KiB"))?;
    out.put_u16(length);
    out.put_slice(bytes);
    Ok(())
}

/// Writes a byte string with a u32 length.
pub(crate) fn put_long_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<(), Error> {
    put_count(out, bytes.len())?;
    out.put_slice(bytes);
    Ok(())
}

/// Writes a count as u32.
pub(crate) fn put_count(out: &mut BytesMut, count: usize) -> Result<(), Error> {
    out.put_u32(u32::try_from(count).map_err(|_| Error::Limit("a length above 4 GiB"))?);
    Ok(())
}
