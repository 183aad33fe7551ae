//! Codes that hold for a short time (RFC 6238): the secret that a device shares with the cluster, and which period a code is
//! of. It must not know whose secret it is, nor whether a code was used before.

use serde::{Deserialize, Serialize};
use totp_rs::{Builder, Totp};
use zeroize::{Zeroize, Zeroizing};

use conclave_engine_api::{Env, Millis};

use crate::error::Error;
use crate::identity::mfa::record::Method;

/// What makes codes of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// What every device knows.
    #[serde(rename = "SHA1")]
    Sha1,
    /// Known to some.
    #[serde(rename = "SHA256")]
    Sha256,
    /// Known to some.
    #[serde(rename = "SHA512")]
    Sha512,
}

impl Algorithm {
    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "SHA1" => Some(Self::Sha1),
            "SHA256" => Some(Self::Sha256),
            "SHA512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

/// A secret as stored, with what its device was told: a method that changes later leaves enrolled devices as they are.
#[derive(Serialize, Deserialize)]
pub struct Secret {
    /// Hexadecimal.
    key: String,
    algorithm: Algorithm,
    digits: u8,
    period: u64,
    skew: u8,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Secret {
    /// A new one for a device of this method.
    pub fn draw(method: &Method, env: &mut Env<'_>) -> Self {
        let mut key = Zeroizing::new(vec![0; method.key_size]);
        env.fill(&mut key);
        Self {
            key: hex::encode(&*key),
            algorithm: method.algorithm,
            digits: method.digits,
            period: method.period,
            skew: method.skew,
        }
    }

    /// What a device is told, as the key URI format of authenticators has it.
    ///
    /// # Errors
    /// The stored secret is damaged.
    pub fn url(&self, issuer: &str, account: &str) -> Result<Zeroizing<String>, Error> {
        let issuer = escaped(issuer);
        let secret = Zeroizing::new(self.totp()?.secret().to_base32());
        Ok(Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{}?algorithm={}&digits={}&issuer={issuer}&period={}&secret={}",
            escaped(account),
            self.algorithm.name(),
            self.digits,
            self.period,
            *secret,
        )))
    }

    /// The period that `code` is of, if it holds at `now`; compared in constant time. Spaces do not count: devices show them.
    ///
    /// # Errors
    /// The stored secret is damaged.
    pub fn step(&self, code: &str, now: Millis) -> Result<Option<u64>, Error> {
        let code: Zeroizing<String> = Zeroizing::new(code.chars().filter(|c| !c.is_whitespace()).collect());
        if code.len() != usize::from(self.digits) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(None);
        }
        Ok(self.totp()?.check(&code, now / 1000))
    }

    /// When no code of the period `step` holds any more.
    pub fn end_of(&self, step: u64) -> Millis {
        let end = step.saturating_add(u64::from(self.skew)).saturating_add(1);
        end.saturating_mul(self.period).saturating_mul(1000)
    }

    /// How long a code holds, in milliseconds.
    pub fn period(&self) -> Millis {
        self.period.saturating_mul(1000)
    }

    fn totp(&self) -> Result<Totp, Error> {
        let damaged = || Error::internal("the secret of a second factor is damaged");
        let key = Zeroizing::new(hex::decode(&self.key).map_err(|_| damaged())?);
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
            Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
            Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
        };
        Builder::new()
            .with_algorithm(algorithm)
            .with_digits(self.digits)
            .with_skew(u16::from(self.skew))
            .with_step_duration(self.period)
            .with_secret(key.to_vec())
            .build()
            .map_err(|_| damaged())
    }
}

/// As a part of a URL: everything but what needs no escape (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: &[u8], algorithm: Algorithm, digits: u8, skew: u8) -> Secret {
        Secret {
            key: hex::encode(key),
            algorithm,
            digits,
            period: 30,
            skew,
        }
    }

    /// RFC 6238, appendix B.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let keys = [
            (Algorithm::Sha1, "12345678901234567890"),
            (Algorithm::Sha256, "12345678901234567890123456789012"),
            (
                Algorithm::Sha512,
                "1234567890123456789012345678901234567890123456789012345678901234",
            ),
        ];
        for (at, codes) in [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ] {
            for ((algorithm, key), code) in keys.iter().zip(codes) {
                let secret = secret(key.as_bytes(), *algorithm, 8, 0);
                assert_eq!(
                    secret.step(code, at * 1000).unwrap(),
                    Some(at / 30),
                    "{at} {code}"
                );
            }
        }
    }

    #[test]
    fn a_code_holds_for_its_period_and_those_beside_it() {
        let code = "94287082";
        let of = |skew| secret(b"12345678901234567890", Algorithm::Sha1, 8, skew);
        for (skew, at, wanted) in [
            (0, 29, None),
            (0, 30, Some(1)),
            (0, 60, None),
            (1, 0, Some(1)),
            (1, 89, Some(1)),
            (1, 90, None),
        ] {
            assert_eq!(of(skew).step(code, at * 1000).unwrap(), wanted, "{skew} {at}");
        }
        assert_eq!((of(0).end_of(1), of(1).end_of(1)), (60_000, 90_000));
        for spelled in ["9428 7082", " 94287082", "94287082\n"] {
            assert_eq!(of(0).step(spelled, 59_000).unwrap(), Some(1), "{spelled:?}");
        }
        for wrong in ["", "9428708", "942870820", "9428708x", "९४२८७०८२"] {
            assert_eq!(of(0).step(wrong, 59_000).unwrap(), None, "{wrong:?}");
        }
    }

    #[test]
    fn devices_are_told_all_they_need() {
        let url = secret(b"12345678901234567890", Algorithm::Sha256, 6, 1).url("a b/é", "1-2");
        assert_eq!(
            *url.unwrap(),
            "otpauth://totp/a%20b%2F%C3%A9:1-2?algorithm=SHA256&digits=6&issuer=a%20b%2F%C3%A9&period=30&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        );
    }
}
