//! One hash over the logical state, to find nodes that diverged. This file must not know which store holds it.

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::state::View;
use crate::state::row::{encode_due, encode_row};

/// SHA-256 over revision, least term, cluster version, all rows and the due index, in order. Equal logs give equal
/// digests on every store, however the log was cut into batches; the log position itself does not enter.
///
/// # Errors
/// The store's own.
pub fn digest(view: &View) -> Result<[u8; 32], Error> {
    let applied = view.applied();
    let mut hash = Sha256::new();
    hash.update(b"conclave state 1");
    hash.update(applied.revision.to_be_bytes());
    hash.update(applied.min_term.to_be_bytes());
    hash.update(applied.cluster_version.to_be_bytes());
    let mut rows: u64 = 0;
    view.rows().scan(&[], None, &mut |key, row| {
        rows += 1;
        framed(&mut hash, key);
        framed(&mut hash, &encode_row(&row));
        Ok(true)
    })?;
    hash.update(rows.to_be_bytes());
    view.rows().scan_due(&mut |entry| {
        framed(&mut hash, &encode_due(&entry));
        Ok(true)
    })?;
    Ok(hash.finalize().into())
}

fn framed(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
