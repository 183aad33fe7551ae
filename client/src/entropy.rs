//! The clients' one door to randomness: keys that make a repeated write recognisable, and the jitter of pauses. Nothing
//! secret comes from it.

/// Sixteen random bytes in hexadecimal for the `Idempotency-Key` header.
///
/// # Errors
/// The system gives no randomness.
pub fn key() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 16];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// A number from 0 to 255, each as likely as any other; 0 without randomness.
pub fn byte() -> u8 {
    let mut bytes = [0_u8; 1];
    // A pause without jitter is still a pause.
    let _ = fill(&mut bytes);
    let [byte] = bytes;
    byte
}

#[expect(
    clippy::disallowed_methods,
    reason = "this file is the clients' door to randomness"
)]
fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    getrandom::fill(bytes)
}
