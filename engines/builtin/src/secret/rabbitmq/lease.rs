//! `config/lease`: how long users of a mount live.

use conclave_engine_api::{Error, Millis, Outcome, Reply, Request, Terms, Txn};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record;

const FORMAT: u8 = 1;
const ROW: &str = "config/lease";

/// As stored; 0: the mount's.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    ttl: Millis,
    max_ttl: Millis,
}

impl Lease {
    fn load(txn: &mut Txn<'_>) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, ROW)
    }
}

/// `write config/lease`: what is not given is the mount's, as in Vault.
pub(super) fn write(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let lease = Lease {
        ttl: fields.duration("ttl")?.unwrap_or_default(),
        max_ttl: fields.duration("max_ttl")?.unwrap_or_default(),
    };
    txn.put(ROW, record::encode(FORMAT, &lease)?)?;
    Ok(Reply::empty().into())
}

/// `read config/lease`, in seconds.
pub(super) fn read(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    let lease = Lease::load(txn)?.ok_or_else(Error::not_found)?;
    Ok(Reply::json(json!({"ttl": lease.ttl / 1000, "max_ttl": lease.max_ttl / 1000})).into())
}

/// The life of a user that is made or renewed now.
pub(super) fn terms(txn: &mut Txn<'_>) -> Result<Terms, Error> {
    let Lease { ttl, max_ttl } = Lease::load(txn)?.unwrap_or_default();
    Ok(Terms { ttl, max_ttl })
}
