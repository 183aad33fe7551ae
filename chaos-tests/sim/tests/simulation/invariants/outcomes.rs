//! What a client is told of its write is so: a write that is said not to be there is not, one is not there twice, and what
//! is written by one command is there as a whole.

use std::collections::BTreeSet;

use crate::history::{Action, Answer, Seen};
use crate::invariants::Whole;

pub fn check(whole: &Whole<'_>) -> Result<(), String> {
    let kept: BTreeSet<u64> = whole.inserted.iter().copied().collect();
    for (id, operation) in &whole.history.operations {
        let Some((_, answer)) = &operation.ended else {
            continue;
        };
        let denied = matches!(answer, Answer::NotApplied(_) | Answer::Conflict);
        if operation.action == Action::Insert && denied && kept.contains(id) {
            return Err(format!(
                "outcomes: operation {id} was written and its client told otherwise: {operation:?}"
            ));
        }
        if let Answer::Read(seen) = answer {
            whole_commands(seen).map_err(|what| format!("{what}, in operation {id}"))?;
        }
    }
    whole_commands(whole.seen).map_err(|what| format!("{what}, at the end"))
}

fn whole_commands(seen: &Seen) -> Result<(), String> {
    let [one, other] = seen.pair;
    if one != other {
        return Err(format!(
            "outcomes: half of a command is there: {one:?} and {other:?}"
        ));
    }
    let (counted, rows) = seen.counted;
    if u64::try_from(counted) != Ok(rows) {
        return Err(format!(
            "outcomes: {rows} inserted rows were counted {counted} times: a command was applied twice"
        ));
    }
    Ok(())
}
