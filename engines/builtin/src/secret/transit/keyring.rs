//! A named key in use: which of its versions serves, and what it does to a text. Versions are read once a request.

use std::collections::BTreeMap;

use conclave_engine_api::{Env, Error, Txn};
use zeroize::Zeroizing;

use super::kind::Kind;
use super::policy::{Policy, Version, no_such_version};
use super::symmetric::{self, NONCE_KEY_LEN, Nonces};
use super::{rsa, text};

/// What every ciphertext, signature and keyed hash begins with, before its version.
pub(super) const PREFIX: &str = "vault:v";

/// Said of a ciphertext or signature by a version that may no more be used to read it.
pub(super) const TOO_OLD: &str = "ciphertext or signature version is disallowed by policy (too old)";

/// A key and the versions of it that were used so far.
pub(super) struct Keyring {
    pub(super) policy: Policy,
    versions: BTreeMap<u64, Version>,
}

/// `vault:vN:` in front of an encoded text.
pub(super) fn prefixed(version: u64, encoded: &str) -> String {
    format!("{PREFIX}{version}:{encoded}")
}

/// Takes `vault:vN:` off a text. `what` names it in errors.
pub(super) fn unprefixed<'t>(what: &str, text: &'t str) -> Result<(i64, &'t str), Error> {
    let invalid = |why: &str| Error::invalid(format!("invalid {what}: {why}"));
    let rest = text.strip_prefix(PREFIX).ok_or_else(|| invalid("no prefix"))?;
    let (version, encoded) = rest
        .split_once(':')
        .ok_or_else(|| invalid("wrong number of fields"))?;
    let version = version
        .parse()
        .map_err(|_| invalid("version number could not be decoded"))?;
    Ok((version, encoded))
}

impl Keyring {
    /// A key about to be used.
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            versions: BTreeMap::new(),
        }
    }

    /// A version that may be used.
    pub(super) fn version(&mut self, txn: &mut Txn<'_>, number: u64) -> Result<&Version, Error> {
        if let std::collections::btree_map::Entry::Vacant(slot) = self.versions.entry(number) {
            slot.insert(self.policy.version(txn, number)?);
        }
        self.versions.get(&number).ok_or_else(no_such_version)
    }

    /// The version that makes something new: the latest for 0, and none below the lowest that may. `purpose` names it in
    /// errors.
    pub(super) fn version_to_make(&self, asked: i64, purpose: &str) -> Result<u64, Error> {
        let refused = |why: &str| Error::invalid(format!("requested version for {purpose} is {why}"));
        let version = match u64::try_from(asked) {
            Err(_) => return Err(refused("negative")),
            Ok(0) => return Ok(self.policy.latest),
            Ok(version) => version,
        };
        if version > self.policy.latest {
            return Err(refused("higher than the latest key version"));
        }
        if version < self.policy.min_encryption {
            return Err(refused("less than the minimum encryption key version"));
        }
        Ok(version)
    }

    /// The version that made something: none above the latest nor below the lowest that may. `what` names it in errors,
    /// `too_old` is said of one below.
    pub(super) fn version_that_made(&self, version: i64, what: &str, too_old: &str) -> Result<u64, Error> {
        let latest = i64::try_from(self.policy.latest).unwrap_or(i64::MAX);
        if version > latest {
            return Err(Error::invalid(format!("invalid {what}: version is too new")));
        }
        let version = u64::try_from(version).unwrap_or(0);
        if version < self.policy.min_decryption {
            return Err(Error::invalid(too_old));
        }
        Ok(version)
    }

    /// Encrypts with the version asked for: the text and the version that was used.
    pub(super) fn encrypt(
        &mut self,
        txn: &mut Txn<'_>,
        env: &mut Env<'_>,
        asked: i64,
        bound: &Bound,
        plaintext: &[u8],
    ) -> Result<(String, u64), Error> {
        self.policy.check_usable()?;
        let kind = self.policy.kind;
        if !kind.encrypts() {
            return Err(not_supported("encryption", kind));
        }
        let number = self.version_to_make(asked, "encryption")?;
        let sealed = if kind.is_rsa() {
            let public = &self.version(txn, number)?.public;
            env.heavy(|| rsa::encrypt(public, plaintext))??
        } else {
            let keys = self.keys(txn, number, &bound.context)?;
            let nonces = match &keys.nonce_key {
                Some(key) => Nonces::OfPlaintext(key),
                None => Nonces::Random(env),
            };
            symmetric::seal(kind, &keys.key, nonces, &bound.aad, plaintext)?
        };
        Ok((prefixed(number, &text::encode(&sealed)), number))
    }

    /// Decrypts.
    pub(super) fn decrypt(
        &mut self,
        txn: &mut Txn<'_>,
        env: &Env<'_>,
        bound: &Bound,
        ciphertext: &str,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.policy.check_usable()?;
        let kind = self.policy.kind;
        if !kind.encrypts() {
            return Err(not_supported("decryption", kind));
        }
        let (version, encoded) = unprefixed("ciphertext", ciphertext)?;
        // The first ciphertexts ever made counted from zero.
        let number = self.version_that_made(version.max(i64::from(version == 0)), "ciphertext", TOO_OLD)?;
        let sealed = text::decode(encoded)
            .map_err(|_| Error::invalid("invalid ciphertext: could not decode base64"))?;
        if kind.is_rsa() {
            let version = self.version(txn, number)?;
            version.check_private(
                "cannot decrypt ciphertext, key version does not have a private counterpart",
            )?;
            return env.heavy(|| rsa::decrypt(version.key.expose(), &sealed))?;
        }
        let keys = self.keys(txn, number, &bound.context)?;
        symmetric::open(kind, &keys.key, &bound.aad, &sealed)
    }

    /// The symmetric key of a version, or what is derived from it for a context.
    fn keys(&mut self, txn: &mut Txn<'_>, number: u64, context: &[u8]) -> Result<Keys, Error> {
        self.version(txn, number)?;
        let version = self.versions.get(&number).ok_or_else(no_such_version)?;
        let convergent = self.policy.convergent_scheme(version)? != 0;
        if !self.policy.derived {
            return Ok(Keys {
                key: Zeroizing::new(version.key.expose().to_vec()),
                nonce_key: None,
            });
        }
        let length = self.policy.kind.symmetric_bytes();
        let more = if convergent { NONCE_KEY_LEN } else { 0 };
        let mut key = derive(version, context, length + more)?;
        let nonce_key = convergent.then(|| Zeroizing::new(key.get(length..).unwrap_or_default().to_vec()));
        key.truncate(length);
        Ok(Keys { key, nonce_key })
    }
}

struct Keys {
    key: Zeroizing<Vec<u8>>,
    nonce_key: Option<Zeroizing<Vec<u8>>>,
}

/// What a ciphertext is bound to beside its key.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) context: Zeroizing<Vec<u8>>,
    pub(super) aad: Zeroizing<Vec<u8>>,
}

/// Derives bytes of a version for a context, which must be given.
pub(super) fn derive(version: &Version, context: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    if context.is_empty() {
        return Err(Error::invalid(
            "missing 'context' for key derivation; the key was created using a derived key, which means additional, \
             per-request information must be included in order to perform operations with the key",
        ));
    }
    symmetric::derive(version.key.expose(), context, length)
}

fn not_supported(what: &str, kind: Kind) -> Error {
    let name = kind.name();
    Error::invalid(format!("message {what} not supported for key type {name}"))
}
