//! The only door for time and randomness. Engines must not know where either comes from: tests pass a fixed clock
//! and a seeded source.

use std::fmt::Write as _;

use crate::effect::Hidden;
use crate::error::Error;
use crate::heavy::{Answers, Heavy};

/// Milliseconds since the Unix epoch, on the cluster's clock.
pub type Millis = u64;

/// A source of unpredictable bytes.
pub trait Entropy: Send {
    /// Fills `out` completely.
    fn fill(&mut self, out: &mut [u8]);
}

/// Where arithmetic that takes milliseconds is done, so that it holds up nobody who only waits.
pub trait Workshop: Sync {
    /// Does `work` before it returns.
    fn run(&self, work: &mut dyn FnMut());
}

/// Makes passwords as the policies of a namespace say.
pub trait Passwords: Sync {
    /// One by the policy of this name.
    ///
    /// # Errors
    /// There is no such policy, or nothing comes of it.
    fn generate(&self, policy: &str, entropy: &mut dyn Entropy) -> Result<Hidden, Error>;
}

/// Time and randomness for one request, and a place for heavy work.
pub struct Env<'a> {
    now: Millis,
    entropy: &'a mut dyn Entropy,
    workshop: Option<&'a dyn Workshop>,
    computed: Option<&'a Answers>,
    passwords: Option<&'a dyn Passwords>,
}

impl<'a> Env<'a> {
    /// An environment whose clock stands at `now`.
    pub fn new(now: Millis, entropy: &'a mut dyn Entropy) -> Self {
        Self {
            now,
            entropy,
            workshop: None,
            computed: None,
            passwords: None,
        }
    }

    /// The same environment with a place for heavy work; without one, heavy work is done on the spot.
    #[must_use]
    pub fn with_workshop(self, workshop: &'a dyn Workshop) -> Self {
        Self {
            workshop: Some(workshop),
            ..self
        }
    }

    /// Does arithmetic that takes milliseconds (RSA, password hashes) and gives what came of it.
    ///
    /// # Errors
    /// [`Error::Internal`] if the workshop did not do it.
    pub fn heavy<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        let Some(workshop) = self.workshop else {
            return Ok(work());
        };
        let (mut work, mut done) = (Some(work), None);
        workshop.run(&mut || done = work.take().map(|work| work()));
        done.ok_or_else(|| Error::internal("heavy work was not done"))
    }

    /// The same environment with what was computed for the request so far.
    #[must_use]
    pub fn knowing(self, computed: &'a Answers) -> Self {
        Self {
            computed: Some(computed),
            ..self
        }
    }

    /// The same environment with the password policies of the namespace.
    #[must_use]
    pub fn with_passwords(self, passwords: &'a dyn Passwords) -> Self {
        Self {
            passwords: Some(passwords),
            ..self
        }
    }

    /// A password by a policy of the namespace.
    ///
    /// # Errors
    /// There is no such policy, nothing comes of it, or policies are not known here.
    pub fn password(&mut self, policy: &str) -> Result<Hidden, Error> {
        let passwords = self
            .passwords
            .ok_or_else(|| Error::internal("password policies are not known here"))?;
        passwords.generate(policy, self.entropy)
    }

    /// The answer to a question that takes so long that others queue up behind it (hashing a password), or the question
    /// back: the engine then returns it as `Outcome::Heavy`, lets go of its view, and is asked again.
    pub fn compute(&self, heavy: Heavy) -> Result<&'a [u8], Heavy> {
        match self.computed.and_then(|computed| computed.get(&heavy.name)) {
            Some(answer) => Ok(answer.as_slice()),
            None => Err(heavy),
        }
    }

    /// The cluster's time. It does not move during a request.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Fills `out` with unpredictable bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.entropy.fill(out);
    }

    /// A random (version 4) UUID in its usual text form (RFC 9562).
    pub fn uuid(&mut self) -> String {
        let mut bytes = [0u8; 16];
        self.fill(&mut bytes);
        let bits = (u128::from_be_bytes(bytes) & !(0xf000_u128 << 64) & !(0xc000_u128 << 48))
            | (0x4000_u128 << 64)
            | (0x8000_u128 << 48);
        let hex = format!("{bits:032x}");
        let mut text = String::with_capacity(36);
        for (index, digit) in hex.chars().enumerate() {
            if matches!(index, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        text
    }

    /// `length` characters of `[A-Za-z0-9]`, each uniform: the alphabet of Vault's tokens and accessors.
    pub fn base62(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut text = String::with_capacity(length);
        let mut buffer = [0u8; 32];
        while text.len() < length {
            self.fill(&mut buffer);
            // 248 is the greatest multiple of 62 below 256: values above it would favour the first letters.
            let fair = buffer.iter().filter(|byte| **byte < 248);
            for byte in fair.take(length - text.len()) {
                if let Some(letter) = ALPHABET.get(usize::from(*byte % 62)) {
                    text.push(char::from(*letter));
                }
            }
        }
        text
    }

    /// `bytes` random bytes as lower-case hexadecimal.
    pub fn hex(&mut self, bytes: usize) -> String {
        let mut buffer = vec![0u8; bytes];
        self.fill(&mut buffer);
        let mut text = String::with_capacity(bytes * 2);
        for byte in buffer {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::SeededEntropy;

    #[test]
    fn uuids_have_version_and_variant() {
        let mut entropy = SeededEntropy::new(7);
        let mut env = Env::new(0, &mut entropy);
        for _ in 0..64 {
            let uuid = env.uuid();
            assert_eq!(uuid.len(), 36);
            assert_eq!(uuid.as_bytes()[14], b'4');
            assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        }
    }

    #[test]
    fn base62_uses_every_letter_about_equally() {
        let mut entropy = SeededEntropy::new(1);
        let text = Env::new(0, &mut entropy).base62(62_000);
        assert_eq!(text.len(), 62_000);
        for letter in ('0'..='9').chain('A'..='Z').chain('a'..='z') {
            let count = text.chars().filter(|c| *c == letter).count();
            assert!((800..1200).contains(&count), "{letter}: {count}");
        }
    }
}
