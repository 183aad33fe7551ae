//! `sys/leases/*` for what has leases here so far: tokens, whose lease is named by their path and accessor's hash.

use crate::error::Error;
use crate::routes::{Answer, Call};

fn unknown(call: &Call<'_, '_>) -> Result<Answer, Error> {
    let in_path = call.params.get("lease_id");
    let in_body = call.fields().string("lease_id")?.unwrap_or_default();
    if in_path.is_empty() && in_body.is_empty() {
        return Err(Error::invalid("lease_id must be specified"));
    }
    Err(Error::invalid("invalid lease"))
}

/// `lease lookup`.
pub fn lookup(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    unknown(call)
}

/// `lease renew`.
pub fn renew(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    unknown(call)
}

/// `lease revoke`.
pub fn revoke(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    unknown(call)
}
