//! One command in the making: what transactions read becomes expectations, what they wrote becomes sealed operations.
//! Several spaces join in one draft, so that a secret, its lease and the token's use commit together or not at all.

use std::collections::BTreeMap;

use conclave_engine_api::{Changes, Millis, Seen, Write};
use conclave_raft::{Command, Condition, Expect, Key, Op, Origin, mutant};

use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::ring_rows;
use crate::store::Opened;
use crate::store::layout::{RING, Space};

/// The queue of the due index that the leader's expiry job works through.
pub const EXPIRY_QUEUE: u64 = 1;
/// Where the ring stands in the number of the same queue for the rows of another ring.
const QUEUE_RING_SHIFT: u32 = 32;

/// The queue of the expiry job for rows of a ring. Each has its own, so that what is due in a sealed namespace holds up nobody
/// and is found when it is open again.
pub fn expiry_queue(ring: u16) -> u64 {
    EXPIRY_QUEUE | u64::from(ring) << QUEUE_RING_SHIFT
}

/// Why a draft was not committed.
#[derive(Debug)]
pub enum CommitError {
    /// Something it rests on has changed: decide again on a newer view.
    Retry,
    /// A counter would have left its bounds.
    Refused,
    /// It cannot be, or may or may not have been, committed.
    Failed(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A command in the making.
pub struct Draft<'v> {
    opened: &'v Opened,
    expect: BTreeMap<Key, Condition>,
    ops: Vec<Op>,
    decided_at: Option<Millis>,
}

impl<'v> Draft<'v> {
    /// An empty draft on a view.
    pub fn new(opened: &'v Opened) -> Self {
        Self {
            opened,
            expect: BTreeMap::new(),
            ops: Vec::new(),
            decided_at: None,
        }
    }

    /// Operations so far.
    pub fn size(&self) -> usize {
        self.ops.len()
    }

    /// The time the decision rests on; apply refuses it when the cluster's clock says otherwise.
    pub fn decided_at(&mut self, now: Millis) {
        self.decided_at = Some(now);
    }

    /// Takes in a transaction over `space`. Its reads bind only if something is written.
    pub fn include(&mut self, space: Space, changes: Changes) -> Result<(), Error> {
        self.include_in(expiry_queue(space.ring()), space, changes)
    }

    /// Takes in a transaction over rows of a ring that is being made: `opened` has its keys beside those of this draft.
    pub fn include_of(&mut self, opened: &Opened, space: Space, changes: Changes) -> Result<(), Error> {
        self.include_sealing(opened, expiry_queue(space.ring()), space, changes)
    }

    /// The same for rows that fall due in another queue than the expiry job's.
    pub fn include_in(&mut self, queue: u64, space: Space, changes: Changes) -> Result<(), Error> {
        self.include_sealing(self.opened, queue, space, changes)
    }

    fn include_sealing(
        &mut self,
        opened: &Opened,
        queue: u64,
        space: Space,
        changes: Changes,
    ) -> Result<(), Error> {
        if !changes.guards.is_empty() {
            return Err(Error::Unsupported(
                "listing in order to write, in this table".to_owned(),
            ));
        }
        for (path, seen) in changes.reads.iter().filter(|_| !mutant::is("unguarded-write")) {
            let condition = match seen {
                Seen::Absent => Condition::Absent,
                Seen::Revision { revision, .. } => Condition::Revision(*revision),
            };
            self.expect.insert(opened.key(space, path)?, condition);
        }
        for (path, write) in changes.writes {
            let seen = changes.reads.get(&path).copied();
            let key = opened.key(space, &path)?;
            self.write(opened, queue, (space, key), write, seen)?;
        }
        Ok(())
    }

    /// Demands something of a row.
    pub fn expect(&mut self, space: Space, path: &str, condition: Condition) -> Result<(), Error> {
        let key = self.opened.key(space, path)?;
        self.expect.insert(key, condition);
        Ok(())
    }

    /// Adds one operation on a row that is not sealed.
    pub fn op(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Moves the revision of a marker row.
    pub fn touch(&mut self, space: Space, path: &str) -> Result<(), Error> {
        self.touch_of(self.opened, space, path)
    }

    /// The same in a ring that is being made.
    pub fn touch_of(&mut self, opened: &Opened, space: Space, path: &str) -> Result<(), Error> {
        let key = opened.key(space, path)?;
        self.ops.push(Op::Touch { key });
        Ok(())
    }

    /// Adds to a counter; the whole command is refused if it would leave its bounds.
    pub fn add(
        &mut self,
        space: Space,
        path: &str,
        delta: i64,
        floor: i64,
        ceiling: i64,
    ) -> Result<(), Error> {
        let key = self.opened.key(space, path)?;
        self.ops.push(Op::Add {
            key,
            delta,
            floor,
            ceiling,
        });
        Ok(())
    }

    fn write(
        &mut self,
        opened: &Opened,
        queue: u64,
        (space, key): (Space, Key),
        write: Write,
        seen: Option<Seen>,
    ) -> Result<(), Error> {
        let due_before = match seen {
            Some(Seen::Revision { deadline, .. }) => deadline,
            _ => None,
        };
        let due_after = match &write {
            Write::Put { deadline, .. } => *deadline,
            Write::Delete => None,
        };
        if let Some(deadline) = due_before.filter(|_| due_before != due_after) {
            self.ops.push(Op::DueDelete {
                queue,
                deadline,
                key: key.clone(),
            });
        }
        if let Some(deadline) = due_after.filter(|_| due_before != due_after) {
            self.ops.push(Op::DuePut {
                queue,
                deadline,
                key: key.clone(),
            });
        }
        match write {
            Write::Delete => self.ops.push(Op::Delete { key }),
            Write::Put {
                value,
                deadline,
                new_generation,
            } => {
                let barrier = opened.barrier();
                let ring = space.ring();
                let sealed = barrier.seal_value(ring, space.table as u8, &key, &value, &mut OsEntropy)?;
                let term = match ring {
                    RING => barrier.active_term(RING)?,
                    // Terms of other rings are no measure for apply: the ring's own row is. It moves when the ring's keys
                    // do, or when it is sealed, and what rests on it from before is then decided anew.
                    other => {
                        let fence = ring_rows::expect_as_seen(opened.view(), other)?;
                        self.expect.insert(fence.key, fence.condition);
                        0
                    }
                };
                self.ops.push(Op::Put {
                    key,
                    kind: 0,
                    term,
                    deadline: deadline.unwrap_or(0),
                    new_generation,
                    value: sealed.into(),
                });
            }
        }
        Ok(())
    }

    /// Ends the draft: sealed, without ties to its view.
    pub fn finish(self) -> Proposal {
        Proposal {
            expect: self
                .expect
                .into_iter()
                .map(|(key, condition)| Expect { key, condition })
                .collect(),
            ops: self.ops,
            decided_at: self.decided_at,
            revision: self.opened.view().applied().revision,
            closed: Vec::new(),
        }
    }
}

/// A finished draft, ready to be proposed.
#[derive(Default)]
pub struct Proposal {
    /// What must hold.
    pub expect: Vec<Expect>,
    /// What is done.
    pub ops: Vec<Op>,
    decided_at: Option<Millis>,
    revision: u64,
    closed: Vec<String>,
}

impl Proposal {
    /// A proposal that rests on no view.
    pub fn new(expect: Vec<Expect>, ops: Vec<Op>) -> Self {
        Self {
            expect,
            ops,
            decided_at: None,
            revision: 0,
            closed: Vec::new(),
        }
    }

    /// A proposal that changes nothing, resting on a view.
    pub fn nothing(opened: &Opened) -> Self {
        Self {
            revision: opened.view().applied().revision,
            ..Self::default()
        }
    }

    /// Revision of the view it was drafted on.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it would change anything.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Names of tokens it revokes, whose children are still to be closed.
    pub fn closed(&self) -> &[String] {
        &self.closed
    }

    /// Remembers which tokens it revokes.
    #[must_use]
    pub fn closing(self, closed: Vec<String>) -> Self {
        Self { closed, ..self }
    }

    pub(super) fn into_command(self, origin: Origin, now: Millis) -> Command {
        let terms = self.ops.iter().filter_map(|op| match op {
            Op::Put { term, .. } | Op::Rewrap { term, .. } => Some(*term).filter(|term| *term > 0),
            _ => None,
        });
        let oldest_term = terms.min().unwrap_or(0);
        let now_used = self.decided_at.unwrap_or(now);
        Command {
            origin,
            oldest_term,
            now_used,
            expect: self.expect,
            ops: self.ops,
        }
    }
}
