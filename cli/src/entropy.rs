//! The tool's one door to randomness: one-time passwords for root tokens, keys that wrap others on their way.

/// Random letters and digits, each as likely as any other.
///
/// # Errors
/// The system gives no randomness.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the tool's door to randomness"
)]
pub fn base62(length: usize) -> Result<String, String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut out = String::new();
    let mut bytes = [0_u8; 64];
    while out.len() < length {
        getrandom::fill(&mut bytes).map_err(|e| format!("no randomness from the system: {e}"))?;
        // 248 is the largest multiple of 62 in a byte: bytes above it would favour some letters.
        let letters = bytes
            .iter()
            .filter(|b| **b < 248)
            .filter_map(|b| LETTERS.get(usize::from(b % 62)));
        out.extend(letters.map(|b| char::from(*b)).take(length - out.len()));
    }
    Ok(out)
}

/// A key of 256 bits.
///
/// # Errors
/// The system gives no randomness.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the tool's door to randomness"
)]
pub fn key() -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| format!("no randomness from the system: {e}"))?;
    Ok(key)
}
