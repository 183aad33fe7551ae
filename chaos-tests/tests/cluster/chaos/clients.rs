//! Clients that call keys over all nodes at once, without a pause, and write down what they were told, and when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::key::{Call, Input, Output};
use super::linear::Op;
use crate::harness::{Api, Lost, Reply, SOON, Seed, eventually};

/// A stage of a fault takes this long at most, on a machine with little to give.
const LONGEST: Duration = Duration::from_secs(240);
/// What goes wrong at any time in a run leaves a part of the cluster that serves within this: elections, connections that
/// are given up, and clients' own patience come before.
const STILL: Duration = SOON;

/// Clients at work at once: with few keys, so that about four calls of a key are under way at any time.
pub const CLIENTS: usize = 40;
/// Keys that are never deleted, so that every acknowledged version can be read again.
pub const KEPT: usize = 2;
/// Keys that are written, deleted and removed.
pub const LOOSE: usize = 3;
/// A client asks no more of a node that did not serve it, for this long: as a balancer would.
const SHUNNED: Duration = Duration::from_millis(500);
/// After one that refused at once: not in a circle.
const REFUSED: Duration = Duration::from_millis(5);

/// What all clients of a round share.
pub struct Round {
    /// Directory of its keys below the mount.
    pub directory: String,
    /// Text in every value, which must be nowhere in the clear.
    pub mark: String,
    /// Nodes' APIs through the network; each group of clients has connections of its own.
    pub groups: Vec<Vec<Api>>,
    /// Who led when somebody looked last.
    pub leader: AtomicUsize,
    /// When the run began, and the clock of all histories.
    began: Instant,
    stop: AtomicBool,
    answered: AtomicU64,
    next_value: AtomicU64,
    /// Newest version heard of, by key.
    versions: Vec<AtomicU64>,
    /// Calls that wait for an answer, by node.
    waiting: Vec<AtomicUsize>,
    /// What each node, or the way to it, said last instead of an answer.
    refusals: Vec<Mutex<String>>,
}

impl Round {
    /// Keeps what was said instead of an answer.
    fn heed(&self, node: usize, method: &str, reply: &Result<Reply, Lost>) {
        let said = match reply {
            Ok(reply) if reply.status >= 500 => reply.text(),
            Ok(_) => return,
            Err(lost) => format!("{lost:?}"),
        };
        *self.refusals[node].lock().expect("no client fails") = format!("{method}: {said}");
    }

    /// For whoever looks for the reason of a standstill.
    fn what_was_said(&self) -> String {
        let nodes = self.waiting.iter().zip(&self.refusals).enumerate();
        let told = nodes.map(|(at, (waiting, said))| {
            let waiting = waiting.load(Ordering::SeqCst);
            let said = said.lock().expect("no client fails");
            format!("node{}: {waiting} calls wait, said last: {said:?}", at + 1)
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

/// A call to a key, and through which node.
pub struct Called {
    pub key: usize,
    pub node: usize,
    pub through_follower: bool,
    pub call: Call,
    /// Name of the request, as the node that answered calls it.
    pub request: Option<String>,
}

/// A call as a line in a picture: when, for how long, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Stroke {
    pub client: usize,
    pub from: Duration,
    pub took: Duration,
    pub fate: Fate,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// Certainly not done.
    Refused,
    Unknown,
}

/// What became of the calls of a round.
#[derive(Default)]
pub struct History {
    /// Answered calls, and calls that may take effect yet.
    pub calls: Vec<Called>,
    /// Lists, which tell of every key at once.
    pub lists: Vec<Listing>,
    /// Calls that certainly did nothing, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Answers that no request may get.
    pub absurd: Vec<String>,
    /// All calls, for the picture.
    pub strokes: Vec<Stroke>,
}

/// An answered list: from when to when, and which keys it names.
pub struct Listing {
    pub call: u64,
    pub end: u64,
    pub node: usize,
    pub keys: Vec<bool>,
    pub request: Option<String>,
}

/// Clients at work.
pub struct Clients {
    pub round: Arc<Round>,
    tasks: Vec<JoinHandle<History>>,
}

impl Clients {
    /// Starts them. `began`: when the run began.
    pub fn start(
        directory: String,
        mark: String,
        groups: Vec<Vec<Api>>,
        leader: usize,
        began: Instant,
        seed: &mut Seed,
    ) -> Self {
        let round = Arc::new(Round {
            directory,
            mark,
            leader: AtomicUsize::new(leader),
            began,
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            next_value: AtomicU64::new(1),
            versions: (0..KEPT + LOOSE).map(|_| AtomicU64::new(0)).collect(),
            waiting: groups[0].iter().map(|_| AtomicUsize::new(0)).collect(),
            refusals: groups[0].iter().map(|_| Mutex::default()).collect(),
            groups,
        });
        let tasks = (0..CLIENTS).map(|number| {
            let client = Client {
                number,
                apis: round.groups[number % round.groups.len()].clone(),
                shunned: vec![None; round.groups[0].len()],
                round: Arc::clone(&round),
                seed: seed.split(),
                history: History::default(),
            };
            tokio::spawn(client.run())
        });
        let tasks = tasks.collect();
        Self { round, tasks }
    }

    /// Waits until `more` calls that end from now on were answered. How long that takes depends on the machine; that for a
    /// long time nobody is answered at all does not.
    pub async fn go_on(&self, more: u64) {
        let answered = || self.round.answered.load(Ordering::SeqCst);
        let enough = answered() + more;
        let mut seen = (answered(), Instant::now());
        eventually("calls are answered", LONGEST, async || {
            let now = answered();
            if now > seen.0 {
                seen = (now, Instant::now());
            }
            assert!(
                seen.1.elapsed() < STILL,
                "NOBODY IS SERVED for {STILL:?}: {}",
                self.round.what_was_said()
            );
            if now >= enough {
                Ok(())
            } else {
                Err(format!(
                    "{} are missing: {}",
                    enough - now,
                    self.round.what_was_said()
                ))
            }
        })
        .await;
    }

    /// Lets every client end its call, and joins what they wrote down.
    pub async fn finish(self) -> History {
        self.round.stop.store(true, Ordering::SeqCst);
        let mut all = History::default();
        for task in self.tasks {
            let one = task.await.expect("a client that does not fail");
            all.calls.extend(one.calls);
            all.lists.extend(one.lists);
            all.absurd.extend(one.absurd);
            all.strokes.extend(one.strokes);
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
    number: usize,
    apis: Vec<Api>,
    /// Until when each node is not asked.
    shunned: Vec<Option<Instant>>,
    round: Arc<Round>,
    seed: Seed,
    history: History,
}

/// An answer that says what happened, or none.
enum Told {
    Answer(Output),
    Keys(Vec<bool>),
    Nothing(String),
    Unknown,
    Absurd(String),
}

impl Client {
    async fn run(mut self) -> History {
        while !self.round.stop.load(Ordering::SeqCst) {
            let key = self.seed.below(KEPT + LOOSE);
            let (input, node) = self.choose(key);
            let node = self.unshunned(node);
            let fate = self.call(key, input, node).await;
            if fate != Fate::Answered {
                self.shunned[node] = Some(Instant::now() + SHUNNED);
            }
            if fate == Fate::Refused {
                // why: a node that refuses does so at once
                tokio::time::sleep(REFUSED).await;
            }
        }
        self.history
    }

    /// This node, or the next one that served this client lately and does not keep too many waiting; of none, this one. A
    /// minority of nodes that do not answer leaves clients to the others.
    fn unshunned(&self, node: usize) -> usize {
        let now = Instant::now();
        let most = CLIENTS / (self.apis.len() / 2 + 1);
        let mut nodes = (0..self.apis.len()).map(|more| (node + more) % self.apis.len());
        let serves = |node: &usize| {
            self.shunned[*node].is_none_or(|until| until <= now)
                && self.round.waiting[*node].load(Ordering::SeqCst) < most
        };
        nodes.find(serves).unwrap_or(node)
    }

    /// What to do next with a key, and through which node: at least three reads in ten go through followers.
    fn choose(&mut self, key: usize) -> (Input, usize) {
        let loose = key >= KEPT;
        let value = self.round.next_value.fetch_add(1, Ordering::Relaxed);
        let nodes = self.apis.len();
        let any = self.seed.below(nodes);
        let follower = (self.round.leader.load(Ordering::SeqCst) + 1 + self.seed.below(nodes - 1)) % nodes;
        match self.seed.below(100) {
            0..30 => (Input::Get, follower),
            30..40 => (Input::Get, any),
            40..60 => (Input::Put { value, cas: None }, any),
            60..82 => {
                let newest = self.round.versions[key].load(Ordering::SeqCst);
                let cas = Some(newest);
                (Input::Put { value, cas }, any)
            }
            82..90 => (Input::List, any),
            90..96 if loose => (Input::Delete, any),
            96..100 if loose => (Input::Remove, any),
            _ => (Input::Put { value, cas: None }, any),
        }
    }

    async fn call(&mut self, key: usize, input: Input, node: usize) -> Fate {
        let (method, path, body) = self.request(key, input);
        let through_follower = self.round.leader.load(Ordering::SeqCst) != node;
        let from = self.round.began.elapsed();
        self.round.waiting[node].fetch_add(1, Ordering::SeqCst);
        let reply = self.apis[node].call(method, &path, body).await;
        self.round.waiting[node].fetch_sub(1, Ordering::SeqCst);
        let to = self.round.began.elapsed();
        let request = reply.as_ref().ok().and_then(|reply| reply.request());
        self.round.heed(node, method, &reply);
        let told = understand(input, reply);
        let fate = match &told {
            Told::Answer(_) | Told::Keys(_) | Told::Absurd(_) => Fate::Answered,
            Told::Nothing(_) => Fate::Refused,
            Told::Unknown => Fate::Unknown,
        };
        self.history.strokes.push(Stroke {
            client: self.number,
            from,
            took: to.saturating_sub(from),
            fate,
        });
        let end = match told {
            Told::Absurd(what) => {
                self.history
                    .absurd
                    .push(format!("{input:?} through node{}: {what}", node + 1));
                return fate;
            }
            Told::Nothing(why) => {
                self.refused(&why);
                return fate;
            }
            Told::Keys(keys) => {
                self.round.answered.fetch_add(1, Ordering::SeqCst);
                self.history.lists.push(Listing {
                    call: nanos(from),
                    end: nanos(to),
                    node,
                    keys,
                    request,
                });
                return fate;
            }
            Told::Unknown if matches!(input, Input::Get | Input::List) => {
                self.refused("no answer to a read");
                return fate;
            }
            Told::Unknown => None,
            Told::Answer(output) => {
                self.learn(key, output);
                self.round.answered.fetch_add(1, Ordering::SeqCst);
                Some((nanos(to), output))
            }
        };
        let call = Op {
            call: nanos(from),
            end,
            input,
        };
        self.history.calls.push(Called {
            key,
            node,
            through_follower,
            call,
            request,
        });
        fate
    }

    fn request(&self, key: usize, input: Input) -> (&'static str, String, Option<Value>) {
        let path = format!("{}/{}", self.round.directory, name(key));
        let data = format!("secret/data/{path}");
        match input {
            Input::Put { value, cas } => {
                let options = cas.map_or(json!({}), |cas| json!({"cas": cas}));
                let content = json!({"value": value, "mark": self.round.mark});
                ("POST", data, Some(json!({"options": options, "data": content})))
            }
            Input::Get => ("GET", data, None),
            Input::Delete => ("DELETE", data, None),
            Input::Remove => ("DELETE", format!("secret/metadata/{path}"), None),
            Input::List => ("LIST", format!("secret/metadata/{}/", self.round.directory), None),
        }
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

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).expect("a run ends within centuries")
}

/// What an answer means for the call.
fn understand(input: Input, reply: Result<Reply, Lost>) -> Told {
    let reply = match reply {
        Ok(reply) => reply,
        Err(Lost::NotSent(why)) => return Told::Nothing(why),
        Err(Lost::Unknown(_)) => return Told::Unknown,
    };
    let data = &reply.body["data"];
    let version = |from: &Value| from["version"].as_u64();
    let answer = match (input, reply.status) {
        (_, 503) => return Told::Nothing(reply.text()),
        (_, 504) => return Told::Unknown,
        (Input::Put { .. }, 200) => version(data).map(Output::Written),
        (Input::Put { cas: Some(_), .. }, 400) if reply.text().contains("check-and-set") => {
            Some(Output::Mismatch)
        }
        (Input::Get, 200) => version(&data["metadata"])
            .zip(data["data"]["value"].as_u64())
            .map(|(version, value)| Output::Found { version, value }),
        (Input::Get, 404) if data.is_null() => Some(Output::Missing),
        (Input::Get, 404) => version(&data["metadata"]).map(|version| Output::Gone { version }),
        (Input::Delete | Input::Remove, 204) => Some(Output::Done),
        (Input::List, 200 | 404) => {
            let listed = data["keys"].as_array();
            let is_listed = |key| listed.is_some_and(|keys| keys.contains(&json!(name(key))));
            return Told::Keys((0..KEPT + LOOSE).map(is_listed).collect());
        }
        _ => None,
    };
    answer.map_or_else(|| Told::Absurd(reply.text()), Told::Answer)
}
