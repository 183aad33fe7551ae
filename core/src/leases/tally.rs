//! Counts leases for the gauges: how many there are by keys alone, and what does not get on by the index of what is due. Reads
//! no lease that has long to live.

use std::collections::BTreeMap;

use conclave_engine_api::Millis;
use conclave_raft::{Key, Walk};

use crate::catalog::{Catalog, Category, decode_record};
use crate::error::Error;
use crate::leases::sweep::MAX_PAUSE;
use crate::leases::{FIRST_QUEUE, IntentRecord, LeaseRecord};
use crate::store::layout::{ROOT_NAMESPACE, after_prefix, open_key, ring_of_key, table_prefix};
use crate::store::{Opened, Space, Table};

/// Targets that are listed at once.
const PAGE: usize = 4096;
/// Most rows of one target that are looked at: a count beyond says "many".
const MAX_DUE: usize = 20_000;
/// What is counted of mounts that are gone or were moved, and of rows that cannot be read.
const ELSEWHERE: &str = "other";

/// Numbers by type of engine.
pub type ByEngine = BTreeMap<String, u64>;

/// What was counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Leases.
    pub leases: ByEngine,
    /// Revocations that do not get on: tried again, or not tried as their target does not answer.
    pub stuck: ByEngine,
    /// Accounts in the making.
    pub open: ByEngine,
    /// Leases whose end has come and that are still there.
    pub due: u64,
}

/// Counts on a view.
pub fn tally(opened: &Opened, catalog: &Catalog, now: Millis) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let mut rest = count(opened, &table_prefix(Table::Lease))?;
    for node in catalog.tree().open_beneath(ROOT_NAMESPACE) {
        for mount in node.own.mounts(Category::Secret).values() {
            let found = beneath(opened, node.record.number, &mount.path)?;
            if found > 0 {
                rest = rest.saturating_sub(found);
                *tally.leases.entry(mount.kind.clone()).or_default() += found;
            }
        }
    }
    if rest > 0 {
        tally.leases.insert(ELSEWHERE.to_owned(), rest);
    }
    let (found, unread) = waiting(opened, now)?;
    for found in found {
        tally.due += u64::from(found.deadline <= now);
        if !found.why.is_empty() {
            *tally.stuck.entry(found.record.kind.clone()).or_default() += 1;
        } else if found.is_intent && found.record.ending.is_none() {
            *tally.open.entry(found.record.kind.clone()).or_default() += 1;
        }
    }
    if !unread.is_empty() {
        let unread = u64::try_from(unread.len()).unwrap_or(u64::MAX);
        tally.due += unread;
        *tally.stuck.entry(ELSEWHERE.to_owned()).or_default() += unread;
    }
    Ok(tally)
}

/// How many leases of a namespace lie beneath a path; beneath all of it, if that is empty. By keys alone.
pub fn beneath(opened: &Opened, namespace: u32, path: &str) -> Result<u64, Error> {
    let space = Space::within(Table::Lease, namespace);
    match path.trim_matches('/') {
        "" => count(opened, &space.prefix()),
        path => count(opened, &opened.key(space, path)?),
    }
}

fn count(opened: &Opened, prefix: &[u8]) -> Result<u64, Error> {
    let mut count = 0;
    let to = after_prefix(prefix);
    opened.view().rows().walk(prefix, &to, &mut |_| {
        count += 1;
        Ok(Walk::Next)
    })?;
    Ok(count)
}

/// A lease, or what is left of an intent, that is due soon.
pub struct Waiting {
    /// Its id.
    pub id: String,
    /// Whether it is an intent.
    pub is_intent: bool,
    /// The lease.
    pub record: LeaseRecord,
    /// When it is due.
    pub deadline: Millis,
    /// Why it does not get on: what was said of its last attempt or, if its time has come, by its target of another; empty: it
    /// does.
    pub why: String,
}

/// What is due, or will be within the longest pause: a revocation that failed is always among it. Beside it the namespaces of
/// those that are due and cannot be read.
pub fn waiting(opened: &Opened, now: Millis) -> Result<(Vec<Waiting>, Vec<u32>), Error> {
    let rows = opened.view().rows();
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    let mut queues = rows.queues(Some(FIRST_QUEUE - 1), PAGE)?;
    while let Some(last) = queues.last().copied().filter(|_| queues.len() % PAGE == 0) {
        let more = rows.queues(Some(last), PAGE)?;
        if more.is_empty() {
            break;
        }
        queues.extend(more);
    }
    for queue in queues {
        let others = found.len();
        for (deadline, key) in rows.due(queue, now.saturating_add(MAX_PAUSE), MAX_DUE)? {
            if !opened.barrier().has_ring(ring_of_key(&key)?) {
                // All of a queue is of one mount.
                break;
            }
            match read(opened, deadline, &key) {
                Ok(row) => found.extend(row),
                // It holds up no other. Nobody can tell when it would be tried.
                Err(_) if deadline <= now => unread.push(Space::of_key(&key)?.0.namespace),
                Err(_) => {}
            }
        }
        hold_up(found.iter_mut().skip(others), now);
    }
    Ok((found, unread))
}

fn read(opened: &Opened, deadline: Millis, key: &Key) -> Result<Option<Waiting>, Error> {
    let (space, id) = open_key(opened.barrier(), key)?;
    let Some(row) = opened.space(space).row(&id)? else {
        return Ok(None);
    };
    if row.deadline != Some(deadline) {
        return Ok(None);
    }
    let is_intent = space.table == Table::Intent;
    let record = match is_intent {
        true => decode_record::<IntentRecord>(&row.value)?.lease,
        false => decode_record(&row.value)?,
    };
    let why = record.ending.as_ref().map(|ending| ending.error.clone());
    Ok(Some(Waiting {
        id,
        is_intent,
        record,
        deadline,
        why: why.unwrap_or_default(),
    }))
}

/// What is due at one target and was not tried yet waits for the same as what was, if that target does not answer: while it does,
/// it is tried soon.
fn hold_up<'w>(queue: impl Iterator<Item = &'w mut Waiting>, now: Millis) {
    let mut untried = Vec::new();
    let mut silence = None;
    for waiting in queue {
        match &waiting.record.ending {
            Some(ending) if ending.silent => silence = Some(ending.error.clone()),
            _ if waiting.why.is_empty() && waiting.deadline <= now => untried.push(waiting),
            _ => {}
        }
    }
    if let Some(silence) = silence {
        for waiting in untried {
            waiting.why.clone_from(&silence);
        }
    }
}
