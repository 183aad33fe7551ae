//! Base64 as clients write it and OpenBao reads it: padded, line breaks ignored, stray bits at the end allowed. Errors name
//! the place of the first wrong character, never the text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use conclave_engine_api::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    LENIENT
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Encodes with the standard alphabet and padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Encodes for URLs and JSON Web Signatures: without padding.
pub(super) fn encode_url(bytes: &[u8]) -> String {
    URL.encode(bytes)
}

/// Decodes the standard alphabet.
pub(super) fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    decode_with(&STANDARD, text)
}

/// Decodes what is written for URLs.
pub(super) fn decode_url(text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    decode_with(&URL, text)
}

fn decode_with(engine: &GeneralPurpose, text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let decoded = if text.contains(['\r', '\n']) {
        let joined: Zeroizing<String> = Zeroizing::new(text.replace(['\r', '\n'], ""));
        engine.decode(joined.as_bytes())
    } else {
        engine.decode(text)
    };
    decoded
        .map(Zeroizing::new)
        .map_err(|_| Error::invalid(format!("illegal base64 data at input byte {}", first_wrong(text))))
}

/// Where Go's decoder stops: at the first character that cannot be, or at the start of a last group that is too short.
fn first_wrong(text: &str) -> usize {
    let mut in_group = 0;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if in_group >= 2 => return index + usize::from(in_group == 3),
            b if b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_') => {
                in_group = (in_group + 1) % 4;
            }
            _ => return index,
        }
    }
    text.len() - in_group.min(text.len())
}

/// Bytes that are a key: wiped, never shown, written as base64 into rows.
pub(super) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub(super) fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        decode(&text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("a stored key is no base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_as_go_does_and_says_where_it_stopped() {
        for (text, bytes) in [
            ("", ""),
            ("aGk=", "hi"),
            ("aG\nk=\r\n", "hi"),
            ("aGl=", "hi"),
            ("aGkh", "hi!"),
        ] {
            assert_eq!(decode(text).unwrap().as_slice(), bytes.as_bytes(), "{text:?}");
        }
        for (text, place) in [
            ("zz!", 2),
            ("!!", 0),
            ("aGk", 0),
            ("aGkhaG", 4),
            ("ä", 0),
            ("aG=k", 2),
        ] {
            let error = decode(text).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("illegal base64 data at input byte {place}"),
                "{text:?}"
            );
        }
        assert_eq!(decode_url("aGk").unwrap().as_slice(), b"hi");
        assert!(decode_url("aGk=").is_err());
    }
}
