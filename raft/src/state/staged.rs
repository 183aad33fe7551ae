//! One command's operations, staged over the open batch until it is known that all of them hold. This file must not
//! know how batches are written.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::CLUSTER_VERSION;
use crate::command::{Key, Millis, Op, Outcome};
use crate::error::Error;
use crate::mutant;
use crate::state::adopt::outlives_adoption;
use crate::state::apply::OpenBatch;
use crate::state::cache::Head;
use crate::state::counter::{add_within, counter_value, encode_counter};
use crate::state::register::RESERVED_TABLE;
use crate::state::{Applied, ChangeOp, DueEntry, Row, RowChange};

/// One command's effects before it is known that all of it holds.
pub(super) struct Staged<'b, 'a> {
    batch: &'b mut OpenBatch<'a>,
    applied: Applied,
    node: u64,
    rows: BTreeMap<Key, Option<Row>>,
    due: Vec<(DueEntry, bool)>,
    changes: Vec<RowChange>,
    /// The state before this command is gone, but for the register.
    replaces: bool,
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
    /// Nothing yet, over what was applied so far.
    pub fn over(batch: &'b mut OpenBatch<'a>, cluster_time: Millis) -> Self {
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
            replaces: false,
        }
    }

    /// The revision this command will have.
    pub fn revision(&self) -> u64 {
        self.applied.revision
    }

    /// Stages one operation; `number` is its index in the command.
    pub fn op(&mut self, number: u32, op: &Op) -> Result<(), Halt> {
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
            #[cfg(feature = "next-format")]
            Op::NextFormat => Ok(()),
            Op::AdoptStaged { .. } if number > 0 => Err(denied(
                "an archive is adopted by the first operation of a command",
            )),
            Op::AdoptStaged { id, chunks, digest } => self.adopt(id, *chunks, digest),
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
                // The mutant: what one node writes another does not.
                let wrong = u64::from(mutant::is("divergent-apply") && mutant::sometimes());
                let row = Row {
                    kind: *kind,
                    revision,
                    generation: kept.map_or(revision, |head| head.generation),
                    term: *term,
                    deadline: deadline.saturating_add(wrong),
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
        if mutant::is("lost-row") && revision.is_multiple_of(31) {
            // The mutant: the counter takes the place of what the command wrote before it.
            self.rows.clear();
        }
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
            None if self.is_gone(key) => Ok(None),
            None => self.batch.row(key),
        }
    }

    fn head(&mut self, key: &[u8]) -> Result<Option<Head>, Error> {
        match self.rows.get(key) {
            Some(row) => Ok(row.as_ref().map(Head::of)),
            None if self.is_gone(key) => Ok(None),
            None => self.batch.head(key),
        }
    }

    fn is_gone(&self, key: &[u8]) -> bool {
        self.replaces && !outlives_adoption(key)
    }

    /// The version every member supports.
    pub fn cluster_version(&self) -> u16 {
        self.applied.cluster_version
    }

    /// From here on nothing of the state before is seen but the register. Answers this command's revision.
    pub fn begin_adoption(&mut self, revision: u64, min_term: u32) -> u64 {
        self.replaces = true;
        self.applied.revision = self.applied.revision.max(revision.saturating_add(1));
        self.applied.min_term = min_term;
        self.applied.revision
    }

    /// Stages a row without a change event: the change log begins anew.
    pub fn put_adopted(&mut self, key: Key, row: Row) {
        self.rows.insert(key, Some(row));
    }

    /// Stages a due entry.
    pub fn put_due(&mut self, entry: DueEntry) {
        self.due.push((entry, true));
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

    /// Everything held: the command is applied.
    pub fn keep(self) -> Result<Outcome, Error> {
        let revision = self.revision();
        if self.replaces {
            self.batch.replace(self.applied, self.rows, self.due);
        } else {
            self.batch
                .keep(self.applied, self.rows, self.due, &self.changes)?;
        }
        Ok(Outcome::Applied {
            revision,
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
