//! Each secret is one linearizable object, through all layers: a version has one writer, nobody sees an older version than
//! was certain when it asked, and nothing acknowledged is gone. Versions are the witness, as revisions are below.

use std::collections::BTreeMap;

#[derive(Default)]
pub struct Secrets {
    secrets: BTreeMap<u64, Secret>,
}

#[derive(Default)]
struct Secret {
    newest: u64,
    /// By version: the operation that wrote it.
    writers: BTreeMap<u64, u64>,
}

impl Secrets {
    /// The newest version that is certain.
    pub fn newest(&self, secret: u64) -> u64 {
        self.secrets.get(&secret).map_or(0, |secret| secret.newest)
    }

    /// All secrets that were certainly written.
    pub fn all(&self) -> Vec<u64> {
        self.secrets.keys().copied().collect()
    }

    /// Operation `writer` was told that it wrote `version`; `before` was certain when it began.
    pub fn wrote(&mut self, secret: u64, before: u64, version: u64, writer: u64) -> Result<(), String> {
        if version <= before {
            return Err(format!(
                "secrets: operation {writer} wrote version {version} of secret {secret}, where {before} was before it began"
            ));
        }
        self.note(secret, version, writer)
    }

    /// A reader saw a version and who wrote it, or nothing; `before` was certain when it began.
    pub fn read(&mut self, secret: u64, before: u64, seen: Option<(u64, u64)>) -> Result<(), String> {
        let version = seen.map_or(0, |(version, _)| version);
        if version < before {
            return Err(format!(
                "secrets: secret {secret} shows version {version}, where {before} was before the reader began"
            ));
        }
        seen.map_or(Ok(()), |(version, writer)| self.note(secret, version, writer))
    }

    fn note(&mut self, number: u64, version: u64, writer: u64) -> Result<(), String> {
        let secret = self.secrets.entry(number).or_default();
        secret.newest = secret.newest.max(version);
        let known = *secret.writers.entry(version).or_insert(writer);
        match known == writer {
            true => Ok(()),
            false => Err(format!(
                "secrets: version {version} of secret {number} is of operations {known} and {writer}"
            )),
        }
    }
}
