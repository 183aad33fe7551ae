//! What engine tests stand on: rows in memory, a seeded source of bytes, and a harness that runs an engine request by
//! request against them with a clock that moves only when told to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::effect::{Effect, Failure, Leased, Plan};
use crate::engine::Engine;
use crate::env::{Entropy, Env, Millis};
use crate::error::Error;
use crate::heavy::Answers;
use crate::login::{LoggedIn, Login, Renewal};
use crate::outcome::{Outcome, Reply};
use crate::request::{Mount, Operation, Request};
use crate::txn::{Changes, Page, Reader, Stored, Txn, Write};

/// Bytes that depend on the seed alone (SplitMix64, Steele et al. 2014). For tests: predictable.
pub struct SeededEntropy {
    state: u64,
}

impl SeededEntropy {
    /// A source for one test.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            for (to, from) in chunk.iter_mut().zip(z.to_le_bytes()) {
                *to = from;
            }
        }
    }
}

/// Rows in memory, in the clear.
#[derive(Default)]
pub struct MemoryReader {
    rows: BTreeMap<String, Stored>,
    revision: u64,
}

impl MemoryReader {
    /// Rows to start from.
    pub fn with<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut reader = Self::default();
        for (path, value) in rows {
            reader.revision += 1;
            let stored = Stored {
                value: Zeroizing::new(value.as_bytes().to_vec()),
                revision: reader.revision,
                generation: reader.revision,
                deadline: None,
            };
            reader.rows.insert(path.to_owned(), stored);
        }
        reader
    }

    /// Applies a transaction's writes as one revision.
    pub fn apply(&mut self, changes: Changes) {
        self.revision += 1;
        for (path, write) in changes.writes {
            match write {
                Write::Delete => {
                    self.rows.remove(&path);
                }
                Write::Put {
                    value,
                    deadline,
                    new_generation,
                } => {
                    let old = self.rows.get(&path).map(|row| row.generation);
                    let generation = old.filter(|_| !new_generation).unwrap_or(self.revision);
                    self.rows.insert(
                        path,
                        Stored {
                            value,
                            revision: self.revision,
                            generation,
                            deadline,
                        },
                    );
                }
            }
        }
    }

    /// Paths whose deadline is at or before `now`.
    pub fn due(&self, now: Millis) -> Vec<String> {
        let due = self
            .rows
            .iter()
            .filter(|(_, row)| row.deadline.is_some_and(|deadline| deadline <= now));
        due.map(|(path, _)| path.clone()).collect()
    }

    /// All paths, sorted.
    pub fn paths(&self) -> Vec<&str> {
        self.rows.keys().map(String::as_str).collect()
    }
}

impl Reader for MemoryReader {
    fn get(&self, path: &str) -> Result<Option<Stored>, Error> {
        Ok(self.rows.get(path).cloned())
    }

    fn list(&self, dir: &str, page: &Page) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Vec::new();
        for path in self
            .rows
            .range(dir.to_owned()..)
            .map(|(path, _)| path)
            .take_while(|p| p.starts_with(dir))
        {
            let rest = path.strip_prefix(dir).unwrap_or_default();
            let name = rest.split_inclusive('/').next().unwrap_or(rest).to_owned();
            // Paths beneath one sub-directory are neighbours.
            if name > page.after && names.last() != Some(&name) {
                names.push(name);
            }
        }
        names.sort();
        names.truncate(page.limit.unwrap_or(usize::MAX));
        Ok(names)
    }
}

/// One engine on one mount, with rows, a clock and a seed.
pub struct Harness<'e> {
    engine: &'e dyn Engine,
    /// The mount; change its options before the first request.
    pub mount: Mount,
    /// The rows.
    pub rows: MemoryReader,
    /// The clock.
    pub now: Millis,
    /// Where requests come from.
    pub remote: Option<IpAddr>,
    entropy: SeededEntropy,
}

impl<'e> Harness<'e> {
    /// A fresh mount at `secret/` at 2026-01-01T00:00:00Z.
    pub fn new(engine: &'e dyn Engine) -> Self {
        let mount = Mount {
            path: "secret/".to_owned(),
            kind: engine.kind().to_owned(),
            default_lease_ttl: 768 * 3_600_000,
            max_lease_ttl: 768 * 3_600_000,
            ..Mount::default()
        };
        Self {
            engine,
            mount,
            rows: MemoryReader::default(),
            now: 1_767_225_600_000,
            remote: Some(IpAddr::from([127, 0, 0, 1])),
            entropy: SeededEntropy::new(42),
        }
    }

    /// Runs one request as `caller`; its changes are applied if it succeeds. `Update` becomes `Create` when the engine
    /// says that nothing exists yet. A login answers with an empty reply: `ask` tells more.
    pub fn call_as(
        &mut self,
        caller: &str,
        operation: Operation,
        path: &str,
        data: Value,
    ) -> Result<Reply, Error> {
        match self.ask(caller, operation, path, data)? {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Login(_) | Outcome::Heavy(_) | Outcome::Effect(_) => Ok(Reply::empty()),
        }
    }

    /// As `call_as`, with the whole outcome. Heavy arithmetic is done on the spot.
    pub fn ask(
        &mut self,
        caller: &str,
        operation: Operation,
        path: &str,
        data: Value,
    ) -> Result<Outcome, Error> {
        let data = data.as_object().cloned().unwrap_or_default();
        let mut computed = Answers::default();
        loop {
            let mut txn = Txn::new(&self.rows);
            let mut request = Request {
                operation,
                path,
                data: &data,
                mount: &self.mount,
                caller,
                display_name: "token",
                remote: self.remote,
            };
            if operation == Operation::Update && self.engine.exists(&mut txn, &request)? == Some(false) {
                request.operation = Operation::Create;
            }
            let mut env = Env::new(self.now, &mut self.entropy).knowing(&computed);
            match self.engine.handle(&mut txn, &request, &mut env)? {
                Outcome::Heavy(heavy) => {
                    computed.insert(heavy.name.clone(), (heavy.run)());
                }
                outcome => {
                    let changes = txn.into_changes();
                    self.rows.apply(changes);
                    return Ok(outcome);
                }
            }
        }
    }

    /// Asks the engine to renew a token that one of its logins made.
    pub fn renew(&mut self, login: &Login, policies: &[String]) -> Result<Renewal, Error> {
        let mut txn = Txn::new(&self.rows);
        let mut env = Env::new(self.now, &mut self.entropy);
        let token = LoggedIn {
            internal: &login.internal,
            policies,
        };
        self.engine.renew(&mut txn, &self.mount, &token, &mut env)
    }

    /// What the engine does outside for a row that fell due.
    pub fn due_outside(&mut self, path: &str) -> Result<Option<Box<Effect>>, Error> {
        let mut txn = Txn::new(&self.rows);
        let mut env = Env::new(self.now, &mut self.entropy);
        let effect = self.engine.due_outside(&mut txn, &self.mount, path, &mut env)?;
        let changes = txn.into_changes();
        self.rows.apply(changes);
        Ok(effect)
    }

    /// How the engine has an account dropped, by what it kept of its lease and the session in which it may still be being made.
    pub fn revocation(&mut self, internal: &Map<String, Value>, session: &str) -> Result<Plan, Error> {
        let mut txn = Txn::new(&self.rows);
        let mut env = Env::new(self.now, &mut self.entropy);
        let lease = Leased { internal, session };
        self.engine.revocation(&mut txn, &self.mount, &lease, &mut env)
    }

    /// Tells the engine what came of an effect.
    pub fn settle(&mut self, effect: &Effect, result: Result<&[String], &Failure>) -> Result<Reply, Error> {
        let mut txn = Txn::new(&self.rows);
        let mut env = Env::new(self.now, &mut self.entropy);
        let settled = self
            .engine
            .settle(&mut txn, &self.mount, &effect.memo, result, &mut env)?;
        let changes = txn.into_changes();
        self.rows.apply(changes);
        settled
    }

    /// As `call_as` for one fixed caller.
    pub fn call(&mut self, operation: Operation, path: &str, data: Value) -> Result<Reply, Error> {
        self.call_as("caller", operation, path, data)
    }

    /// Moves the clock and lets the engine handle every row that fell due.
    pub fn advance(&mut self, by: Millis) -> Result<(), Error> {
        self.now += by;
        for path in self.rows.due(self.now) {
            let mut txn = Txn::new(&self.rows);
            let mut env = Env::new(self.now, &mut self.entropy);
            self.engine.due(&mut txn, &self.mount, &path, &mut env)?;
            let changes = txn.into_changes();
            self.rows.apply(changes);
        }
        Ok(())
    }
}

/// An object literal for requests.
pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
