//! Numbers and texts as bytes, big-endian, for summaries and saved states. A reader refuses what is cut off or too long.

use crate::error::Error;

/// Longest text in bytes; longer ones are cut at a letter.
pub const MAX_TEXT_BYTES: usize = 256;

/// Writes.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub fn u16(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn f32(&mut self, number: f32) {
        self.u32(number.to_bits());
    }

    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub fn text(&mut self, text: &str) {
        let text = cut(text);
        self.u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// The beginning of a text that is not too long.
pub fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Reads.
pub struct Reader<'b>(pub &'b [u8]);

impl<'b> Reader<'b> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Damaged("cut off"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// A number that is finite and not negative: all that is saved is.
    pub fn f32(&mut self) -> Result<f32, Error> {
        let number = f32::from_bits(self.u32()?);
        match number.is_finite() && number >= 0.0 {
            true => Ok(number),
            false => Err(Error::Damaged("a number that is none")),
        }
    }

    /// How many things follow, no more than `most`.
    pub fn count(&mut self, most: usize) -> Result<usize, Error> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        match count <= most {
            true => Ok(count),
            false => Err(Error::Damaged("too many")),
        }
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'b [u8], Error> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Error::Damaged("cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    pub fn text(&mut self) -> Result<String, Error> {
        let length = usize::from(self.u16()?);
        if length > MAX_TEXT_BYTES {
            return Err(Error::Damaged("a long text"));
        }
        let text = std::str::from_utf8(self.bytes(length)?);
        Ok(text.map_err(|_| Error::Damaged("no text"))?.to_owned())
    }

    pub fn end(self) -> Result<(), Error> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Error::Damaged("more than there should be")),
        }
    }
}
