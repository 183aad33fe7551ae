//! From version 1 to version 2: each secret becomes the first version of its key, all in one transaction, so that no
//! reader ever sees half of it.

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Error, Txn};

use super::{v1, v2};
use crate::secret::document;

/// Most secrets that are upgraded at once.
const MAX_SECRETS: usize = 1000;

/// Most bytes of secrets that are upgraded at once.
const MAX_BYTES: usize = 4 << 20;

/// Moves every secret. A mount beyond the limits is refused as a whole.
pub(super) fn upgrade(txn: &mut Txn<'_>, now: Millis) -> Result<(), Error> {
    let keys = v1::keys(txn)?;
    if keys.len() > MAX_SECRETS {
        return Err(too_large());
    }
    let mut bytes = 0;
    for key in &keys {
        let Some(stored) = v1::take(txn, key)? else {
            continue;
        };
        bytes += stored.value.len();
        if bytes > MAX_BYTES {
            return Err(too_large());
        }
        v2::adopt(txn, key, document::decode(&stored.value)?.as_ref(), now)?;
    }
    Ok(())
}

fn too_large() -> Error {
    Error::Unsupported(format!(
        "upgrading a mount of more than {MAX_SECRETS} secrets or {MAX_BYTES} bytes; enable a version 2 mount and copy them"
    ))
}
