//! Password policies: what a generated password is made of, and the making. Pure: it knows no storage and no request.
//! Syntax and words are those of OpenBao 2.7's password policies.

use conclave_engine_api::Env;
use conclave_hcl::{self as hcl, Body, Section};

use crate::error::Error;

/// Shortest and longest password in characters.
const LENGTHS: std::ops::RangeInclusive<i64> = 4..=100;
/// Most characters to choose from: one is chosen by one random byte.
const MAX_CHARSET: usize = 256;
/// Most rules of one policy.
const MAX_RULES: usize = 100;
/// Passwords that are made before the rules are called impossible. Each is as likely as any other that keeps the rules,
/// which building one rule after the other would not give.
const TRIES: u32 = 5_000;

/// What a password looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordPolicy {
    length: usize,
    /// All characters of all rules, each once.
    charset: Vec<char>,
    rules: Vec<Charset>,
}

/// At least so many of these.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Charset {
    characters: Vec<char>,
    at_least: usize,
}

impl PasswordPolicy {
    /// Reads a policy. Errors say what is wrong with it, in the original's words where it has any.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let body = hcl::parse(text).map_err(|error| invalid(&format!("unable to decode: {error}")))?;
        let length = body
            .value("length")
            .and_then(|value| value.map(hcl::Value::int).transpose())
            .map_err(|error| invalid(&format!("failed to decode configuration: {error}")))?
            .unwrap_or(0);
        let sections = body
            .sections("rule", 1)
            .map_err(|error| invalid(&format!("unable to parse rules: {error}")))?;
        if sections.len() > MAX_RULES {
            return Err(invalid(&format!("more than {MAX_RULES} rules")));
        }
        let rules = sections.iter().map(charset).collect::<Result<Vec<_>, _>>()?;
        Self::check(length, rules)
    }

    fn check(length: i64, rules: Vec<Charset>) -> Result<Self, Error> {
        let mut charset: Vec<char> = rules.iter().flat_map(|rule| &rule.characters).copied().collect();
        charset.sort_unstable();
        charset.dedup();
        let needed: usize = rules
            .iter()
            .fold(0, |sum, rule| sum.saturating_add(rule.at_least));
        let mut wrong = Vec::new();
        if length <= 0 {
            wrong.push("length must be > 0".to_owned());
        } else if i64::try_from(needed).unwrap_or(i64::MAX) > length {
            wrong.push(format!(
                "specified rules require at least {needed} characters but {length} is specified"
            ));
        }
        if charset.is_empty() {
            wrong.push("no charset specified".to_owned());
        } else if charset.iter().any(|character| character.is_control()) {
            wrong.push("non-printable character in charset".to_owned());
        } else if charset.len() > MAX_CHARSET {
            wrong.push(format!("more than {MAX_CHARSET} characters to choose from"));
        }
        if !wrong.is_empty() {
            return Err(invalid(&several(&wrong)));
        }
        if !LENGTHS.contains(&length) {
            return Err(Error::listed(format!(
                "passwords must be between {} and {} characters",
                LENGTHS.start(),
                LENGTHS.end()
            )));
        }
        Ok(Self {
            length: usize::try_from(length).unwrap_or_default(),
            charset,
            rules,
        })
    }

    /// A password, each that keeps the rules being as likely as any other.
    pub fn generate(&self, env: &mut Env<'_>) -> Result<zeroize::Zeroizing<String>, Error> {
        // Never moved to a larger buffer, which would leave a copy behind.
        let mut password = zeroize::Zeroizing::new(String::with_capacity(self.length * 4));
        for _ in 0..TRIES {
            password.clear();
            self.fill(&mut password, env);
            if self.rules.iter().all(|rule| rule.holds(&password)) {
                return Ok(password);
            }
        }
        Err(Error::listed(
            "unable to generate password from provided policy: are the rules impossible?",
        ))
    }

    fn fill(&self, password: &mut String, env: &mut Env<'_>) {
        let choices = self.charset.len();
        // The largest multiple of the choices below 256: bytes from there on would favour the first characters.
        let fair = 256 - 256 % choices;
        let mut left = self.length;
        while left > 0 {
            let mut bytes = zeroize::Zeroizing::new([0u8; 64]);
            env.fill(bytes.as_mut_slice());
            let fit = bytes.iter().map(|byte| usize::from(*byte));
            for byte in fit.filter(|byte| *byte < fair).take(left) {
                if let Some(character) = self.charset.get(byte % choices) {
                    password.push(*character);
                    left -= 1;
                }
            }
        }
    }
}

impl Charset {
    fn holds(&self, password: &str) -> bool {
        let found = password
            .chars()
            .filter(|character| self.characters.contains(character));
        found.count() >= self.at_least
    }
}

fn charset(section: &Section<'_>) -> Result<Charset, Error> {
    let kind = section.labels.first().map_or("", |label| label.name.as_str());
    if kind != "charset" {
        return Err(invalid(&format!(
            "unable to parse rules: unable to parse rule {kind}: unrecognized rule type {kind}"
        )));
    }
    let body: &Body = section.body;
    let wrong = |error: hcl::Error| invalid(&format!("unable to parse rules: {error}"));
    let characters = body
        .value("charset")
        .and_then(|value| value.map(hcl::Value::text).transpose())
        .map_err(wrong)?
        .unwrap_or_default();
    let at_least = body
        .value("min-chars")
        .and_then(|value| value.map(hcl::Value::int).transpose())
        .map_err(wrong)?
        .unwrap_or(0);
    Ok(Charset {
        characters: characters.chars().collect(),
        // Less than none is none, as upstream.
        at_least: usize::try_from(at_least).unwrap_or(0),
    })
}

fn invalid(why: &str) -> Error {
    Error::listed(format!("invalid password policy: {why}"))
}

/// As Go's multierror prints several errors.
fn several(wrong: &[String]) -> String {
    let count = match wrong.len() {
        1 => "1 error".to_owned(),
        more => format!("{more} errors"),
    };
    format!("{count} occurred:\n\t* {}\n\n", wrong.join("\n\t* "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    #[test]
    fn passwords_keep_the_rules() {
        let policy = "length = 20\nrule \"charset\" { charset = \"abcdefghij\" min-chars = 1 }\n\
                      rule \"charset\" { charset = \"0123456789\" min-chars = 5 }";
        let policy = PasswordPolicy::parse(policy).unwrap();
        let mut entropy = OsEntropy;
        let mut env = Env::new(0, &mut entropy);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let password = policy.generate(&mut env).unwrap();
            assert_eq!(password.chars().count(), 20);
            assert!(password.chars().filter(char::is_ascii_digit).count() >= 5);
            assert!(password.chars().any(|c| c.is_ascii_lowercase()));
            seen.insert(password.to_string());
        }
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn all_characters_are_as_likely() {
        let policy = PasswordPolicy::parse("length = 100\nrule \"charset\" { charset = \"abc\" }").unwrap();
        let mut entropy = OsEntropy;
        let mut env = Env::new(0, &mut entropy);
        let mut counts = std::collections::BTreeMap::<char, u32>::new();
        for _ in 0..300 {
            for character in policy.generate(&mut env).unwrap().chars() {
                *counts.entry(character).or_default() += 1;
            }
        }
        // 10,000 each, with a standard deviation of 82.
        assert!(
            counts.values().all(|count| (9_400..10_600).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (text, why) in [
            ("zz {", "unable to decode"),
            ("length = 20", "no charset specified"),
            (
                "length = 0",
                "2 errors occurred:\n\t* length must be > 0\n\t* no charset",
            ),
            (
                "length = 3\nrule \"charset\" { charset = \"a\" }",
                "between 4 and 100",
            ),
            (
                "length = 101\nrule \"charset\" { charset = \"a\" }",
                "between 4 and 100",
            ),
            (
                "length = 20\nrule \"zz\" { charset = \"a\" }",
                "unrecognized rule type zz",
            ),
            (
                "length = 20\nrule \"charset\" { charset = \"a\\nb\" }",
                "non-printable",
            ),
            (
                "length = 20\nrule \"charset\" { charset = \"abc\" min-chars = 21 }",
                "require at least 21 characters but 20",
            ),
        ] {
            let error = PasswordPolicy::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        // Each rule can be kept, both cannot: nobody waits for a password that never comes.
        let policy = "length = 100\nrule \"charset\" { charset = \"abcdefghijklmnopqrstuvwxyz\" min-chars = 1 }\n\
                      rule \"charset\" { charset = \"z\" min-chars = 99 }";
        let policy = PasswordPolicy::parse(policy).unwrap();
        let mut entropy = OsEntropy;
        assert!(policy.generate(&mut Env::new(0, &mut entropy)).is_err());
    }
}
