//! How engines write their rows: one byte that numbers the format, then compact JSON. An unknown number, an unknown field
//! or broken JSON is an error, never a guess. Must not know what the rows mean.

use conclave_engine_api::{Error, Txn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// First allocation of an encoded row in bytes, so that common rows are written without growing: what a growing buffer
/// leaves behind is not wiped.
const USUAL_BYTES: usize = 1024;

/// Encodes `value` under `format`.
pub(crate) fn encode(format: u8, value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(USUAL_BYTES));
    bytes.push(format);
    serde_json::to_writer(&mut *bytes, value).map_err(|_| Error::internal("a record cannot be encoded"))?;
    Ok(bytes)
}

/// The record in a row, if there is one.
pub(crate) fn load<T: DeserializeOwned>(
    format: u8,
    txn: &mut Txn<'_>,
    path: &str,
) -> Result<Option<T>, Error> {
    let row = txn.get(path)?;
    row.map(|row| decode(format, &row.value)).transpose()
}

/// Decodes what `encode` wrote under the same `format`. The error does not repeat the bytes.
pub(crate) fn decode<T: DeserializeOwned>(format: u8, bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        Some((found, body)) if *found == format => {
            serde_json::from_slice(body).map_err(|_| Error::internal("a stored record cannot be decoded"))
        }
        Some((found, _)) => Err(Error::internal(format!(
            "a stored record has format {found}, this version knows {format}"
        ))),
        None => Err(Error::internal("a stored record is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_format_is_read_back() {
        let bytes = encode(1, &vec!["a"]).unwrap();
        assert_eq!(bytes.as_slice(), b"\x01[\"a\"]");
        assert_eq!(decode::<Vec<String>>(1, &bytes).unwrap(), ["a"]);
        for bad in [
            &b""[..],
            b"\x02[\"a\"]",
            b"\x01",
            b"\x01[\"a\"",
            b"\x01[\"a\"]x",
            b"[\"a\"]",
        ] {
            let error = decode::<Vec<String>>(1, bad).unwrap_err();
            assert!(matches!(error, Error::Internal(_)), "{error}");
            assert!(!error.to_string().contains('a') || !error.to_string().contains("\"a\""));
        }
    }
}
