//! Public PGP keys of people, and what is encrypted to them: shares and root tokens that nobody else on the way may see. It
//! must not know what a share is for.

use std::time::Duration;

use base64::Engine as _;
use pgp::composed::{Deserializable as _, MessageBuilder, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails as _, Tag, Timestamp};
use rand_core_06::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use conclave_barrier::{Entropy as _, SecretBytes};
use conclave_engine_api::Millis;

use crate::entropy::OsEntropy;
use crate::error::Error;

/// Largest key taken, in bytes of its base64: certifications of others may be many.
const MAX_KEY: usize = 1024 * 1024;

/// A public key that was found able to be encrypted to.
pub struct PgpKey {
    key: SignedPublicKey,
    recipient: Recipient,
}

/// Which of its keys is encrypted to.
enum Recipient {
    Primary,
    Sub(usize),
}

impl PgpKey {
    /// Reads a key: base64 of a transferable public key (RFC 9580, section 10.1), binary or armored. What its owner has not
    /// signed is not taken for part of it. One text is encrypted to it to see that it can be. With `now` at 0, before there
    /// is a cluster, no key has expired.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no such key, is revoked or expired at `now`, or may not be encrypted to.
    pub fn read(text: &str, now: Millis) -> Result<Self, Error> {
        if text.len() > MAX_KEY {
            return Err(Error::TooLarge(format!("a PGP key of more than {MAX_KEY} bytes")));
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .map_err(|_| Error::invalid("error decoding given PGP key: it is not base64"))?;
        let (key, _) = SignedPublicKey::from_reader_single(bytes.as_slice())
            .map_err(|_| Error::invalid("error parsing given PGP key: it is no public key"))?;
        let recipient = recipient(&key, seconds(now))?;
        let key = Self { key, recipient };
        key.encrypt(&[0; 64])?;
        Ok(key)
    }

    /// Its fingerprint in hexadecimal, as `gpg` shows it in lower case.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.key.primary_key.fingerprint().as_bytes())
    }

    /// A message that only the key's owner can read, in binary form.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the key is of a kind that cannot be encrypted to.
    pub fn encrypt(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let unable = |_| Error::invalid("nothing can be encrypted to this PGP key");
        let mut random = Random;
        let mut message = MessageBuilder::from_bytes("", text.to_vec())
            .seipd_v1(&mut random, SymmetricKeyAlgorithm::AES256);
        let chosen = match self.recipient {
            Recipient::Primary => None,
            Recipient::Sub(at) => self.key.public_subkeys.get(at),
        };
        match chosen {
            Some(sub) => message.encrypt_to_key(&mut random, sub),
            None => message.encrypt_to_key(&mut random, &self.key.primary_key),
        }
        .map_err(unable)?;
        message.to_vec(&mut random).map_err(unable)
    }
}

/// Those of a request, one for each share; none if it names none.
///
/// # Errors
/// As [`PgpKey::read`], and [`Error::Invalid`] if there are more or fewer than shares.
pub fn read_all(texts: Option<Vec<String>>, shares: u8, now: Millis) -> Result<Vec<PgpKey>, Error> {
    let texts = texts.unwrap_or_default();
    if !texts.is_empty() && texts.len() != usize::from(shares) {
        return Err(Error::invalid(
            "count mismatch between number of provided PGP keys and number of shares",
        ));
    }
    texts.iter().map(|text| PgpKey::read(text, now)).collect()
}

/// Shares as they are handed out: as they are, or where there are keys, each written in hexadecimal and encrypted to its
/// own.
pub fn hand_out(shares: &[SecretBytes], keys: &[PgpKey]) -> Result<Vec<Handed>, Error> {
    if keys.is_empty() {
        let plain = shares.iter().map(|share| Zeroizing::new(share.expose().to_vec()));
        return Ok(plain.collect());
    }
    let each = shares.iter().zip(keys).map(|(share, key)| {
        let text = Zeroizing::new(hex::encode(share.expose()));
        key.encrypt(text.as_bytes()).map(Zeroizing::new)
    });
    each.collect()
}

/// A share as it is handed out.
pub type Handed = Zeroizing<Vec<u8>>;

/// The youngest subkey that may be encrypted to, else the primary key.
fn recipient(key: &SignedPublicKey, now: u64) -> Result<Recipient, Error> {
    let primary = &key.primary_key;
    let mut revocations = key.details.revocation_signatures.iter();
    if revocations.any(|revocation| revocation.verify_key(primary).is_ok()) {
        return Err(Error::invalid("the PGP key is revoked"));
    }
    let own = newest(own_signatures(key));
    let own = own.ok_or_else(|| Error::invalid("the PGP key has no valid signature of its owner"))?;
    if expired(primary.created_at(), own, now) {
        return Err(Error::invalid("the PGP key has expired"));
    }
    let subkeys = key.public_subkeys.iter().enumerate();
    let usable = subkeys.filter(|(_, sub)| is_usable(key, sub, now));
    if let Some((at, _)) = usable.max_by_key(|(_, sub)| sub.key.created_at().as_secs()) {
        return Ok(Recipient::Sub(at));
    }
    match for_encryption(own) {
        true => Ok(Recipient::Primary),
        false => Err(Error::invalid(
            "the PGP key has no part, valid now, that may be encrypted to",
        )),
    }
}

/// What the owner says of the primary key.
fn own_signatures(key: &SignedPublicKey) -> Vec<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter();
    let direct = direct.filter(|signature| signature.verify_key(primary).is_ok());
    let named = key.details.users.iter().flat_map(|user| {
        let verified = move |signature: &&Signature| {
            signature.is_certification()
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        };
        user.signatures.iter().filter(verified)
    });
    direct.chain(named).collect()
}

fn is_usable(key: &SignedPublicKey, sub: &SignedPublicSubKey, now: u64) -> bool {
    let verified = |signature: &&Signature| {
        signature
            .verify_subkey_binding(&key.primary_key, &sub.key)
            .is_ok()
    };
    let verified: Vec<&Signature> = sub.signatures.iter().filter(verified).collect();
    let of = |kind: SignatureType| {
        verified
            .iter()
            .copied()
            .filter(move |signature| signature.typ() == Some(kind))
    };
    if of(SignatureType::SubkeyRevocation).next().is_some() {
        return false;
    }
    let binding = newest(of(SignatureType::SubkeyBinding).collect());
    binding.is_some_and(|binding| for_encryption(binding) && !expired(sub.key.created_at(), binding, now))
}

fn for_encryption(signature: &Signature) -> bool {
    let flags = signature.key_flags();
    flags.encrypt_comms() || flags.encrypt_storage()
}

fn newest(signatures: Vec<&Signature>) -> Option<&Signature> {
    signatures
        .into_iter()
        .max_by_key(|signature| signature.created().map_or(0, Timestamp::as_secs))
}

/// Whether a key made at `created` is over, as its signature says.
fn expired(created: Timestamp, signature: &Signature, now: u64) -> bool {
    let life = signature.key_expiration_time();
    let life = life
        .map(|life| Duration::from(life).as_secs())
        .filter(|life| *life > 0);
    life.is_some_and(|life| u64::from(created.as_secs()).saturating_add(life) <= now)
}

fn seconds(now: Millis) -> u64 {
    now / 1000
}

/// The operating system's randomness under the names that the library asks by.
struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        rand_core_06::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core_06::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        OsEntropy.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for Random {}
