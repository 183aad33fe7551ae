//! The keyring's plaintext layout. Big-endian; one keyring has one encoding, and anything else is refused.
//!
//! ```text
//! format u8 | name key 64 | token key 32 | audit key 32 | lease key 32
//! rings u16,   each: ring u16 | active u32 | min_term u32 | terms u16,
//!                    each: term u32 | suite u8 | created_ms u64 | key 32 | commitment 32
//! secrets u16, each: name length u8 | name | value length u32 | value
//! ```

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{DataKey, Keyring, MAX_RINGS, MAX_SECRETS, MAX_TERMS, Ring, check_secret};
use crate::codec::Reader;
use crate::derive::{Label, check_commitment};
use crate::envelope::SUITE;
use crate::{Error, Key32, NameKey, SecretBytes};

const WHAT: &str = "keyring";
const FORMAT: u8 = 1;

const RING_LEN: usize = 2 + 4 + 4 + 2;
const TERM_LEN: usize = 4 + 1 + 8 + 32 + 32;

/// The plaintext of `keyring` (without its generation, which stands in the clear head of the sealed form).
pub(super) fn encode(keyring: &Keyring) -> Result<Zeroizing<Vec<u8>>, Error> {
    // Of the right size at once: a vector that grows leaves unwiped keys behind.
    let mut out = Zeroizing::new(Vec::with_capacity(encoded_len(keyring)));
    out.push(FORMAT);
    out.extend_from_slice(keyring.name_key.expose());
    for key in [&keyring.token_key, &keyring.audit_key, &keyring.lease_key] {
        out.extend_from_slice(key.expose());
    }
    out.extend_from_slice(&count(keyring.rings.len())?);
    for (number, ring) in &keyring.rings {
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&ring.active.to_be_bytes());
        out.extend_from_slice(&ring.min_term.to_be_bytes());
        out.extend_from_slice(&count(ring.terms.len())?);
        for (term, key) in &ring.terms {
            out.extend_from_slice(&term.to_be_bytes());
            out.push(key.suite);
            out.extend_from_slice(&key.created_ms.to_be_bytes());
            out.extend_from_slice(key.key.expose());
            out.extend_from_slice(&key.commitment()?);
        }
    }
    out.extend_from_slice(&count(keyring.secrets.len())?);
    for (name, value) in &keyring.secrets {
        let too_large = Error::TooLarge {
            what: "cluster secret, in bytes,",
            limit: super::MAX_SECRET_BYTES,
        };
        out.push(u8::try_from(name.len()).map_err(|_| too_large.clone())?);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&u32::try_from(value.len()).map_err(|_| too_large)?.to_be_bytes());
        out.extend_from_slice(value.expose());
    }
    Ok(out)
}

fn encoded_len(keyring: &Keyring) -> usize {
    let rings: usize = keyring
        .rings
        .values()
        .map(|ring| RING_LEN + ring.terms.len() * TERM_LEN)
        .sum();
    let secrets: usize = keyring
        .secrets
        .iter()
        .map(|(name, value)| 1 + name.len() + 4 + value.len())
        .sum();
    1 + NameKey::LEN + 3 * Key32::LEN + 2 + rings + 2 + secrets
}

fn count(items: usize) -> Result<[u8; 2], Error> {
    match u16::try_from(items) {
        Ok(items) => Ok(items.to_be_bytes()),
        Err(_) => Err(Error::TooLarge {
            what: "number of items in a keyring",
            limit: usize::from(u16::MAX),
        }),
    }
}

/// The keyring of `generation` with this plaintext. Every data key is checked against its commitment.
pub(super) fn decode(generation: u64, plaintext: &[u8]) -> Result<Keyring, Error> {
    let mut reader = Reader::new(WHAT, plaintext);
    reader.format(FORMAT)?;
    let name_key = NameKey::from_slice(reader.slice(NameKey::LEN)?)?;
    let token_key = key(&mut reader)?;
    let audit_key = key(&mut reader)?;
    let lease_key = key(&mut reader)?;

    let mut rings = BTreeMap::new();
    for _ in 0..limited(reader.u16()?, MAX_RINGS, "number of rings")? {
        let number = reader.u16()?;
        ascending(rings.last_key_value(), &number, "its rings are out of order")?;
        rings.insert(number, ring(&mut reader)?);
    }
    let mut secrets = BTreeMap::new();
    for _ in 0..limited(reader.u16()?, MAX_SECRETS, "number of cluster secrets")? {
        let (name, value) = secret(&mut reader)?;
        ascending(secrets.last_key_value(), &name, "its secrets are out of order")?;
        secrets.insert(name, value);
    }
    reader.finish()?;
    if rings.is_empty() {
        return Err(malformed("it holds no ring"));
    }
    Ok(Keyring {
        generation,
        name_key,
        token_key,
        audit_key,
        lease_key,
        rings,
        secrets,
    })
}

fn ring(reader: &mut Reader<'_>) -> Result<Ring, Error> {
    let active = reader.u32()?;
    let min_term = reader.u32()?;
    let mut terms = BTreeMap::new();
    for _ in 0..limited(reader.u16()?, MAX_TERMS, "number of terms in a ring")? {
        let term = reader.u32()?;
        ascending(terms.last_key_value(), &term, "its terms are out of order")?;
        terms.insert(term, data_key(reader)?);
    }
    if min_term > active || terms.last_key_value().is_none_or(|(&newest, _)| newest != active) {
        return Err(malformed("its active term is not the newest it holds"));
    }
    Ok(Ring {
        active,
        min_term,
        terms,
    })
}

fn data_key(reader: &mut Reader<'_>) -> Result<DataKey, Error> {
    let suite = reader.u8()?;
    if suite != SUITE {
        return Err(Error::UnknownSuite { what: WHAT, suite });
    }
    let created_ms = reader.u64()?;
    let key = key(reader)?;
    check_commitment(&key, Label::DataCommitment, reader.array()?, "data key")?;
    Ok(DataKey {
        suite,
        created_ms,
        key,
    })
}

fn secret(reader: &mut Reader<'_>) -> Result<(String, SecretBytes), Error> {
    let len = usize::from(reader.u8()?);
    let name = str::from_utf8(reader.slice(len)?).map_err(|_| malformed("a secret's name is not UTF-8"))?;
    let len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    check_secret(name, len)?;
    Ok((name.to_owned(), SecretBytes::copy_of(reader.slice(len)?)))
}

fn key(reader: &mut Reader<'_>) -> Result<Key32, Error> {
    Key32::from_slice(reader.slice(Key32::LEN)?)
}

fn ascending<K: Ord, V>(last: Option<(&K, &V)>, next: &K, reason: &'static str) -> Result<(), Error> {
    if last.is_some_and(|(last, _)| last >= next) {
        Err(malformed(reason))
    } else {
        Ok(())
    }
}

fn limited(number: u16, limit: usize, what: &'static str) -> Result<u16, Error> {
    if usize::from(number) > limit {
        Err(Error::TooLarge { what, limit })
    } else {
        Ok(number)
    }
}

fn malformed(reason: &'static str) -> Error {
    Error::Malformed { what: WHAT, reason }
}
