//! Clients that call keys over all nodes at once and write down what they were told, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::key::{Call, Input, Output};
use super::linear::Op;
use crate::harness::{Api, Lost, Reply, SOON, Seed, eventually};

/// Clients at work at once.
const CLIENTS: usize = 16;
/// Keys that are never deleted, so that every acknowledged version can be read again.
pub const KEPT: usize = 10;
/// Keys that are written, deleted and removed.
pub const LOOSE: usize = 10;
/// Each client begins a call this often, or as soon as the last one ended.
const PACE: Duration = Duration::from_millis(60);

/// What all clients of a round share.
pub struct Round {
    /// Directory of its keys below the mount.
    pub directory: String,
    pub apis: Vec<Api>,
    /// Who led when somebody looked last.
    pub leader: AtomicUsize,
    began: Instant,
    stop: AtomicBool,
    answered: AtomicU64,
    next_value: AtomicU64,
    /// Newest version heard of, by key.
    versions: Vec<AtomicU64>,
}

/// A call to a key, and through which node.
pub struct Called {
    pub key: usize,
    pub node: usize,
    pub through_follower: bool,
    pub call: Call,
}

/// What became of the calls of a round.
#[derive(Default)]
pub struct History {
    /// Answered calls, and calls that may take effect yet.
    pub calls: Vec<Called>,
    /// Calls that certainly did nothing, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// Clients at work.
pub struct Clients {
    pub round: Arc<Round>,
    tasks: Vec<JoinHandle<History>>,
}

impl Clients {
    pub fn start(directory: String, apis: Vec<Api>, leader: usize, seed: &mut Seed) -> Self {
        let round = Arc::new(Round {
            directory,
            apis,
            leader: AtomicUsize::new(leader),
            began: Instant::now(),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            next_value: AtomicU64::new(1),
            versions: (0..KEPT + LOOSE).map(|_| AtomicU64::new(0)).collect(),
        });
        let tasks = (0..CLIENTS).map(|_| {
            let client = Client {
                round: Arc::clone(&round),
                seed: seed.split(),
                history: History::default(),
            };
            tokio::spawn(client.run())
        });
        let tasks = tasks.collect();
        Self { round, tasks }
    }

    /// Waits until `more` calls that end from now on were answered.
    pub async fn go_on(&self, more: u64) {
        let answered = || self.round.answered.load(Ordering::SeqCst);
        let enough = answered() + more;
        eventually("calls are answered", SOON, async || {
            if answered() >= enough {
                Ok(())
            } else {
                Err(enough - answered())
            }
        })
        .await;
    }

    /// Lets every client end its call, and joins what they wrote down.
    pub async fn finish(self) -> History {
        self.round.stop.store(true, Ordering::SeqCst);
        let mut all = History::default();
        for task in self.tasks {
            let one = task.await.expect("a client that was told nothing absurd");
            all.calls.extend(one.calls);
            for (why, times) in one.refused {
                *all.refused.entry(why).or_default() += times;
            }
        }
        all
    }
}

/// Name of a key in its directory.
pub fn name(key: usize) -> String {
    match key.checked_sub(KEPT) {
        None => format!("kept-{key}"),
        Some(loose) => format!("loose-{loose}"),
    }
}

struct Client {
    round: Arc<Round>,
    seed: Seed,
    history: History,
}

/// An answer that says what happened, or none.
enum Told {
    Answer(Output),
    Nothing(String),
    Unknown,
}

impl Client {
    async fn run(mut self) -> History {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.round.stop.load(Ordering::SeqCst) {
            pace.tick().await;
            let key = self.seed.below(KEPT + LOOSE);
            let (input, node) = self.choose(key);
            self.call(key, input, node).await;
        }
        self.history
    }

    /// What to do next with a key, and through which node: three reads in ten go through followers.
    fn choose(&mut self, key: usize) -> (Input, usize) {
        let loose = key >= KEPT;
        let value = self.round.next_value.fetch_add(1, Ordering::Relaxed);
        let any = self.seed.below(self.round.apis.len());
        let follower =
            (self.round.leader.load(Ordering::SeqCst) + 1 + self.seed.below(2)) % self.round.apis.len();
        match self.seed.below(100) {
            0..30 => (Input::Get, follower),
            30..40 => (Input::Get, any),
            40..60 => (Input::Put { value, cas: None }, any),
            60..82 => {
                let newest = self.round.versions[key].load(Ordering::SeqCst);
                (
                    Input::Put {
                        value,
                        cas: Some(newest),
                    },
                    any,
                )
            }
            82..90 => (Input::List, any),
            90..96 if loose => (Input::Delete, any),
            96..100 if loose => (Input::Remove, any),
            _ => (Input::Put { value, cas: None }, any),
        }
    }

    async fn call(&mut self, key: usize, input: Input, node: usize) {
        let path = format!("{}/{}", self.round.directory, name(key));
        let data = format!("secret/data/{path}");
        let (method, path, body) = match input {
            Input::Put { value, cas } => {
                let options = cas.map_or(json!({}), |cas| json!({"cas": cas}));
                (
                    "POST",
                    data,
                    Some(json!({"options": options, "data": {"value": value}})),
                )
            }
            Input::Get => ("GET", data, None),
            Input::Delete => ("DELETE", data, None),
            Input::Remove => ("DELETE", format!("secret/metadata/{path}"), None),
            Input::List => ("LIST", format!("secret/metadata/{}/", self.round.directory), None),
        };
        let through_follower = self.round.leader.load(Ordering::SeqCst) != node;
        let called = self.now();
        let reply = self.round.apis[node].call(method, &path, body).await;
        let answered = self.now();
        let end = match understand(input, key, reply) {
            Told::Answer(output) => {
                self.learn(key, output);
                self.round.answered.fetch_add(1, Ordering::SeqCst);
                Some((answered, output))
            }
            Told::Unknown if matches!(input, Input::Get | Input::List) => {
                return self.refused("no answer to a read");
            }
            Told::Unknown => None,
            Told::Nothing(why) => return self.refused(&why),
        };
        let call = Op {
            call: called,
            end,
            input,
        };
        self.history.calls.push(Called {
            key,
            node,
            through_follower,
            call,
        });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.round.began.elapsed().as_nanos()).expect("a round ends within centuries")
    }

    fn learn(&self, key: usize, output: Output) {
        if let Output::Written(version) | Output::Found { version, .. } | Output::Gone { version } = output {
            // Not the greatest: a key that was removed begins anew.
            self.round.versions[key].store(version, Ordering::SeqCst);
        } else if output == Output::Missing {
            self.round.versions[key].store(0, Ordering::SeqCst);
        }
    }

    fn refused(&mut self, why: &str) {
        let short: String = why.chars().take(100).collect();
        *self.history.refused.entry(short).or_default() += 1;
    }
}

/// What an answer means for the call.
fn understand(input: Input, key: usize, reply: Result<Reply, Lost>) -> Told {
    let reply = match reply {
        Ok(reply) => reply,
        Err(Lost::NotSent(why)) => return Told::Nothing(why),
        Err(Lost::Unknown(_)) => return Told::Unknown,
    };
    let data = &reply.body["data"];
    let version = |from: &Value| {
        from["version"]
            .as_u64()
            .unwrap_or_else(|| panic!("{}", reply.text()))
    };
    let answer = match (input, reply.status) {
        (_, 503) => return Told::Nothing(reply.text()),
        (_, 504) => return Told::Unknown,
        (Input::Put { .. }, 200) => Output::Written(version(data)),
        (Input::Put { cas: Some(_), .. }, 400) if reply.text().contains("check-and-set") => Output::Mismatch,
        (Input::Get, 200) => Output::Found {
            version: version(&data["metadata"]),
            value: data["data"]["value"]
                .as_u64()
                .unwrap_or_else(|| panic!("{}", reply.text())),
        },
        (Input::Get, 404) if data.is_null() => Output::Missing,
        (Input::Get, 404) => Output::Gone {
            version: version(&data["metadata"]),
        },
        (Input::Delete | Input::Remove, 204) => Output::Done,
        (Input::List, 200) => {
            let keys = data["keys"]
                .as_array()
                .unwrap_or_else(|| panic!("{}", reply.text()));
            Output::Listed(keys.contains(&json!(name(key))))
        }
        (Input::List, 404) => Output::Listed(false),
        _ => panic!("{input:?} is answered with {}", reply.text()),
    };
    Told::Answer(answer)
}
