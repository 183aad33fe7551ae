//! Second factors of logins: methods (time-based codes, RFC 6238), who must show one (enforcements), the secrets that people
//! enrol, and checking what they show. Methods and enforcements are configuration of a namespace and hold in those beneath it;
//! secrets lie with the entity they are of. Codes that were used, wrong guesses and logins that wait for a second factor are
//! rows too, so every node knows them, and so does the next leader. Must not know how a login itself is checked.

mod barcode;
mod check;
mod demand;
pub mod enforcements;
pub mod enrol;
pub mod methods;
mod pending;
mod record;
mod totp;
mod tried;

pub use check::{Checked, Credentials, check};
pub use demand::{Who, demands, requirement};
pub use pending::{Pending, Waiting};
pub use record::Mfa;
pub use totp::Secret;

use conclave_engine_api::Txn;

use crate::catalog::Catalog;
use crate::error::Error;
use crate::store::{Space, Table};
use crate::work::Work;

/// Whether there is a method with this id in the namespace of a catalog or above.
pub fn is_method(catalog: &Catalog, id: &str) -> bool {
    record::method(catalog, id).is_some()
}

/// Where a namespace keeps what passes by: logins that wait, codes that were used, wrong guesses.
pub const fn passing(namespace: u32) -> Space {
    Space::within(Table::Mfa, namespace)
}

/// Removes a row of these that fell due.
pub fn forget(work: &mut Work<'_>, namespace: u32, path: &str) -> Result<(), Error> {
    let space = passing(namespace);
    let reader = work.opened().space(space);
    let mut txn = Txn::new(&reader);
    txn.get(path)?;
    txn.delete(path)?;
    work.draft.include(space, txn.into_changes())
}
