//! Applies commands over an open batch: check all expectations, stage all operations, keep all or nothing. Later
//! commands see what earlier ones wrote. This file must not know where the commands come from.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::{Batch, CLUSTER_VERSION, decode_command};
use crate::command::{Command, Condition, Expect, Key, Millis, Op, Origin, Outcome};
use crate::error::Error;
use crate::state::cache::{Cache, Head};
use crate::state::changes::{encode_changes, to_trim};
use crate::state::counter::{add_within, counter_value, encode_counter};
use crate::state::register::RESERVED_TABLE;
use crate::state::{Applied, ChangeOp, DueEntry, Row, RowChange, Stats, Store, WriteSet, clock};

/// Everything applied since the last write, over the store.
pub(super) struct OpenBatch<'a> {
    store: &'a dyn Store,
    cache: &'a mut Cache,
    stats: &'a mut Stats,
    revision_before: u64,
    pub applied: Applied,
    pub membership: Bytes,
    rows: BTreeMap<Key, Option<Row>>,
    due: BTreeMap<DueEntry, bool>,
    changes: Vec<(u64, Bytes)>,
}

impl<'a> OpenBatch<'a> {
    pub fn new(
        store: &'a dyn Store,
        cache: &'a mut Cache,
        stats: &'a mut Stats,
        applied: Applied,
        membership: Bytes,
    ) -> Self {
        Self {
            store,
            cache,
            stats,
            revision_before: applied.revision,
            applied,
            membership,
            rows: BTreeMap::new(),
            due: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Applies one log entry's commands, in order.
    pub fn commands(&mut self, batch: &Batch) -> Result<Vec<(Origin, Outcome)>, Error> {
        (self.applied.cluster_time, _) = clock::advance(self.applied.cluster_time, batch.proposed_at);
        let mut outcomes = Vec::with_capacity(batch.commands.len());
        for bytes in &batch.commands {
            let command = decode_command(bytes)?;
            let outcome = self.command(&command, batch.proposed_at)?;
            self.stats.commands += 1;
            outcomes.push((command.origin, outcome));
        }
        Ok(outcomes)
    }

    /// What is to be written. The cache is brought up to date with it, so it must be written or the machine stop.
    pub fn finish(self) -> WriteSet {
        for (key, row) in &self.rows {
            self.cache.put(key, row.as_ref().map(Head::of));
        }
        WriteSet {
            rows: self.rows.into_iter().collect(),
            due: self.due.into_iter().collect(),
            changes: self.changes,
            trim_changes: to_trim(self.revision_before, self.applied.revision),
            applied: self.applied,
            membership: self.membership,
        }
    }

    fn command(&mut self, command: &Command, proposed_at: Millis) -> Result<Outcome, Error> {
        let cluster_time = self.applied.cluster_time;
        let (_, trusted) = clock::advance(cluster_time, proposed_at);
        let steps = command.ops.contains(&Op::AdvanceClock);
        let time = if steps {
            cluster_time.max(proposed_at)
        } else {
            cluster_time
        };
        if !(trusted || steps) || !clock::near(command.now_used, time) {
            return Ok(Outcome::StaleClock { cluster_time });
        }
        let min_term = self.applied.min_term;
        if command.oldest_term != 0 && command.oldest_term < min_term {
            return Ok(Outcome::StaleKey { min_term });
        }
        for (number, expect) in (0..).zip(&command.expect) {
            if !self.holds(expect)? {
                return Ok(Outcome::Conflict { expectation: number });
            }
        }
        let mut staged = Staged::over(self, time);
        for (number, op) in (0..).zip(&command.ops) {
            match staged.op(number, op) {
                Ok(()) => {}
                Err(Halt::Outcome(outcome)) => return Ok(outcome),
                Err(Halt::Failed(error)) => return Err(error),
            }
        }
        staged.keep()
    }

    fn holds(&mut self, expect: &Expect) -> Result<bool, Error> {
        let head = self.head(&expect.key)?;
        Ok(match (expect.condition, head) {
            (Condition::Absent, head) => head.is_none(),
            (_, None) => false,
            (Condition::Present, Some(_)) => true,
            (Condition::Revision(revision), Some(head)) => head.revision == revision,
            (Condition::Generation(generation), Some(head)) => head.generation == generation,
        })
    }

    fn head(&mut self, key: &[u8]) -> Result<Option<Head>, Error> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.as_ref().map(Head::of));
        }
        if let Some(head) = self.cache.get(key) {
            return Ok(head);
        }
        Ok(self.load(key)?.as_ref().map(Head::of))
    }

    fn row(&mut self, key: &[u8]) -> Result<Option<Row>, Error> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.clone());
        }
        match self.cache.get(key) {
            Some(None) => return Ok(None),
            Some(Some(head)) => {
                if let Some(row) = head.row() {
                    return Ok(Some(row));
                }
            }
            None => {}
        }
        self.load(key)
    }

    fn load(&mut self, key: &[u8]) -> Result<Option<Row>, Error> {
        self.stats.store_gets += 1;
        let row = self.store.get(key)?;
        self.cache.put(key, row.as_ref().map(Head::of));
        Ok(row)
    }
}

/// One command's effects before it is known that all of it holds.
pub(super) struct Staged<'b, 'a> {
    batch: &'b mut OpenBatch<'a>,
    applied: Applied,
    node: u64,
    rows: BTreeMap<Key, Option<Row>>,
    due: Vec<(DueEntry, bool)>,
    changes: Vec<RowChange>,
}

/// Why a command ends before its last operation.
pub(super) enum Halt {
    /// It has this outcome and no effect.
    Outcome(Outcome),
    /// The node cannot go on.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The command is well-formed but not allowed.
pub(super) fn denied(reason: impl Into<String>) -> Halt {
    Halt::Outcome(Outcome::Denied {
        reason: reason.into(),
    })
}

impl<'b, 'a> Staged<'b, 'a> {
    fn over(batch: &'b mut OpenBatch<'a>, cluster_time: Millis) -> Self {
        let applied = Applied {
            revision: batch.applied.revision + 1,
            cluster_time,
            ..batch.applied
        };
        Self {
            batch,
            applied,
            node: 0,
            rows: BTreeMap::new(),
            due: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The revision this command will have.
    pub fn revision(&self) -> u64 {
        self.applied.revision
    }

    fn op(&mut self, number: u32, op: &Op) -> Result<(), Halt> {
        match op {
            Op::Put { key, .. }
            | Op::Delete { key }
            | Op::Touch { key }
            | Op::Rewrap { key, .. }
            | Op::Add { key, .. } => {
                may_write(number, key)?;
                self.row_op(number, op)
            }
            Op::DuePut { queue, deadline, key } => {
                self.due.push((
                    DueEntry {
                        queue: *queue,
                        deadline: *deadline,
                        key: key.clone(),
                    },
                    true,
                ));
                Ok(())
            }
            Op::DueDelete { queue, deadline, key } => {
                self.due.push((
                    DueEntry {
                        queue: *queue,
                        deadline: *deadline,
                        key: key.clone(),
                    },
                    false,
                ));
                Ok(())
            }
            Op::SetMinTerm { term } if *term < self.applied.min_term => Err(denied(format!(
                "the least key term is {} and is never lowered",
                self.applied.min_term
            ))),
            Op::SetMinTerm { term } => {
                self.applied.min_term = *term;
                Ok(())
            }
            Op::RegisterNode { node } => {
                if self.node != 0 {
                    return Err(denied("a command registers at most one node"));
                }
                self.node = self.register_node(node)?;
                Ok(())
            }
            Op::BeginIncarnation {
                node,
                incarnation,
                instance,
                last_log_index,
            } => self.begin_incarnation(*node, *incarnation, *instance, *last_log_index),
            Op::ForgetNode { node } => self.forget_node(*node),
            Op::AdvanceClock => Ok(()),
            Op::RaiseVersion { version } => self.raise_version(*version),
        }
    }

    /// An operation on one row of a caller's table.
    fn row_op(&mut self, number: u32, op: &Op) -> Result<(), Halt> {
        let revision = self.revision();
        match op {
            Op::Put {
                key,
                kind,
                term,
                deadline,
                new_generation,
                value,
            } => {
                let kept = if *new_generation { None } else { self.head(key)? };
                let row = Row {
                    kind: *kind,
                    revision,
                    generation: kept.map_or(revision, |head| head.generation),
                    term: *term,
                    deadline: *deadline,
                    value: value.clone(),
                };
                self.stage(ChangeOp::Put, key, row);
            }
            Op::Delete { key } => {
                if let Some(head) = self.head(key)? {
                    self.stage_delete(key, head.kind);
                }
            }
            Op::Touch { key } => {
                let row = self.row(key)?.unwrap_or_else(|| empty_row(revision));
                self.stage(ChangeOp::Touch, key, Row { revision, ..row });
            }
            Op::Rewrap {
                key,
                revision,
                term,
                value,
            } => self.rewrap(key, *revision, *term, value)?,
            Op::Add {
                key,
                delta,
                floor,
                ceiling,
            } => self.add(number, key, *delta, (*floor, *ceiling))?,
            // `op` sends no other here.
            _ => {}
        }
        Ok(())
    }

    fn rewrap(&mut self, key: &Key, revision: u64, term: u32, value: &Bytes) -> Result<(), Halt> {
        if let Some(head) = self.head(key)?.filter(|head| head.revision == revision) {
            let Head {
                kind,
                generation,
                deadline,
                ..
            } = head;
            let row = Row {
                kind,
                revision,
                generation,
                term,
                deadline,
                value: value.clone(),
            };
            // No change event: the row says the same as before.
            self.rows.insert(key.clone(), Some(row));
        }
        Ok(())
    }

    fn add(&mut self, number: u32, key: &Key, delta: i64, (floor, ceiling): (i64, i64)) -> Result<(), Halt> {
        let revision = self.revision();
        let row = self.row(key)?;
        let Some(current) = counter_value(row.as_ref()) else {
            return Err(denied(format!("operation {number}: the row is not a counter")));
        };
        let Some(sum) = add_within(current, delta, floor, ceiling) else {
            return Err(Halt::Outcome(Outcome::Refused { op: number }));
        };
        let row = row.unwrap_or_else(|| empty_row(revision));
        self.stage(
            ChangeOp::Add,
            key,
            Row {
                revision,
                value: encode_counter(sum),
                ..row
            },
        );
        Ok(())
    }

    fn raise_version(&mut self, version: u16) -> Result<(), Halt> {
        if version < self.applied.cluster_version {
            let current = self.applied.cluster_version;
            return Err(denied(format!(
                "the cluster version is {current} and is never lowered"
            )));
        }
        if version > CLUSTER_VERSION {
            // Newer builds apply this command. Skipping it here would diverge from them.
            let format = u32::from(version);
            return Err(Halt::Failed(Error::UnknownFormat {
                what: "cluster version",
                format,
            }));
        }
        self.applied.cluster_version = version;
        Ok(())
    }

    pub fn row(&mut self, key: &[u8]) -> Result<Option<Row>, Error> {
        match self.rows.get(key) {
            Some(row) => Ok(row.clone()),
            None => self.batch.row(key),
        }
    }

    fn head(&mut self, key: &[u8]) -> Result<Option<Head>, Error> {
        match self.rows.get(key) {
            Some(row) => Ok(row.as_ref().map(Head::of)),
            None => self.batch.head(key),
        }
    }

    pub fn stage(&mut self, op: ChangeOp, key: &Key, row: Row) {
        self.changes.push(RowChange {
            op,
            kind: row.kind,
            key: key.clone(),
        });
        self.rows.insert(key.clone(), Some(row));
    }

    pub fn stage_delete(&mut self, key: &Key, kind: u8) {
        self.changes.push(RowChange {
            op: ChangeOp::Delete,
            kind,
            key: key.clone(),
        });
        self.rows.insert(key.clone(), None);
    }

    fn keep(self) -> Result<Outcome, Error> {
        let changes = encode_changes(&self.changes)?;
        self.batch.changes.push((self.applied.revision, changes));
        self.batch.rows.extend(self.rows);
        self.batch.due.extend(self.due);
        self.batch.applied = self.applied;
        Ok(Outcome::Applied {
            revision: self.applied.revision,
            node: self.node,
        })
    }
}

/// A row as `Touch` and `Add` create it.
fn empty_row(revision: u64) -> Row {
    Row {
        kind: 0,
        revision,
        generation: revision,
        term: 0,
        deadline: 0,
        value: Bytes::new(),
    }
}

/// Callers' commands write any table but the register's, which has its own operations.
fn may_write(number: u32, key: &[u8]) -> Result<(), Halt> {
    match key.get(1) {
        None => Err(denied(format!(
            "operation {number}: a key begins with format and table"
        ))),
        Some(&RESERVED_TABLE) => Err(denied(format!(
            "operation {number}: the table is replication's own"
        ))),
        Some(_) => Ok(()),
    }
}
