//! `delete`, `undelete` and `destroy`: the lives of named versions. Versions that are not there are passed over.

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Error, Fields, Outcome, Reply, Txn};

use super::body;
use super::config::Config;
use super::record::{self, Record};

/// `POST delete/<key>`: marks versions deleted; their data stays.
pub(super) fn delete(
    txn: &mut Txn<'_>,
    key: &str,
    fields: Fields<'_>,
    now: Millis,
) -> Result<Outcome, Error> {
    let numbers = body::versions(fields, "No version number provided")?;
    if let Some(mut record) = Record::load(txn, key)? {
        for number in numbers {
            let version = record.versions.get_mut(&number);
            if let Some(version) = version.filter(|version| version.is_readable(now)) {
                version.deletion = Some(now);
            }
        }
        record.store(txn, key)?;
    }
    Ok(Reply::empty().into())
}

/// `POST undelete/<key>`: makes versions readable again, with a new deletion time if the settings give one.
pub(super) fn undelete(
    txn: &mut Txn<'_>,
    key: &str,
    fields: Fields<'_>,
    now: Millis,
) -> Result<Outcome, Error> {
    let numbers = body::versions(fields, "No version number provided")?;
    if let Some(mut record) = Record::load(txn, key)? {
        let deletion = Config::load(txn)?.deletion_of(&record, now);
        for number in numbers {
            let version = record.versions.get_mut(&number);
            if let Some(version) = version.filter(|version| !version.destroyed) {
                version.deletion = deletion;
            }
        }
        record.store(txn, key)?;
    }
    Ok(Reply::empty().into())
}

/// `POST destroy/<key>`: removes the data of versions for ever; that they were is still told.
pub(super) fn destroy(txn: &mut Txn<'_>, key: &str, fields: Fields<'_>) -> Result<Outcome, Error> {
    let numbers = body::versions(fields, "no version number provided")?;
    if let Some(mut record) = Record::load(txn, key)? {
        for number in numbers {
            let version = record.versions.get_mut(&number);
            if let Some(version) = version.filter(|version| !version.destroyed) {
                version.destroyed = true;
                record::remove_data(txn, key, number)?;
            }
        }
        record.store(txn, key)?;
    }
    Ok(Reply::empty().into())
}
