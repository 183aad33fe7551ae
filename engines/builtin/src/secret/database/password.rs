//! Passwords of accounts: by the connection's policy, or as Vault makes them without one; and what a database is told of one.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_engine_api::{Driver, Env, Error, Hidden};
use zeroize::Zeroizing;

use super::connection::Connection;
use super::kind;

/// Characters of a password.
const LENGTH: usize = 20;
/// What PostgreSQL does with a password itself: rounds of hashing, and bytes of salt.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);
const SALT: usize = 16;

/// A password for an account, by a policy of its own, or the connection's if that is empty.
pub(super) fn make(connection: &Connection, own: &str, env: &mut Env<'_>) -> Result<Hidden, Error> {
    match [own, &connection.password_policy]
        .into_iter()
        .find(|policy| !policy.is_empty())
    {
        None => Ok(usual(env)),
        Some(policy) => env.password(policy),
    }
}

/// What the database is told in place of a password, if it is not the password.
pub(super) fn told(connection: &Connection, password: &str, env: &mut Env<'_>) -> Result<Hidden, Error> {
    if !connection.scram {
        return Ok(Hidden::new(password.to_owned()));
    }
    if kind::driver(&connection.plugin_name)? != Driver::Postgresql {
        return Err(Error::invalid("password_authentication is for PostgreSQL"));
    }
    if !password.is_ascii() {
        return Err(Error::invalid(
            "the password has letters that SCRAM would prepare first, which is unsupported: the policy must leave them out",
        ));
    }
    let mut salt = [0; SALT];
    env.fill(&mut salt);
    env.heavy(|| verifier(password, &salt))
}

/// What PostgreSQL stores of a password (RFC 5803): who reads it cannot log in with it.
fn verifier(password: &str, salt: &[u8]) -> Hidden {
    let mut salted = Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ROUNDS,
        salt,
        password.as_bytes(),
        &mut *salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    Hidden::new(format!(
        "SCRAM-SHA-256${ROUNDS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    ))
}

/// Twenty letters and digits, with at least one lower-case letter, one upper-case letter, one digit and one dash, so that
/// most rules of databases are met.
fn usual(env: &mut Env<'_>) -> Hidden {
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
    use conclave_engine_api::Entropy;
    use conclave_engine_api::testkit::SeededEntropy;

    struct Dashes;

    impl conclave_engine_api::Passwords for Dashes {
        fn generate(&self, policy: &str, _: &mut dyn Entropy) -> Result<Hidden, Error> {
            Ok(Hidden::new(policy.replace('x', "-")))
        }
    }

    #[test]
    fn passwords_have_one_of_each_and_differ() {
        let mut entropy = SeededEntropy::new(3);
        let mut env = Env::new(0, &mut entropy);
        let connection = Connection::default();
        let (one, two) = (
            make(&connection, "", &mut env).unwrap(),
            make(&connection, "", &mut env).unwrap(),
        );
        assert!(one != two && one.len() == LENGTH);
        assert!(
            one.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
    }

    #[test]
    fn a_policy_makes_them_if_there_is_one() {
        let mut entropy = SeededEntropy::new(3);
        let connection = Connection {
            password_policy: "axb".to_owned(),
            ..Connection::default()
        };
        let mut env = Env::new(0, &mut entropy).with_passwords(&Dashes);
        assert_eq!(make(&connection, "", &mut env).unwrap().as_str(), "a-b");
        assert_eq!(make(&connection, "xx", &mut env).unwrap().as_str(), "--");
        let mut env = Env::new(0, &mut entropy);
        assert!(make(&connection, "", &mut env).is_err());
    }

    #[test]
    fn postgresql_knows_the_verifier() {
        // RFC 7677, section 3: the user `user` with the password `pencil`.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(
            verifier("pencil", &salt).as_str(),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
