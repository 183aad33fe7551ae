//! Passwords of accounts, as Vault makes them without a policy.

use conclave_engine_api::{Env, Hidden};

/// Characters of a password.
const LENGTH: usize = 20;

/// Twenty letters and digits, with at least one lower-case letter, one upper-case letter, one digit and one dash, so that
/// most rules of databases are met.
pub(super) fn make(env: &mut Env<'_>) -> Hidden {
    loop {
        let letters = Hidden::new(env.base62(LENGTH - 1));
        let has = |kind: fn(&char) -> bool| letters.chars().any(|letter| kind(&letter));
        if has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && has(char::is_ascii_digit) {
            // Not at an end: some tools cut there.
            let (head, tail) = letters.split_at(LENGTH / 2);
            return Hidden::new(format!("{head}-{tail}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_engine_api::testkit::SeededEntropy;

    #[test]
    fn passwords_have_one_of_each_and_differ() {
        let mut entropy = SeededEntropy::new(3);
        let mut env = Env::new(0, &mut entropy);
        let (one, two) = (make(&mut env), make(&mut env));
        assert!(one != two && one.len() == LENGTH);
        assert!(
            one.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
    }
}
