//! Shares that anyone may send: combined into something or refused, never in between. And a seal's configuration.

use conclave_barrier::{SealConfig, SecretBytes, shamir};

/// `threshold | length of a share | shares one after the other`; the whole also as a configuration.
pub fn run(bytes: &[u8]) {
    if let Ok(config) = SealConfig::decode(bytes) {
        assert!(usize::from(config.threshold()) <= config.shares());
        assert!(config.check_share(&[0; 33]).is_err(), "zeros are a share");
    }
    let &[threshold, length, ref shares @ ..] = bytes else {
        return;
    };
    let shares: Vec<SecretBytes> = shares
        .chunks(usize::from(length).max(1))
        .map(SecretBytes::copy_of)
        .collect();
    let Ok(secret) = shamir::combine(&shares, threshold) else {
        return;
    };
    assert!(shares.len() >= usize::from(threshold));
    // In any order the same.
    let reversed: Vec<SecretBytes> = shares.iter().rev().cloned().collect();
    let again = shamir::combine(&reversed, threshold).expect("the same shares");
    assert_eq!(again.expose(), secret.expose());
}
