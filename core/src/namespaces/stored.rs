//! Where the record of a namespace lies: among the configuration of the root, or if it lies within a namespace with keys of its
//! own, among that one's, sealed with what is in it.

use conclave_engine_api::Txn;

use crate::catalog::{CONFIG, EPOCH, encode_record};
use crate::error::Error;
use crate::namespaces::{NamespaceRecord, row_of};
use crate::store::layout::{ROOT_NAMESPACE, owner_of};
use crate::store::{Space, Table};
use crate::work::Work;

/// Writes a record in the place of what was there.
pub(crate) fn put(work: &mut Work<'_>, record: &NamespaceRecord) -> Result<(), Error> {
    let value = encode_record(record)?;
    change(work, record, |txn, row| {
        txn.get(row)?;
        Ok(txn.put(row, value)?)
    })
}

/// Removes a record.
pub(crate) fn delete(work: &mut Work<'_>, record: &NamespaceRecord) -> Result<(), Error> {
    change(work, record, |txn, row| {
        txn.get(row)?;
        Ok(txn.delete(row)?)
    })
}

fn change(
    work: &mut Work<'_>,
    record: &NamespaceRecord,
    write: impl FnOnce(&mut Txn<'_>, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let (home, row) = (owner_of(record.parent_ring), row_of(record.number));
    if home == ROOT_NAMESPACE {
        return write(&mut work.cluster, &row);
    }
    if home == work.namespace() {
        return write(&mut work.config, &row);
    }
    let reader = work.opened().space(Space::within(Table::Config, home));
    let mut txn = Txn::new(&reader);
    write(&mut txn, &row)?;
    work.include_config(home, txn.into_changes())?;
    work.draft.touch(CONFIG, EPOCH)
}
