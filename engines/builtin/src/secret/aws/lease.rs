//! `config/lease`: how long users of IAM live unless their role says otherwise.

use conclave_engine_api::{Error, Millis, Outcome, Reply, Request, Txn, format_duration};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record;

const FORMAT: u8 = 1;
const ROW: &str = "config/lease";

/// As stored; 0: the mount's.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub lease: Millis,
    pub lease_max: Millis,
}

impl Lease {
    pub fn load(txn: &mut Txn<'_>) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, ROW)
    }
}

/// `write config/lease`: both, as in Vault.
pub(super) fn write(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let required = |name: &str| {
        let given = fields.string(name)?.filter(|text| !text.is_empty());
        given.ok_or_else(|| Error::invalid(format!("'{name}' is a required parameter")))?;
        fields.duration(name).map(Option::unwrap_or_default)
    };
    let lease = Lease {
        lease: required("lease")?,
        lease_max: required("lease_max")?,
    };
    if lease.lease_max > 0 && lease.lease > lease.lease_max {
        return Err(Error::invalid("lease exceeds lease_max"));
    }
    txn.put(ROW, record::encode(FORMAT, &lease)?)?;
    Ok(Reply::empty().into())
}

/// `read config/lease`.
pub(super) fn read(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    let lease = Lease::load(txn)?.ok_or_else(Error::not_found)?;
    Ok(Reply::json(json!({
        "lease": format_duration(lease.lease),
        "lease_max": format_duration(lease.lease_max),
    }))
    .into())
}
