//! Batch tokens: sealed, they carry themselves what they are, so that making one writes nothing and any node opens it. They
//! end by their time, with their parent, or with the mount that let their owner in; nobody can end one earlier.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use conclave_barrier::Barrier;

use crate::catalog::{decode_record, encode_record};
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::namespaces::id;
use crate::store::layout::ROOT_NAMESPACE;
use crate::tokens::TokenRecord;

/// What they begin with.
const PREFIX: &str = "b.";

/// What the holder of a token shows.
pub fn seal(barrier: &Barrier, record: &TokenRecord) -> Result<Zeroizing<String>, Error> {
    let sealed = barrier.seal_token(&encode_record(record)?, &mut OsEntropy)?;
    let shown = format!("{PREFIX}{}", BASE64.encode(sealed));
    Ok(Zeroizing::new(id::mark(&shown, record.namespace)))
}

/// The token in what somebody shows; `None` if this barrier did not seal it.
pub fn open(barrier: &Barrier, shown: &str) -> Result<Option<TokenRecord>, Error> {
    let unmarked = match id::of_shown(shown) {
        ROOT_NAMESPACE => shown,
        _ => shown.rsplit_once('.').map_or(shown, |(unmarked, _)| unmarked),
    };
    let sealed = unmarked
        .strip_prefix(PREFIX)
        .and_then(|text| BASE64.decode(text).ok());
    let opened = sealed.and_then(|sealed| barrier.open_token(&sealed).ok());
    opened.map(|record| decode_record(record.expose())).transpose()
}

/// Whether this can only be such a token.
pub fn is_batch(shown: &str) -> bool {
    shown.starts_with(PREFIX)
}
