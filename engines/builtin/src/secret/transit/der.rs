//! As much of DER (X.690) as keys and signatures need: writing elements, reading positive integers and nested elements,
//! and the PEM around them (RFC 7468).

use zeroize::Zeroizing;

use super::text;

/// `[0]`, constructed.
pub(in crate::secret) const CONTEXT_0: u8 = 0xa0;
pub(in crate::secret) const SEQUENCE: u8 = 0x30;
pub(in crate::secret) const INTEGER: u8 = 0x02;
pub(in crate::secret) const BIT_STRING: u8 = 0x03;
pub(in crate::secret) const OCTET_STRING: u8 = 0x04;
pub(in crate::secret) const NULL: u8 = 0x05;
pub(in crate::secret) const OID: u8 = 0x06;

/// Columns of a PEM body.
const PEM_COLUMNS: usize = 64;

/// One element: tag, length, and `parts` as its content.
pub(in crate::secret) fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 4));
    out.push(tag);
    // Keys and requests for certificates are below 64 KiB.
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        Ok(byte) => out.extend_from_slice(&[0x81, byte]),
        Err(_) => {
            out.push(0x82);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A positive integer from its big-endian bytes.
pub(in crate::secret) fn integer(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if bytes.first().is_none_or(|first| *first >= 0x80) {
        &[0]
    } else {
        &[]
    };
    element(INTEGER, &[sign, bytes])
}

/// Reads elements one after the other.
pub(in crate::secret) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from `bytes`.
    pub(in crate::secret) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the next element if it has this tag and its length is written as short as can be.
    pub(in crate::secret) fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (length, rest) = rest.split_first()?;
                (usize::from(*length), rest)
            }
            0x82 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            _ => return None,
        };
        let shortest = match first {
            0x81 => length >= 0x80,
            0x82 => length >= 0x100,
            _ => true,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (found == tag && shortest).then_some(content)
    }

    /// The next element as it stands, tag and length included, if `next` would read it.
    pub(in crate::secret) fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let from = self.0;
        self.next(tag)?;
        from.get(..from.len().checked_sub(self.0.len())?)
    }

    /// The next element as a positive integer: its big-endian bytes without leading zeros.
    pub(in crate::secret) fn positive(&mut self) -> Option<&'a [u8]> {
        let content = self.next(INTEGER)?;
        match content {
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Some(rest),
            [first, ..] if (1..0x80).contains(first) => Some(content),
            _ => None,
        }
    }

    /// Whether everything is read.
    pub(in crate::secret) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The PEM text of `der`, with a line break at its end.
pub(in crate::secret) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(text::encode(der));
    let mut out = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(PEM_COLUMNS).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// Label and bytes of the first PEM text.
pub(in crate::secret) fn of_pem(pem: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let (label, bytes, _) = next_pem(pem)?;
    Some((label, bytes))
}

/// The same, and what follows it.
pub(in crate::secret) fn next_pem(pem: &str) -> Option<(&str, Zeroizing<Vec<u8>>, &str)> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, rest) = rest.split_once("-----END ")?;
    let rest = rest.strip_prefix(label)?.strip_prefix("-----")?;
    let letters = body.chars().filter(|letter| !letter.is_ascii_whitespace());
    let body: Zeroizing<String> = Zeroizing::new(letters.collect());
    Some((label, text::decode(&body).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_positive_integers_in_their_shortest_form_are_read() {
        for (bytes, value) in [
            (&[2, 1, 5][..], Some(&[5][..])),
            (&[2, 2, 0, 0x80], Some(&[0x80])),
            (&[2, 2, 0, 5], None),
            (&[2, 1, 0x80], None),
            (&[2, 1, 0], None),
            (&[2, 0], None),
            (&[2, 0x81, 1, 5], None),
            (&[2, 3, 5], None),
            (&[4, 1, 5], None),
            (&[2], None),
            (&[], None),
        ] {
            assert_eq!(Reader::new(bytes).positive(), value, "{bytes:?}");
        }
    }

    #[test]
    fn texts_in_pem_are_read_one_after_the_other() {
        let both = [pem("A", b"first").as_str(), pem("B", b"second").as_str()].concat();
        let (label, bytes, rest) = next_pem(&both).unwrap();
        assert_eq!((label, bytes.as_slice()), ("A", &b"first"[..]));
        let (label, bytes, rest) = next_pem(rest).unwrap();
        assert_eq!((label, bytes.as_slice(), rest), ("B", &b"second"[..], "\n"));
        for broken in [
            "",
            "-----BEGIN A-----",
            "-----BEGIN A-----\naGk=\n-----END B-----",
        ] {
            assert!(next_pem(broken).is_none(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 1..700)) {
            let written = element(SEQUENCE, &[&element(OCTET_STRING, &[&bytes]), &integer(&bytes)]);
            let mut reader = Reader::new(&written);
            let mut inner = Reader::new(reader.next(SEQUENCE).unwrap());
            prop_assert!(reader.is_empty());
            prop_assert_eq!(inner.next(OCTET_STRING).unwrap(), &bytes);
            prop_assert_eq!(Reader::new(&written).whole(SEQUENCE).unwrap(), written.as_slice());
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            prop_assert_eq!(inner.positive(), Some(&bytes[zeros..]).filter(|rest| !rest.is_empty()));
            prop_assert!(inner.is_empty());
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while reader.next(SEQUENCE).is_some() {}
        }
    }
}
