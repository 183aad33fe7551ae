//! Password hashes: Argon2id (RFC 9106) in the PHC string form for our own, bcrypt for those that were brought along.
//! Hashing is heavy on purpose: these functions give questions, not answers. Knows no users.

use std::fmt::Write as _;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use conclave_engine_api::{Env, Error, Heavy};
use conclave_mem::Mapped;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Memory in KiB: the first of OWASP's recommended settings, with `PASSES` and `LANES`.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Bytes of a salt.
const SALT_BYTES: usize = 16;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// What our own hashes begin with.
const OWN: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// Costs of bcrypt that are taken; each step doubles the work. 15 takes some seconds.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=15;
/// Longest password in bytes.
pub(super) const MAX_PASSWORD_BYTES: usize = 4096;
/// A hash that no password has been found for: verified for users that do not exist, so that they cost the same.
pub(super) const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIHRoZXJlIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What a computation answers for "yes".
const YES: &[u8] = &[1];

/// The hash of a new password, or the question.
pub(super) fn hash(env: &mut Env<'_>, password: &Zeroizing<String>) -> Result<String, Heavy> {
    let mut salt = [0; SALT_BYTES];
    env.fill(&mut salt);
    let password = password.clone();
    // One request sets one password, whatever salt it began with.
    let hashed = env.compute(Heavy::new("hash", move || {
        let hash = argon2id(password.as_bytes(), &salt).unwrap_or_default();
        Zeroizing::new(hash.into_bytes())
    }))?;
    Ok(String::from_utf8_lossy(hashed).into_owned())
}

/// Whether `password` has this hash, or the question.
pub(super) fn verify(env: &Env<'_>, password: &Zeroizing<String>, hash: &str) -> Result<bool, Heavy> {
    let (password, against) = (password.clone(), Zeroizing::new(hash.to_owned()));
    let answer = env.compute(Heavy::new(format!("verify {hash}"), move || {
        Zeroizing::new(vec![u8::from(matches(password.as_bytes(), &against))])
    }))?;
    Ok(answer == YES)
}

/// Whether a hash is not our own: its owner gets one of ours with the next login.
pub(super) fn is_foreign(hash: &str) -> bool {
    !hash.starts_with(OWN)
}

/// A hash that was brought along.
///
/// # Errors
/// [`Error::Invalid`] for what is no bcrypt hash, or would take minutes.
pub(super) fn check_foreign(hash: &str) -> Result<(), Error> {
    let parts: bcrypt::HashParts = hash
        .parse()
        .map_err(|_| Error::invalid("password_hash is not a valid bcrypt hash"))?;
    if !BCRYPT_COSTS.contains(&parts.get_cost()) {
        return Err(Error::invalid(format!(
            "the cost of a bcrypt hash must be {} to {}",
            BCRYPT_COSTS.start(),
            BCRYPT_COSTS.end()
        )));
    }
    Ok(())
}

fn matches(password: &[u8], hash: &str) -> bool {
    match hash.strip_prefix(OWN) {
        Some(rest) => {
            let salt = rest.split('$').next().unwrap_or_default();
            let salt = BASE64.decode(salt).unwrap_or_default();
            let computed = argon2id(password, &salt).unwrap_or_default();
            computed.as_bytes().ct_eq(hash.as_bytes()).into()
        }
        // The original compares the first 72 bytes, as bcrypt does.
        None => check_foreign(hash).is_ok() && bcrypt::verify(password, hash).unwrap_or(false),
    }
}

/// The PHC string; nothing if the salt cannot be used.
fn argon2id(password: &[u8], salt: &[u8]) -> Option<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).ok()?;
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let memory = Mapped::<Block>::new(params.block_count());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    match memory {
        Ok(memory) => argon2.hash_password_into_with_memory(password, salt, &mut *hash, memory),
        // The system gives no such mapping; the allocator may still have room.
        Err(_) => argon2.hash_password_into(password, salt, &mut *hash),
    }
    .ok()?;
    let mut text = OWN.to_owned();
    // Writing to a text cannot fail.
    let _ = write!(text, "{}${}", BASE64.encode(salt), BASE64.encode(*hash));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_argon2id_as_others_compute_it() {
        // Computed by the reference implementation: `echo -n password | argon2 somesaltSOMESALT -id -t 2 -k 19456 -p 1 -l 32`.
        let hash = argon2id(b"password", b"somesaltSOMESALT").unwrap();
        assert_eq!(hash, REFERENCE);
        assert!(matches(b"password", &hash));
        for wrong in [&b"Password"[..], b"", b"password ", b"password\0"] {
            assert!(!matches(wrong, &hash));
        }
        assert!(OWN.contains(&format!("m={MEMORY_KIB},t={PASSES},p={LANES}")));
    }

    const REFERENCE: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRTT01FU0FMVA$DkdiWnw7T03ffprnn4mlDkd3/sCJ7cwkgD7pdNvv6t8";

    #[test]
    fn nobody_is_as_costly_as_somebody_and_has_no_password() {
        assert!(!is_foreign(NOBODY));
        let salt = NOBODY
            .strip_prefix(OWN)
            .and_then(|rest| rest.split('$').next())
            .unwrap();
        assert_eq!(BASE64.decode(salt).unwrap().len(), SALT_BYTES);
        assert!(!matches(b"", NOBODY) && !matches(b"nobody", NOBODY));
    }

    #[test]
    fn bcrypt_hashes_are_verified_and_bounded() {
        // By `htpasswd -nbBC 4 x password`.
        let hash = bcrypt::hash_with_salt("password", 4, *b"0123456789abcdef").unwrap();
        let hash = hash.format_for_version(bcrypt::Version::TwoY);
        check_foreign(&hash).unwrap();
        assert!(is_foreign(&hash) && matches(b"password", &hash) && !matches(b"other", &hash));
        // A known answer of OpenBSD's implementation.
        let known = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        assert!(matches(b"U*U", known) && !matches(b"U*V", known));
        for wrong in [
            "",
            "nope",
            "$2a$05$short",
            "$2a$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            NOBODY,
        ] {
            assert!(check_foreign(wrong).is_err(), "{wrong}");
            assert!(!matches(b"x", wrong));
        }
    }
}
