//! The row of a ring beside the cluster's: how its root key is sealed, its sealed keyring, and how often it was sealed. Ciphertext
//! and identifiers under a clear name, like the cluster's own: it is read before any key of the ring is there. Knows no
//! namespace and no share.

use bytes::Bytes;

use conclave_barrier::SealConfig;
use conclave_raft::{Condition, Expect, Key, Op, View, Walk};

use crate::error::Error;
use crate::seal::rows;
use crate::store::clear::put_clear;
use crate::store::layout::{after_prefix, clear_key};

/// Format of the row.
const FORMAT: u8 = 1;
/// Flag: somebody opened the ring since it was sealed last, so that a member may have its keys.
const OPENED: u8 = 1;
/// What the names of these rows begin with; all have the same length, so that one walk finds them.
const NAME: &str = "ring-";
/// Hexadecimal digits of the ring's number.
const DIGITS: usize = 4;

/// A ring beside the cluster's, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingRow {
    /// The ring of the namespace that its own lies in: with that one closed, nobody reaches this one.
    pub parent: u16,
    /// How often it was sealed: keys that were opened before open nothing after.
    pub epoch: u64,
    /// Whether it was opened in this epoch. Who has the keys must be asked.
    pub opened: bool,
    /// How its root key is sealed.
    pub config: SealConfig,
    /// Its keyring, sealed under that root key.
    pub keyring: Bytes,
}

impl RingRow {
    /// `format u8 | flags u8 | parent u16 | epoch u64 | length of the seal u32 | seal | keyring`, big-endian.
    fn encode(&self) -> Result<Vec<u8>, Error> {
        let config = self.config.encode();
        let length =
            u32::try_from(config.len()).map_err(|_| Error::internal("a seal configuration is too long"))?;
        let mut out = vec![FORMAT, if self.opened { OPENED } else { 0 }];
        out.extend_from_slice(&self.parent.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&config);
        out.extend_from_slice(&self.keyring);
        Ok(out)
    }

    /// Reads what [`put`] has written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::internal("the row of a ring is damaged");
        let (&format, rest) = bytes.split_first().ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(Error::internal(format!(
                "the row of a ring has unknown format {format}"
            )));
        }
        let (&flags, rest) = rest.split_first().ok_or_else(damaged)?;
        let (parent, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
        let (epoch, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
        let (config, keyring) = rest.split_at_checked(length).ok_or_else(damaged)?;
        Ok(Self {
            parent: u16::from_be_bytes(*parent),
            epoch: u64::from_be_bytes(*epoch),
            opened: flags & OPENED != 0,
            config: SealConfig::decode(config)?,
            keyring: Bytes::copy_from_slice(keyring),
        })
    }
}

/// A ring and the revision of its row; `None` if there is none of this number.
pub fn ring(view: &View, ring: u16) -> Result<Option<(RingRow, u64)>, Error> {
    let Some(row) = view.row(&key(ring))? else {
        return Ok(None);
    };
    Ok(Some((RingRow::decode(&row.value)?, row.revision)))
}

/// The same where there must be one.
///
/// # Errors
/// [`Error::Invalid`] if there is none: its namespace is gone.
pub fn required(view: &View, number: u16) -> Result<(RingRow, u64), Error> {
    ring(view, number)?.ok_or_else(|| Error::invalid("namespace doesn't exist"))
}

/// The numbers of all rings beside the cluster's.
pub fn numbers(view: &View) -> Result<Vec<u16>, Error> {
    let name = key(0);
    let from = name.get(..name.len() - DIGITS).unwrap_or_default();
    let (mut found, mut damaged) = (Vec::new(), false);
    view.rows().walk(from, &after_prefix(from), &mut |key| {
        match number_in(key) {
            Some(number) => found.push(number),
            None => damaged = true,
        }
        Ok(Walk::Next)
    })?;
    match damaged {
        true => Err(Error::internal("the name of a ring is damaged")),
        false => Ok(found),
    }
}

/// The operation that puts a ring.
pub fn put(ring: u16, row: &RingRow) -> Result<Op, Error> {
    Ok(put_clear(&name(ring), row.encode()?))
}

/// The operations that remove a ring, and what is kept beside it: from then on nobody can open what it has sealed.
pub fn drop_ring(ring: u16) -> [Op; 4] {
    [
        Op::Delete { key: key(ring) },
        rows::drop_rewrap(ring),
        rows::drop_handover(ring),
        rows::drop_encryptions(ring),
    ]
}

/// Expects a ring to be as it was read; `None`: not to be.
pub fn expect(ring: u16, revision: Option<u64>) -> Expect {
    Expect {
        key: key(ring),
        condition: revision.map_or(Condition::Absent, Condition::Revision),
    }
}

/// Expects a ring to be as a view has it: neither sealed nor rotated nor gone since.
pub fn expect_as_seen(view: &View, ring: u16) -> Result<Expect, Error> {
    Ok(expect(ring, view.row(&key(ring))?.map(|row| row.revision)))
}

fn name(ring: u16) -> String {
    format!("{NAME}{ring:04x}")
}

fn key(ring: u16) -> Key {
    clear_key(&name(ring))
}

/// The ring whose row has this key; `None` for every other row.
pub fn number_of(found: &[u8]) -> Option<u16> {
    number_in(found).filter(|ring| *found == *key(*ring))
}

fn number_in(key: &[u8]) -> Option<u16> {
    let digits = key.get(key.len().checked_sub(DIGITS)?..)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use conclave_barrier::RootKey;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let root = RootKey::generate(&mut OsEntropy);
        let (config, _) = SealConfig::create(&root, 3, 2, 1, &mut OsEntropy).unwrap();
        let row = RingRow {
            parent: 2,
            epoch: 3,
            opened: true,
            config,
            keyring: Bytes::from_static(b"sealed"),
        };
        let bytes = row.encode().unwrap();
        assert_eq!(RingRow::decode(&bytes).unwrap(), row);
        for length in 0..bytes.len() - row.keyring.len() {
            assert!(RingRow::decode(&bytes[..length]).is_err(), "{length}");
        }
        let mut other = bytes;
        other[0] = 2;
        assert!(
            RingRow::decode(&other)
                .unwrap_err()
                .to_string()
                .contains("format 2")
        );
    }

    #[test]
    fn names_say_their_ring() {
        for ring in [0, 1, 0x0a0b, u16::MAX] {
            assert_eq!(number_in(&key(ring)), Some(ring));
            assert_eq!(key(ring).len(), key(0).len());
        }
    }
}
