//! How often a token may be used: a counter beside its row, paid before anything is done or answered. Who takes the last use
//! leaves a row that ends the token: the request that took it does so when it is over, and the leader if its node did not.
//! Knows no requests.

use conclave_engine_api::{Millis, Txn};
use conclave_raft::{Condition, mutant};

use crate::catalog::encode_record;
use crate::error::Error;
use crate::namespaces::located::{self, Located};
use crate::store::{Draft, Opened, Proposal, Table};
use crate::tokens::{Caller, by_name, revoke};
use crate::work::Work;

/// How long a request that took a token's last use has, before the leader ends the token over it: longer than it is tried
/// again when it conflicts.
const GRACE: Millis = 10_000;

/// What the names of closing rows of used-up tokens begin with, before that of the token; a token's own is hexadecimal.
const SPENT: &str = "spent-";

/// What is to be committed for one use.
pub struct Payment {
    /// The command.
    pub proposal: Proposal,
    /// Whether it takes the last one.
    pub is_last: bool,
}

/// How often a token may still be used; `None` if that is not counted.
pub fn uses(opened: &Opened, name: &str) -> Result<Option<i64>, Error> {
    let (space, name) = located::place(Table::TokenUses, name);
    opened.space(space).counter(name)
}

/// Adds to how often a token may be used; the command is refused if less than `floor` would be left.
pub fn add_uses(draft: &mut Draft<'_>, name: &str, uses: i64, floor: i64) -> Result<(), Error> {
    // The mutant takes none away.
    if uses < 0 && mutant::is("taken-twice") {
        return Ok(());
    }
    let (space, name) = located::place(Table::TokenUses, name);
    draft.add(space, name, uses, floor, i64::MAX)
}

/// One use of a caller's token. Only the last one rests on how many are left: all before it may be paid at the same time, and
/// a command that would take the last without saying so is refused.
///
/// # Errors
/// [`Error::Denied`] when none is left.
pub fn pay(opened: &Opened, caller: &Caller, now: Millis) -> Result<Payment, Error> {
    let name = caller.name.as_str();
    let left = uses(opened, name)?.unwrap_or(0);
    if left < 1 {
        return Err(Error::unauthenticated());
    }
    let is_last = left == 1 && !mutant::is("taken-twice");
    let mut draft = Draft::new(opened);
    caller.expect_in(&mut draft)?;
    add_uses(&mut draft, name, -1, if is_last { 0 } else { 1 })?;
    if is_last {
        let (space, path) = located::place(Table::TokenUses, name);
        let seen = opened.space(space).revision(path)?;
        draft.expect(space, path, Condition::Revision(seen))?;
        let reader = Located::new(opened, Table::Closing);
        let mut closing = Txn::new(&reader);
        let deadline = now.saturating_add(GRACE);
        closing.put_due(&spent_row(name), encode_record(&())?, Some(deadline))?;
        located::include(&mut draft, Table::Closing, closing.into_changes())?;
    }
    Ok(Payment {
        proposal: draft.finish(),
        is_last,
    })
}

/// The closing row of a used-up token.
fn spent_row(token: &str) -> String {
    let (namespace, name) = located::split(token);
    located::locate(namespace, &format!("{SPENT}{name}"))
}

/// The token that a closing row of this name ends, if it is such a row.
pub fn spent_token(row: &str) -> Option<String> {
    let (namespace, name) = located::split(row);
    let name = name.strip_prefix(SPENT)?;
    Some(located::locate(namespace, name))
}

/// Ends a used-up token, and removes its closing row. What is told to `ended` is its accessor, if it had not ended already.
pub fn end_spent(work: &mut Work<'_>, token: &str, ended: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if let Some(found) = by_name(work, token, 0)? {
        revoke(work, &found)?;
        ended(found.record.accessor.as_str());
    }
    let row = spent_row(token);
    if work.closing.get(&row)?.is_some() {
        work.closing.delete(&row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_rows_name_their_token_in_its_namespace() {
        for token in ["00ff", "~7~00ff"] {
            assert_eq!(spent_token(&spent_row(token)).as_deref(), Some(token));
            assert_eq!(spent_token(token), None);
        }
        assert_eq!(spent_row("~7~00ff"), "~7~spent-00ff");
    }
}
