//! Reads and writes are linearizable. Revisions are the witness: an order of all writes and reads that agrees with what
//! each client saw first and last, in which every read shows the newest write before it. Such an order is a proof
//! (Herlihy and Wing 1990, section 2.3); nothing has to be searched. That revisions could be wrong costs nothing: a wrong
//! order fails one of the checks.

use std::collections::BTreeMap;

use conclave_raft::state::ChangeOp;

use crate::history::{Action, Answer, Operation, Seen, inserted, pair, register};
use crate::invariants::Whole;

/// By register, then revision: whether it was written (or else removed).
type Registers = BTreeMap<u64, BTreeMap<u64, bool>>;

pub fn check(whole: &Whole<'_>) -> Result<(), String> {
    real_time(whole)?;
    let registers = registers_of(whole);
    let mut revisions = BTreeMap::new();
    for (id, operation) in &whole.history.operations {
        let Some((_, answer)) = &operation.ended else {
            continue;
        };
        let checked = match answer {
            Answer::Applied(revision) => applied(whole, &registers, *id, operation, *revision)
                .and_then(|()| once(&mut revisions, *id, *revision)),
            Answer::Read(seen) => read(&registers, whole, &mut revisions, seen),
            _ => Ok(()),
        };
        checked.map_err(|what| format!("linearizable: operation {id}: {what}: {operation:?}"))?;
    }
    read(&registers, whole, &mut revisions, whole.seen)
        .map_err(|what| format!("linearizable: the last state: {what}"))
}

/// What ended before something began comes before it.
fn real_time(whole: &Whole<'_>) -> Result<(), String> {
    let mut events = BTreeMap::new();
    for (id, operation) in &whole.history.operations {
        events.insert(operation.began, (*id, None));
        if let Some((event, answer)) = &operation.ended {
            events.insert(*event, (*id, Some(answer)));
        }
    }
    let mut begun = BTreeMap::new();
    let (mut newest, mut time) = ((0, 0), 0);
    for (id, answer) in events.into_values() {
        let (revision, writes) = match answer {
            None => {
                begun.insert(id, (newest, time));
                continue;
            }
            Some(Answer::Applied(revision)) => (*revision, true),
            Some(Answer::Read(seen)) => {
                if seen.cluster_time < begun[&id].1 {
                    return Err(format!(
                        "cluster time: operation {id} read a time that had passed"
                    ));
                }
                time = time.max(seen.cluster_time);
                (seen.revision, false)
            }
            Some(_) => continue,
        };
        let (before, by) = begun[&id].0;
        if revision < before || (writes && revision == before) {
            return Err(format!(
                "linearizable: operation {id} is at revision {revision}, and operation {by}, which ended before it \
                 began, at {before}: {:?}",
                whole.history.operations[&id]
            ));
        }
        newest = newest.max((revision, id));
    }
    Ok(())
}

fn registers_of(whole: &Whole<'_>) -> Registers {
    let mut registers = Registers::new();
    for number in 0..64 {
        let key = register(number);
        for set in whole.changes {
            for change in set.changes.iter().filter(|change| change.key == key) {
                let written = change.op == ChangeOp::Put;
                registers.entry(number).or_default().insert(set.revision, written);
            }
        }
    }
    registers
}

/// The last change of a register below `end`: its revision, if it was a write.
fn written_before(registers: &Registers, number: u64, end: u64) -> Option<u64> {
    let (revision, written) = registers.get(&number)?.range(..end).next_back()?;
    written.then_some(*revision)
}

/// An acknowledged write changed what it says, and held what it expected.
fn applied(
    whole: &Whole<'_>,
    registers: &Registers,
    id: u64,
    operation: &Operation,
    revision: u64,
) -> Result<(), String> {
    let at = usize::try_from(revision).unwrap_or(usize::MAX).wrapping_sub(1);
    let set = whole.changes.get(at).filter(|set| set.revision == revision);
    let set = set.ok_or("there is no such revision")?;
    let changed = |key| set.changes.iter().any(|change| change.key == key);
    let there = match operation.action {
        Action::Put(number) | Action::Cas(number, _) => changed(register(number)),
        Action::Insert => changed(inserted(id)),
        Action::Pair => changed(pair(0)) && changed(pair(1)),
        Action::Delete(_) | Action::Read => true,
    };
    if !there {
        return Err("its revision changed something else".to_owned());
    }
    if let Action::Cas(number, expected) = operation.action {
        let found = written_before(registers, number, revision);
        if found != expected {
            return Err(format!("it expected {expected:?} and came upon {found:?}"));
        }
    }
    Ok(())
}

/// A read shows the newest write of each register at its revision.
fn read(
    registers: &Registers,
    whole: &Whole<'_>,
    revisions: &mut BTreeMap<u64, u64>,
    seen: &Seen,
) -> Result<(), String> {
    for number in registers.keys() {
        let expected = written_before(registers, *number, seen.revision + 1);
        let found = seen.registers.get(number).map(|(revision, _)| *revision);
        if expected != found {
            return Err(format!(
                "register {number} shows {found:?} instead of {expected:?} at revision {}",
                seen.revision
            ));
        }
    }
    for (revision, writer) in seen.registers.values() {
        once(revisions, *writer, *revision)?;
        let operation = whole.history.operations.get(writer);
        match operation.and_then(|operation| operation.ended.as_ref()) {
            Some((_, Answer::Applied(told))) if told != revision => {
                return Err(format!(
                    "operation {writer} was told revision {told} and is at {revision}"
                ));
            }
            Some((_, Answer::Conflict | Answer::NotApplied(_))) => {
                return Err(format!("operation {writer} shows and was told that it does not"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A write happens once.
fn once(revisions: &mut BTreeMap<u64, u64>, writer: u64, revision: u64) -> Result<(), String> {
    let known = *revisions.entry(writer).or_insert(revision);
    match known == revision {
        true => Ok(()),
        false => Err(format!(
            "operation {writer} is written at revisions {known} and {revision}"
        )),
    }
}
