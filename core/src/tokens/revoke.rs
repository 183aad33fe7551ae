//! Ending tokens. One command removes the token's row: it is dead on every node at once, and with its row gone no child
//! can be added. A closing row stays until its children and cubbyhole are gone too; whoever finds it carries on.

use conclave_engine_api::Page;
use conclave_raft::{Condition, Op, mutant};

use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::namespaces::located;
use crate::store::Table;
use crate::store::layout::ring_of;
use crate::tokens::lookup::{self, Found};
use crate::tokens::{TokenRecord, accessor_name};
use crate::work::{Left, Work};

/// Most rows one closing batch removes.
const BATCH: usize = 256;
/// When a closing row falls due: at once.
const AT_ONCE: u64 = 1;

/// Has a command that hangs something on a token say so in its row, once. Whoever ends the token as one on which nothing hangs
/// rests on that row's revision, so one of the two commands fails. If the row says so already, the command rests on nothing but
/// that the token is there, which renewals leave as it is: whoever ends it looks for what hangs on it.
///
/// # Errors
/// [`Error::Denied`]: there is no such token any more.
pub fn hang_on(work: &mut Work<'_>, token: &str) -> Result<(), Error> {
    let (space, path) = located::place(Table::Token, token);
    if let Some(row) = work.opened().space(space).row(path)?
        && !decode_record::<TokenRecord>(&row.value)?.bare
    {
        return work
            .draft
            .expect(space, path, Condition::Generation(row.generation));
    }
    // Or it is made by this very command.
    let row = work.tokens.get(token)?.ok_or_else(Error::unauthenticated)?;
    let mut record: TokenRecord = decode_record(&row.value)?;
    if record.bare {
        record.bare = false;
        work.tokens
            .put_due(token, encode_record(&record)?, row.deadline)?;
    }
    Ok(())
}

/// Removes a token's own rows and leaves a closing row, if anything can hang on it.
pub fn revoke(work: &mut Work<'_>, found: &Found) -> Result<(), Error> {
    forget(work, found)?;
    match found.record.bare {
        true => Ok(()),
        false => close(work, &found.name),
    }
}

/// Ends everything that hangs on `owner`, in batches.
pub fn close(work: &mut Work<'_>, owner: &str) -> Result<(), Error> {
    work.closing.put_due(owner, encode_record(&())?, Some(AT_ONCE))?;
    Ok(())
}

/// Removes a token and makes orphans of its children.
pub fn revoke_orphan(work: &mut Work<'_>, found: &Found) -> Result<(), Error> {
    let dir = format!("{}/", found.name);
    let children = located::names(work.opened(), Table::TokenChild, &dir, &Page::default())?;
    if children.len() > BATCH {
        return Err(Error::Overloaded(format!(
            "the token has more than {BATCH} children"
        )));
    }
    for child in children {
        work.children.delete(&format!("{}/{child}", found.name))?;
        if let Some(row) = work.tokens.get(&child)? {
            let mut record: TokenRecord = decode_record(&row.value)?;
            record.parent = None;
            work.tokens
                .put_due(&child, encode_record(&record)?, row.deadline)?;
        }
    }
    revoke(work, found)
}

fn forget(work: &mut Work<'_>, found: &Found) -> Result<(), Error> {
    let barrier = work.opened().barrier().clone();
    work.tokens.get(&found.name)?;
    work.tokens.delete(&found.name)?;
    work.accessors
        .delete(&accessor_name(&barrier, &found.record.accessor))?;
    if let Some(owner) = found.record.owner() {
        work.children.delete(&format!("{owner}/{}", found.name))?;
    }
    if found.record.num_uses > 0 {
        let (space, path) = located::place(Table::TokenUses, &found.name);
        let key = work.opened().key(space, path)?;
        work.draft.op(Op::Delete { key });
    }
    Ok(())
}

/// Closes up to a batch of a closed token's children, and tells the accessor of each. Those in a sealed namespace are left, and
/// nothing waits behind them.
pub fn close_children(work: &mut Work<'_>, name: &str, closed: &mut dyn FnMut(&str)) -> Result<Left, Error> {
    let dir = format!("{name}/");
    let children = located::names(work.opened(), Table::TokenChild, &dir, &Page::default())?;
    let barrier = work.opened().barrier();
    let (open, sealed): (Vec<_>, Vec<_>) = children
        .into_iter()
        .partition(|child| barrier.has_ring(ring_of(located::split(child).0)));
    let left = match sealed.is_empty() {
        _ if open.len() > BATCH => Left::More,
        false => Left::Sealed,
        true => Left::Nothing,
    };
    for child in open.iter().take(BATCH) {
        work.children.delete(&format!("{name}/{child}"))?;
        // An expired child is closed like a live one. The mutant closes none.
        let found = lookup::by_name(work, child, 0)?;
        if let Some(found) = found.filter(|_| !mutant::is("dropped-revocation")) {
            revoke(work, &found)?;
            closed(found.record.accessor.as_str());
        }
    }
    Ok(left)
}
