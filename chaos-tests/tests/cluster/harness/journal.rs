//! Writers under faults, and the journal of what they were told: each write under a key of its own, tried on other nodes
//! until somebody takes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use super::{Api, Outcome, Reply, SOON, Seed, eventually};

/// Each writer begins a write this often, or as soon as the last one ended.
const PACE: Duration = Duration::from_millis(100);
/// Reads at a time when a journal is checked.
const READERS: usize = 32;
/// Characters of a written value.
const VALUE: usize = 40;

/// What writers were told.
#[derive(Default)]
pub struct Journal {
    /// Acknowledged: path below the mount, and value.
    pub acknowledged: Vec<(String, String)>,
    /// May have been done.
    pub unknown: Vec<(String, String)>,
    /// Why attempts were not done or remained unknown, and how often.
    pub refusals: BTreeMap<String, u64>,
    /// The longest a write took from its first attempt to its acknowledgement.
    pub longest: Duration,
}

/// Writers at work.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Journal>>,
}

impl Writers {
    /// Starts `count` writers over all these nodes.
    pub fn start(count: usize, apis: &[Api], seed: &mut Seed) -> Self {
        Self::begin(count, apis, seed, false)
    }

    /// The same, where a restore takes back what was acknowledged, perhaps a moment ago.
    pub fn start_before_restore(count: usize, apis: &[Api], seed: &mut Seed) -> Self {
        Self::begin(count, apis, seed, true)
    }

    fn begin(count: usize, apis: &[Api], seed: &mut Seed, restored: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        // Writers that come after others must not write over their keys.
        let name = seed.text(6);
        let tasks = (0..count).map(|number| {
            let writer = Writer {
                name: format!("writer-{number}/{name}"),
                apis: apis.to_vec(),
                seed: seed.split(),
                stop: stop.clone(),
                restored,
                acknowledged: acknowledged.clone(),
                journal: Journal::default(),
                pace: paced(),
            };
            tokio::spawn(writer.run())
        });
        let tasks = tasks.collect();
        Self {
            stop,
            acknowledged,
            tasks,
        }
    }

    /// Waits until `more` writes that end from now on were acknowledged.
    pub async fn go_on(&self, more: u64) {
        self.go_on_within(more, SOON).await;
    }

    /// As `go_on`, within `patience`.
    pub async fn go_on_within(&self, more: u64, patience: Duration) {
        let before = self.acknowledged.load(Ordering::SeqCst);
        eventually("writes are acknowledged", patience, async || {
            let now = self.acknowledged.load(Ordering::SeqCst);
            if now >= before + more {
                Ok(())
            } else {
                Err(now - before)
            }
        })
        .await;
    }

    /// Lets every writer end its write, and joins the journals.
    pub async fn finish(self) -> Journal {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Journal::default();
        for task in self.tasks {
            let one = task.await.expect("a writer that does not fail");
            all.join(one);
        }
        eprintln!(
            "journal: {} acknowledged, {} unknown, longest {:?}, refusals {:?}",
            all.acknowledged.len(),
            all.unknown.len(),
            all.longest,
            all.refusals
        );
        all
    }
}

impl Journal {
    /// What another journal says, too.
    pub fn join(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
        for (why, times) in other.refusals {
            *self.refusals.entry(why).or_default() += times;
        }
        self.longest = self.longest.max(other.longest);
    }

    /// Reads everything through this node: what was acknowledged must be there; what may have been done is there or not.
    pub async fn is_found_by(&self, api: &Api) {
        let wrong = self.wrong_at(api).await;
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// What this node says against the journal.
    pub async fn wrong_at(&self, api: &Api) -> Vec<String> {
        let acknowledged = self.acknowledged.iter().map(|write| (write, true));
        let all = acknowledged.chain(self.unknown.iter().map(|write| (write, false)));
        let reads = stream::iter(all).map(|((path, value), required)| async move {
            let reply = answered(api, &format!("secret/data/{path}")).await;
            match reply.status {
                200 if reply.body["data"]["data"]["value"] == **value => None,
                200 => Some(format!("{path} holds something else")),
                404 if required => Some(format!("{path} was acknowledged and is gone")),
                404 => None,
                _ => panic!("{path}: {}", reply.text()),
            }
        });
        let found: Vec<Option<String>> = reads.buffer_unordered(READERS).collect().await;
        found.into_iter().flatten().collect()
    }
}

/// What a node answers; it may have to find a leader first.
async fn answered(api: &Api, path: &str) -> Reply {
    eventually("a node answers", SOON, async || {
        match api.call("GET", path, None).await {
            Ok(reply) if !matches!(reply.status, 503 | 504) => Ok(reply),
            other => Err(other),
        }
    })
    .await
}

struct Writer {
    name: String,
    apis: Vec<Api>,
    seed: Seed,
    stop: Arc<AtomicBool>,
    /// Whether what was acknowledged may be gone.
    restored: bool,
    acknowledged: Arc<AtomicU64>,
    journal: Journal,
    pace: Interval,
}

fn paced() -> Interval {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

impl Writer {
    async fn run(mut self) -> Journal {
        let mut at = self.seed.below(self.apis.len());
        let mut sequence = 0u64;
        while !self.stop.load(Ordering::SeqCst) {
            self.pace.tick().await;
            sequence += 1;
            let path = format!("{}-{sequence}", self.name);
            let value = self.seed.text(VALUE);
            at = self.write(path, value, at).await;
        }
        self.journal
    }

    /// One write, on node after node until its outcome is known or may have been reached; the node it ended on.
    async fn write(&mut self, path: String, value: String, mut at: usize) -> usize {
        let started = Instant::now();
        let full = format!("secret/data/{path}");
        loop {
            let outcome = self.apis[at]
                .write(&full, json!({"data": {"value": value}}))
                .await;
            match outcome {
                Outcome::Acknowledged(_) => {
                    self.journal.longest = self.journal.longest.max(started.elapsed());
                    self.acknowledged.fetch_add(1, Ordering::SeqCst);
                    self.is_seen_elsewhere(&full, &value).await;
                    self.journal.acknowledged.push((path, value));
                    return at;
                }
                Outcome::Unknown(why) => {
                    self.refused(&why);
                    self.journal.unknown.push((path, value));
                    return (at + 1) % self.apis.len();
                }
                Outcome::NotDone(why) => {
                    self.refused(&why);
                    at = (at + 1) % self.apis.len();
                }
            }
            if self.stop.load(Ordering::SeqCst) {
                return at;
            }
            // A node that refuses does so at once: not in a circle.
            self.pace.tick().await;
        }
    }

    /// Reads what was just acknowledged through any node: it answers with that, or says that it cannot answer.
    async fn is_seen_elsewhere(&mut self, path: &str, value: &str) {
        let through = self.seed.below(self.apis.len());
        let Ok(reply) = self.apis[through].call("GET", path, None).await else {
            return;
        };
        match reply.status {
            200 => assert_eq!(
                reply.body["data"]["data"]["value"], *value,
                "{path} holds something else"
            ),
            503 | 504 => {}
            404 if self.restored => {}
            _ => panic!("{path} was just acknowledged: {}", reply.text()),
        }
    }

    fn refused(&mut self, why: &str) {
        let short: String = why.chars().take(120).collect();
        *self.journal.refusals.entry(short).or_default() += 1;
    }
}
