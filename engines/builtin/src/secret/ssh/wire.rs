//! The encoding of SSH (RFC 4251, section 5): writing and reading numbers, strings and integers of any length. Knows no keys.

use zeroize::Zeroizing;

/// Bytes in the making.
#[derive(Default)]
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A number of four bytes.
    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    /// A number of eight bytes.
    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    /// A string: its length, then its bytes.
    pub(super) fn string(&mut self, bytes: &[u8]) -> &mut Self {
        // What is written here is far below 4 GiB.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .raw(bytes)
    }

    /// A positive integer from its big-endian bytes.
    pub(super) fn integer(&mut self, bytes: &[u8]) -> &mut Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = bytes.get(zeros..).unwrap_or_default();
        if bytes.first().is_none_or(|first| *first < 0x80) {
            return self.string(bytes);
        }
        let mut signed = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
        signed.push(0);
        signed.extend_from_slice(bytes);
        self.string(&signed)
    }

    /// What was written.
    pub(super) fn done(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.0)
    }
}

/// Reads one after the other; `None`: the bytes are not so.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A number of four bytes.
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    /// A string.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A positive integer in its shortest form: its big-endian bytes without leading zeros.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        match self.string()? {
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Some(rest),
            bytes @ [first, ..] if (1..0x80).contains(first) => Some(bytes),
            _ => None,
        }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_the_standard() {
        // RFC 4251, section 5, mpint.
        for (value, wire) in [
            (&[][..], "00000000"),
            (&[0x80], "000000020080"),
            (&[0x09, 0xa3], "0000000209a3"),
            (&[0, 0, 1], "0000000101"),
        ] {
            assert_eq!(hex::encode(&*Writer::default().integer(value).done()), wire);
        }
        for wrong in [
            "00000000",
            "0000000180",
            "000000020001",
            "0000000100",
            "00000002ff",
            "ff",
        ] {
            let bytes = hex::decode(wrong).unwrap();
            assert_eq!(Reader::new(&bytes).integer(), None, "{wrong}");
        }
    }
}
