//! Watches who reads what, off the request path: a request leaves one entry in a bounded queue; each node makes a summary of
//! its entries once a second, and the leader decides over those of all nodes what is unusual. Rules and sketches are the crate
//! `anomaly`; this joins them to rows, members and tokens.

pub mod access;
mod events;
mod holds;
mod hooks;
mod identity;
mod keep;
mod lead;
mod limits;
mod node;
mod numbers;
mod respond;
mod rules;
mod seen;

pub use events::{EVENTS, EventRecord, State};
pub use holds::{HoldRecord, release};
pub use hooks::{HOOKS, HookRecord};
pub use identity::key_of_identity;
pub use lead::{Question, Told};
pub use limits::{LimitRecord, remove as remove_limit};
pub use rules::{
    CANARIES, CONFIGURED, CanaryRecord, ConfigRecord, Limit, MUTES, MuteRecord, RULES, Response, RuleRecord,
    Watched,
};
pub(crate) use seen::{Asked, Seen};

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::store::{Space, Table};

use lead::Leading;
use node::Node;
use numbers::Numbers;

/// Message to the leader: what this node saw.
pub const SUMMARY: u16 = 32;
/// Message to the leader: a question about what it learned.
pub const ASK: u16 = 33;

/// Where events and what was learned lie.
pub const STORED: Space = Space::root(Table::Anomaly);

/// Most requests that wait to be looked at; a node that answers 50,000 a second needs a quarter of that between two looks.
const QUEUE: usize = 65_536;
/// Most canaries among them: they wait apart, so that a flood hides none.
const CANARY_QUEUE: usize = 1024;

/// What one node keeps for it.
pub struct Watch {
    queue: mpsc::Sender<Seen>,
    canaries: mpsc::Sender<Seen>,
    dropped: AtomicU64,
    node: tokio::sync::Mutex<Node>,
    leading: tokio::sync::Mutex<Option<Leading>>,
    /// What the leader found and has not stored yet.
    found: Mutex<Vec<conclave_anomaly::Finding>>,
    /// Events that are to be posted.
    posts: Mutex<Vec<hooks::Post>>,
    numbers: Numbers,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new(registry: &prometheus::Registry) -> Result<Self, Error> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (canaries, urgent) = mpsc::channel(CANARY_QUEUE);
        Ok(Self {
            queue,
            canaries,
            dropped: AtomicU64::new(0),
            node: tokio::sync::Mutex::new(Node::new(waiting, urgent)),
            leading: tokio::sync::Mutex::default(),
            found: Mutex::default(),
            posts: Mutex::default(),
            numbers: Numbers::new(registry)?,
        })
    }

    /// Leaves an entry. Never waits: what does not fit is counted.
    pub(crate) fn note(&self, seen: Seen) {
        let queue = match seen.canary {
            true => &self.canaries,
            false => &self.queue,
        };
        if queue.try_send(seen).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.numbers.dropped(1);
        }
    }
}
