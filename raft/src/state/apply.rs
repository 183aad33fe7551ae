//! Applies commands over an open batch: check all expectations, stage all operations, keep all or nothing. Later
//! commands see what earlier ones wrote. This file must not know where the commands come from.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::codec::{Batch, decode_command};
use crate::command::{Command, Condition, Expect, Key, Millis, Op, Origin, Outcome};
use crate::error::Error;
use crate::mutant;
use crate::state::adopt::outlives_adoption;
use crate::state::cache::{Cache, Head};
use crate::state::changes::encode_changes;
use crate::state::retained::Kept;
use crate::state::staged::{Halt, Staged};
use crate::state::{Applied, DueEntry, Row, RowChange, Stats, Store, WriteSet, clock};

/// Everything applied since the last write, over the store.
pub(super) struct OpenBatch<'a> {
    store: &'a dyn Store,
    cache: &'a mut Cache,
    stats: &'a mut Stats,
    kept: &'a mut Kept,
    pub applied: Applied,
    pub membership: Bytes,
    rows: BTreeMap<Key, Option<Row>>,
    due: BTreeMap<DueEntry, bool>,
    changes: Vec<(u64, Bytes)>,
    /// What the store holds is gone once this is written, but for the register.
    replaces: bool,
}

impl<'a> OpenBatch<'a> {
    pub fn new(
        store: &'a dyn Store,
        cache: &'a mut Cache,
        stats: &'a mut Stats,
        kept: &'a mut Kept,
        applied: Applied,
        membership: Bytes,
    ) -> Self {
        Self {
            store,
            cache,
            stats,
            kept,
            applied,
            membership,
            rows: BTreeMap::new(),
            due: BTreeMap::new(),
            changes: Vec::new(),
            replaces: false,
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

    /// Takes over what a command staged.
    pub fn keep(
        &mut self,
        applied: Applied,
        rows: BTreeMap<Key, Option<Row>>,
        due: Vec<(DueEntry, bool)>,
        changes: &[RowChange],
    ) -> Result<(), Error> {
        self.changes.push((applied.revision, encode_changes(changes)?));
        self.rows.extend(rows);
        self.due.extend(due);
        self.applied = applied;
        Ok(())
    }

    /// Takes over what a command staged that replaces the state: all before it goes, but for the register.
    pub fn replace(
        &mut self,
        applied: Applied,
        rows: BTreeMap<Key, Option<Row>>,
        due: Vec<(DueEntry, bool)>,
    ) {
        self.cache.clear();
        self.replaces = true;
        self.changes.clear();
        self.rows.retain(|key, _| outlives_adoption(key));
        self.rows.extend(rows);
        self.due = due.into_iter().collect();
        self.applied = applied;
    }

    /// What is to be written. The cache is brought up to date with it, so it must be written or the machine stop.
    ///
    /// # Errors
    /// The store's own; the machine must stop then.
    pub fn finish(mut self) -> Result<WriteSet, Error> {
        let trim = self.take_in_changes()?;
        for (key, row) in &self.rows {
            self.cache.put(key, row.as_ref().map(Head::of));
        }
        Ok(WriteSet {
            rows: self.rows.into_iter().collect(),
            due: self.due.into_iter().collect(),
            changes: self.changes,
            trim_changes: trim,
            replaces: self.replaces,
            applied: self.applied,
            membership: self.membership,
        })
    }

    /// The revisions that are no longer kept. A batch that changes nothing does not wait for what is kept to be known.
    fn take_in_changes(&mut self) -> Result<Option<Range<u64>>, Error> {
        if self.changes.is_empty() && !self.replaces {
            return Ok(None);
        }
        let retained = self.kept.get()?;
        if self.replaces {
            retained.clear();
        }
        let sets = self.changes.iter();
        let trim = retained.take_in(sets.map(|(revision, set)| (*revision, set.len() as u64)));
        if let Some(trim) = &trim {
            // Dropped before they are written: those of one great batch.
            self.changes.retain(|(revision, _)| *revision >= trim.end);
        }
        Ok(trim)
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
        if command.oldest_term != 0 && command.oldest_term < min_term && !mutant::is("old-term") {
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
            // The mutant: of a row that moved meanwhile, the last write wins.
            (Condition::Revision(revision), Some(head)) => {
                head.revision == revision || mutant::is("lost-expectation")
            }
            (Condition::Generation(generation), Some(head)) => head.generation == generation,
        })
    }

    pub fn head(&mut self, key: &[u8]) -> Result<Option<Head>, Error> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.as_ref().map(Head::of));
        }
        if let Some(head) = self.cache.get(key) {
            return Ok(head);
        }
        Ok(self.load(key)?.as_ref().map(Head::of))
    }

    pub fn row(&mut self, key: &[u8]) -> Result<Option<Row>, Error> {
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
        if self.replaces && !outlives_adoption(key) {
            return Ok(None);
        }
        self.stats.store_gets += 1;
        let row = self.store.get(key)?;
        self.cache.put(key, row.as_ref().map(Head::of));
        Ok(row)
    }
}
