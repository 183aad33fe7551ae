//! The client's one door to randomness: keys that make a repeated write recognisable. Nothing secret comes from it.

use super::Error;

/// Sixteen random bytes in hexadecimal for the `Idempotency-Key` header.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the client's door to randomness"
)]
pub(super) fn key() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::Config(format!("no randomness from the system: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
