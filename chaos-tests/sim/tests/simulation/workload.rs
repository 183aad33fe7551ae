//! Clients: each runs on a node and uses it as the layers above would.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use conclave_raft::node::RaftReplica;
use conclave_raft::state::{View, counter_value};
use conclave_raft::{Command, Condition, Error, Expect, Key, Op, Outcome, Replica};

use crate::dice::Dice;
use crate::history::{Action, Answer, Seen, all_inserted, counter, inserted, pair, register};
use crate::plan::Mutant;
use crate::world::World;

pub struct Client {
    pub world: Arc<World>,
    pub replica: RaftReplica,
    pub dice: Dice,
}

impl Client {
    /// Works whenever clients work.
    pub async fn run(mut self) {
        loop {
            let pause = self.dice.millis(5, self.world.plan.pause);
            // why: simulated time, in which clients pause between operations.
            tokio::time::sleep(pause).await;
            if self.world.working.load(Ordering::Relaxed) {
                self.operate().await;
            }
        }
    }

    /// Reads, and is never held up by a write whose outcome nobody tells it: what a leader shows that was cut off is seen only
    /// by somebody who goes on reading there.
    pub async fn read_on(mut self) {
        loop {
            let pause = self.dice.millis(50, 2 * self.world.plan.pause);
            // why: simulated time, in which clients pause between operations.
            tokio::time::sleep(pause).await;
            if self.world.working.load(Ordering::Relaxed) {
                self.read().await;
            }
        }
    }

    async fn operate(&mut self) {
        let at = self.dice.below(self.world.plan.keys);
        match self.dice.below(100) {
            0..15 => drop(self.write(Action::Put(at)).await),
            15..35 => {
                if let Answer::Read(seen) = self.read().await {
                    let revision = seen.registers.get(&at).map(|(revision, _)| *revision);
                    self.write(Action::Cas(at, revision)).await;
                }
            }
            35..40 => drop(self.write(Action::Delete(at)).await),
            40..60 => drop(self.write(Action::Insert).await),
            60..70 => drop(self.write(Action::Pair).await),
            _ => drop(self.read().await),
        }
    }

    fn begin(&self, action: Action) -> u64 {
        let node = self.replica.node_id();
        let event = self.world.event();
        let mut history = self.world.history.lock();
        let id = history.begin(node, action.clone(), event);
        drop(history);
        self.world.note(format_args!("n{node} op {id} {action:?}"));
        id
    }

    fn end(&self, id: u64, answer: Answer) -> Answer {
        let node = self.replica.node_id();
        match &answer {
            Answer::Unknown => self.world.fired("unknown outcome"),
            Answer::Conflict => self.world.fired("conflict"),
            _ => {}
        }
        self.world.note(format_args!("n{node} op {id} ends {answer:?}"));
        let event = self.world.event();
        self.world.history.lock().end(id, event, answer.clone());
        answer
    }

    /// One write, from its decision to its outcome.
    pub async fn write(&self, action: Action) -> Answer {
        let id = self.begin(action.clone());
        let (ops, expect) = command_of(id, &action);
        let expect = match self.world.is(Mutant::LostExpectation) {
            true => Vec::new(),
            false => expect,
        };
        let mut answer = self.propose(&ops, &expect).await;
        if answer == Answer::Unknown && self.world.is(Mutant::BlindRetry) {
            answer = self.propose(&ops, &expect).await;
        }
        self.end(id, answer)
    }

    async fn propose(&self, ops: &[Op], expect: &[Expect]) -> Answer {
        let command = Command {
            origin: self.replica.next_origin(),
            oldest_term: 0,
            now_used: self.replica.now(),
            expect: expect.to_vec(),
            ops: ops.to_vec(),
        };
        match self.replica.propose(command).await {
            Ok(Outcome::Applied { revision, .. }) => Answer::Applied(revision),
            Ok(Outcome::Conflict { .. }) => Answer::Conflict,
            Ok(other) => Answer::NotApplied(format!("{other:?}")),
            Err(error @ (Error::NotCommitted | Error::NoLeader | Error::Limit(_))) => {
                Answer::NotApplied(error.to_string())
            }
            Err(_) => Answer::Unknown,
        }
    }

    /// One linearizable read of everything.
    pub async fn read(&self) -> Answer {
        let id = self.begin(Action::Read);
        let view = match self.world.is(Mutant::StaleRead) {
            true => self.replica.view(),
            false => self.replica.read().await,
        };
        let answer = match view {
            Ok(view) => Answer::Read(see(&view, self.world.plan.keys)),
            Err(error) => Answer::NotApplied(error.to_string()),
        };
        self.end(id, answer)
    }
}

fn put(key: Key, id: u64) -> Op {
    Op::Put {
        key,
        kind: 1,
        term: 0,
        deadline: 0,
        new_generation: false,
        value: Bytes::copy_from_slice(&id.to_be_bytes()),
    }
}

fn command_of(id: u64, action: &Action) -> (Vec<Op>, Vec<Expect>) {
    match action {
        Action::Put(at) => (vec![put(register(*at), id)], Vec::new()),
        Action::Cas(at, revision) => {
            let key = register(*at);
            let condition = revision.map_or(Condition::Absent, Condition::Revision);
            let expect = Expect {
                key: key.clone(),
                condition,
            };
            (vec![put(key, id)], vec![expect])
        }
        Action::Delete(at) => (vec![Op::Delete { key: register(*at) }], Vec::new()),
        Action::Insert => {
            let count = Op::Add {
                key: counter(),
                delta: 1,
                floor: 0,
                ceiling: i64::MAX,
            };
            (vec![put(inserted(id), id), count], Vec::new())
        }
        Action::Pair => (vec![put(pair(0), id), put(pair(1), id)], Vec::new()),
        Action::Read => (Vec::new(), Vec::new()),
    }
}

/// What a view shows.
pub fn see(view: &View, keys: u64) -> Seen {
    let rows = view.rows();
    let number = |value: &[u8]| u64::from_be_bytes(value.try_into().unwrap());
    let writer = |key: Key| view.row(&key).unwrap().map(|row| number(&row.value));
    let mut registers = std::collections::BTreeMap::new();
    for at in 0..keys {
        if let Some(row) = view.row(&register(at)).unwrap() {
            registers.insert(at, (row.revision, number(&row.value)));
        }
    }
    let (from, to) = all_inserted();
    let mut entered = 0;
    rows.scan(&from, Some(&to), &mut |_, _| {
        entered += 1;
        Ok(true)
    })
    .unwrap();
    let counted = view.row(&counter()).unwrap();
    Seen {
        revision: view.applied().revision,
        cluster_time: view.applied().cluster_time,
        registers,
        pair: [writer(pair(0)), writer(pair(1))],
        counted: (counter_value(counted.as_ref()).unwrap(), entered),
    }
}
