//! How a text that is wiped from memory gets into a row and out of it: `#[serde(with = "crate::wiped")]`. Wiping types have
//! no encoding of their own, so that none is written where nobody meant it.

use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroizing;

/// Writes the text.
pub(crate) fn serialize<S: Serializer>(text: &Zeroizing<String>, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(text)
}

/// Reads a text.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}
