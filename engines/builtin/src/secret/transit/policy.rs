//! A named key: its settings in one row, each of its versions in a row of its own, so that using one reads two rows however
//! often it was rotated. Knows which version may be used for what.

use conclave_engine_api::{Env, Error, Heavy, Millis, Txn, format_time};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kind::Kind;
use super::text::Secret;
use super::{ed, rsa, text};
use crate::record;

/// Format number of the rows.
const FORMAT: u8 = 1;
/// Most versions of a key that are kept. Beyond it the key must be trimmed before it is rotated again.
const MAX_VERSIONS: u64 = 10_000;
/// Bytes of the key for keyed hashes that comes with every version.
pub(super) const HMAC_KEY_LEN: usize = 32;
/// The scheme by which convergent nonces are made.
const CONVERGENT_VERSION: i64 = 3;

/// The settings of a key.
#[derive(Serialize, Deserialize)]
pub(super) struct Policy {
    #[serde(skip)]
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) derived: bool,
    pub(super) convergent: bool,
    /// For keys made by old versions of the original; -1: each version knows.
    pub(super) convergent_version: i64,
    pub(super) exportable: bool,
    pub(super) allow_plaintext_backup: bool,
    pub(super) deletion_allowed: bool,
    pub(super) soft_deleted: bool,
    pub(super) min_decryption: u64,
    pub(super) min_encryption: u64,
    pub(super) min_available: u64,
    pub(super) latest: u64,
    /// Bytes of a key of type `hmac`; 0 for the others.
    pub(super) key_size: usize,
    /// 0: never.
    pub(super) auto_rotate_period: Millis,
    /// When the latest version was made.
    pub(super) rotated: Millis,
    pub(super) imported: bool,
    pub(super) imported_may_rotate: bool,
    pub(super) backup: Option<Stamp>,
    pub(super) restore: Option<Stamp>,
}

/// When something was done with a key, and what its latest version was then.
#[derive(Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) time: String,
    pub(super) version: u64,
}

/// One version of a key.
#[derive(Serialize, Deserialize)]
pub(super) struct Version {
    /// The private or symmetric key in the form its type has; empty if only the public half is known.
    pub(super) key: Secret,
    pub(super) hmac_key: Secret,
    /// The public key in the form its type has; empty for others.
    #[serde(with = "public")]
    pub(super) public: Vec<u8>,
    /// When it was made, RFC 3339.
    pub(super) time: String,
    /// The same in seconds since the epoch.
    pub(super) created: i64,
    pub(super) convergent_version: i64,
    /// Certificates as PEM, the one of this version's public key first, without a line break at the end; empty if none are known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) certificates: String,
}

impl Version {
    /// Whether more of it is known than its public half.
    pub(super) fn has_private(&self) -> bool {
        !self.key.expose().is_empty()
    }

    /// Refuses a version of which only the public half is known; `why` is said then.
    pub(super) fn check_private(&self, why: &str) -> Result<(), Error> {
        self.has_private()
            .then_some(())
            .ok_or_else(|| Error::invalid(why))
    }
}

/// What makes a version of a key, in the forms that its type has; `key` is empty if only the public half is known.
pub(super) struct Material {
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) hmac_key: Zeroizing<Vec<u8>>,
    pub(super) public: Vec<u8>,
}

/// Why a version may not be used.
pub(super) fn no_such_version() -> Error {
    Error::invalid("no such key version")
}

impl Policy {
    /// A key without versions.
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            derived: false,
            convergent: false,
            convergent_version: 0,
            exportable: false,
            allow_plaintext_backup: false,
            deletion_allowed: false,
            soft_deleted: false,
            min_decryption: 1,
            min_encryption: 0,
            min_available: 0,
            latest: 0,
            key_size: 0,
            auto_rotate_period: 0,
            rotated: 0,
            imported: false,
            imported_may_rotate: false,
            backup: None,
            restore: None,
        }
    }

    /// The key called `name`.
    pub(super) fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        let Some(row) = txn.get(&policy_row(name))? else {
            return Ok(None);
        };
        let mut policy: Self = record::decode(FORMAT, &row.value)?;
        name.clone_into(&mut policy.name);
        Ok(Some(policy))
    }

    /// Writes the settings; the row falls due when the key is to be rotated.
    pub(super) fn store(&self, txn: &mut Txn<'_>) -> Result<(), Error> {
        let rotates = self.auto_rotate_period > 0 && !self.soft_deleted;
        let deadline = rotates.then(|| self.rotated.saturating_add(self.auto_rotate_period));
        txn.put_due(&policy_row(&self.name), record::encode(FORMAT, self)?, deadline)
    }

    /// Removes the key and all its versions.
    pub(super) fn remove(&self, txn: &mut Txn<'_>) -> Result<(), Error> {
        for number in self.first()..=self.latest {
            txn.delete(&version_row(&self.name, number))?;
        }
        txn.delete(&policy_row(&self.name))
    }

    /// The lowest version that is kept.
    pub(super) fn first(&self) -> u64 {
        self.min_available.max(1)
    }

    /// The versions that may be used at all.
    pub(super) fn usable(&self) -> std::ops::RangeInclusive<u64> {
        self.min_decryption.max(self.first())..=self.latest
    }

    /// Whether no further version is taken.
    pub(super) fn is_full(&self) -> bool {
        (self.latest + 1).saturating_sub(self.first()) >= MAX_VERSIONS
    }

    /// Whether it has more versions than are kept.
    pub(super) fn is_overfull(&self) -> bool {
        self.latest.saturating_sub(self.first()) >= MAX_VERSIONS
    }

    /// A version that may be used at all.
    pub(super) fn version(&self, txn: &mut Txn<'_>, number: u64) -> Result<Version, Error> {
        if !self.usable().contains(&number) {
            return Err(no_such_version());
        }
        self.kept_version(txn, number)
    }

    /// A version that is kept, be it usable or not.
    pub(super) fn kept_version(&self, txn: &mut Txn<'_>, number: u64) -> Result<Version, Error> {
        let row = txn.get(&version_row(&self.name, number))?;
        let row = row.ok_or_else(|| Error::internal("a version of the key is missing"))?;
        record::decode(FORMAT, &row.value)
    }

    /// Writes a version's row.
    pub(super) fn store_version(
        &self,
        txn: &mut Txn<'_>,
        number: u64,
        version: &Version,
    ) -> Result<(), Error> {
        txn.put(&version_row(&self.name, number), record::encode(FORMAT, version)?)
    }

    /// Removes versions below `min_available`, which becomes the lowest that is kept.
    pub(super) fn trim(&mut self, txn: &mut Txn<'_>, min_available: u64) -> Result<(), Error> {
        for number in self.first()..min_available {
            txn.delete(&version_row(&self.name, number))?;
        }
        self.min_available = min_available;
        Ok(())
    }

    /// Refuses a key that is deleted softly.
    pub(super) fn check_usable(&self) -> Result<(), Error> {
        if self.soft_deleted {
            return Err(Error::invalid("refusing to use soft-deleted key"));
        }
        Ok(())
    }

    /// The scheme of convergent nonces of a version; 0 if the key is not convergent.
    pub(super) fn convergent_scheme(&self, version: &Version) -> Result<i64, Error> {
        if !self.convergent {
            return Ok(0);
        }
        let scheme = match (version.convergent_version, self.convergent_version) {
            (0, 0) => 1,
            (0, of_key) => of_key,
            (of_version, _) => of_version,
        };
        if scheme != CONVERGENT_VERSION {
            return Err(Error::invalid(format!(
                "refusing to support decryption with old convergent encryption key: version {scheme}"
            )));
        }
        Ok(scheme)
    }

    /// What makes a new version must take seconds: to be done beforehand, by `add_version`'s `made`.
    pub(super) fn slow_key(&self) -> Option<Heavy> {
        let bits = self.kind.rsa_bits()?;
        let name = format!("rsa {bits} {}/{}", self.name, self.latest);
        Some(Heavy::new(name, move || rsa::generate(bits).unwrap_or_default()))
    }

    /// Makes the next version. `made` is the RSA key, if it is one.
    pub(super) fn add_version(
        &mut self,
        txn: &mut Txn<'_>,
        made: Option<&[u8]>,
        env: &mut Env<'_>,
    ) -> Result<(), Error> {
        let material = self.fresh(made, env)?;
        self.imported = false;
        self.append(txn, material, env)
    }

    /// Adds a version of this material.
    pub(super) fn append(
        &mut self,
        txn: &mut Txn<'_>,
        material: Material,
        env: &Env<'_>,
    ) -> Result<(), Error> {
        if self.is_full() {
            return Err(Error::invalid(format!(
                "the key has {MAX_VERSIONS} versions: trim it before it is rotated"
            )));
        }
        let version = Version {
            key: Secret::new(material.key),
            hmac_key: Secret::new(material.hmac_key),
            public: material.public,
            time: format_time(env.now()),
            created: i64::try_from(env.now() / 1000).unwrap_or(i64::MAX),
            convergent_version: if self.convergent { CONVERGENT_VERSION } else { 0 },
            certificates: String::new(),
        };
        self.latest = self.latest.saturating_add(1);
        self.rotated = env.now();
        self.store_version(txn, self.latest, &version)?;
        self.store(txn)
    }

    fn fresh(&self, made: Option<&[u8]>, env: &mut Env<'_>) -> Result<Material, Error> {
        let mut hmac_key = draw(env, HMAC_KEY_LEN);
        let (key, public) = match (self.kind, self.kind.curve()) {
            (_, Some(curve)) => {
                let fresh = curve.generate(env)?;
                (fresh.scalar, fresh.point)
            }
            (Kind::Ed25519, _) => {
                let key = ed::key_of(&draw(env, ed::SEED_LEN))?;
                let public = ed::public_of(&key).to_vec();
                (key, public)
            }
            (Kind::Hmac, _) => {
                hmac_key = draw(env, self.key_size);
                (hmac_key.clone(), Vec::new())
            }
            (kind, _) if kind.is_rsa() => {
                let key = made.filter(|key| !key.is_empty());
                let key = key.ok_or_else(|| Error::internal("an RSA key could not be made"))?;
                (Zeroizing::new(key.to_vec()), rsa::public_of(key)?)
            }
            (kind, _) => (draw(env, kind.symmetric_bytes()), Vec::new()),
        };
        Ok(Material {
            key,
            hmac_key,
            public,
        })
    }
}

/// Random bytes.
pub(super) fn draw(env: &mut Env<'_>, length: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    env.fill(&mut bytes);
    bytes
}

/// The row of a key's settings.
pub(super) fn policy_row(name: &str) -> String {
    format!("policy/{name}")
}

fn version_row(name: &str, number: u64) -> String {
    format!("version/{name}/{number}")
}

mod public {
    //! Public keys as base64.

    use serde::{Deserialize, Deserializer, Serializer};

    use super::text;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let decoded = text::decode(&text);
        decoded
            .map(|bytes| bytes.to_vec())
            .map_err(|_| serde::de::Error::custom("a stored public key is no base64"))
    }
}
