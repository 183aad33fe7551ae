//! The id of a lease where its owner's row tells it. That row is the cluster's, for an owner may be of another namespace; the
//! id of a lease in a namespace with keys of its own says paths in it, and is sealed with those keys.

use zeroize::Zeroizing;

use crate::catalog::{decode_record, encode_record};
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::namespaces::id;
use crate::store::Opened;
use crate::store::layout::{RING, ring_of};

/// What the value begins with if it is sealed: the ring follows, two bytes, then what the ring sealed. Records begin with 1.
const SEALED: u8 = 2;

/// The value of an owner's row.
pub fn seal(opened: &Opened, id: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let ring = ring_of(id::of_shown(id));
    if ring == RING {
        return encode_record(&id);
    }
    let keys = opened.barrier().ring_keys(ring);
    let keys = keys.ok_or(Error::NamespaceSealed { ring })?;
    let sealed = keys.seal_lasting(opened.barrier().id(), id.as_bytes(), &mut OsEntropy)?;
    Ok(Zeroizing::new(
        [[SEALED].as_slice(), &ring.to_be_bytes(), &sealed].concat(),
    ))
}

/// The id in such a value; `None` while its namespace is sealed.
pub fn open(opened: &Opened, value: &[u8]) -> Result<Option<String>, Error> {
    let Some((&SEALED, rest)) = value.split_first() else {
        return decode_record(value).map(Some);
    };
    let damaged = || Error::internal("the row of an owned lease is damaged");
    let (ring, sealed) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let Some(keys) = opened.barrier().ring_keys(u16::from_be_bytes(*ring)) else {
        return Ok(None);
    };
    let id = keys.open_lasting(opened.barrier().id(), sealed)?;
    String::from_utf8(id.expose().to_vec())
        .map(Some)
        .map_err(|_| damaged())
}
