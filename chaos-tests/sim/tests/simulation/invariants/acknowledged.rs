//! Every acknowledged write is kept.

use std::collections::BTreeSet;

use crate::history::{Action, Answer};
use crate::invariants::Whole;

pub fn check(whole: &Whole<'_>) -> Result<(), String> {
    let kept: BTreeSet<u64> = whole.inserted.iter().copied().collect();
    for (id, operation) in &whole.history.operations {
        let acknowledged = matches!(operation.ended, Some((_, Answer::Applied(_))));
        if operation.action == Action::Insert && acknowledged && !kept.contains(id) {
            return Err(format!(
                "acknowledged writes: operation {id} is gone: {operation:?}"
            ));
        }
    }
    Ok(())
}
