//! The leader's buckets. They live in memory: a new leader starts from what nodes say they have used.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::message::{Ask, Grant};

/// Most buckets; beyond that, all strangers share one.
const MAX_BUCKETS: usize = 200_000;
/// Where strangers go.
const STRANGERS: [u8; 32] = [0; 32];
/// Between two sweeps for buckets that are full.
const SWEEP: Duration = Duration::from_secs(1);

/// All buckets of one term.
#[derive(Default)]
pub struct Ledger(Mutex<Buckets>);

#[derive(Default)]
struct Buckets {
    term: u64,
    swept: Option<Instant>,
    all: HashMap<[u8; 32], Bucket>,
}

struct Bucket {
    level: f64,
    capacity: f64,
    gain: f64,
    at: Instant,
    blocked_until: Option<Instant>,
    /// Nodes whose debts are in the level.
    heard: HashSet<u64>,
}

impl Ledger {
    /// Gives a node of what a bucket holds. In a new term, everything begins anew.
    pub fn grant(&self, term: u64, node: u64, ask: &Ask) -> Grant {
        let now = Instant::now();
        let mut buckets = self.0.lock();
        if buckets.term != term {
            buckets.term = term;
            buckets.all.clear();
        }
        buckets.bucket(ask, now).grant(node, ask, now)
    }
}

impl Buckets {
    fn bucket(&mut self, ask: &Ask, now: Instant) -> &mut Bucket {
        let full = self.all.len() >= MAX_BUCKETS && !self.all.contains_key(&ask.bucket);
        if full && self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            // A full bucket is as good as none.
            self.all.retain(|_, bucket| !bucket.is_full(now));
        }
        let name = match self.all.len() >= MAX_BUCKETS && !self.all.contains_key(&ask.bucket) {
            true => STRANGERS,
            false => ask.bucket,
        };
        self.all.entry(name).or_insert_with(|| Bucket {
            level: ask.capacity,
            capacity: ask.capacity,
            gain: ask.gain,
            at: now,
            blocked_until: None,
            heard: HashSet::new(),
        })
    }
}

impl Bucket {
    fn gained(&self, now: Instant) -> f64 {
        let gained = now.duration_since(self.at).as_secs_f64() * self.gain;
        (self.level + gained).min(self.capacity)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.gained(now) >= self.capacity && self.blocked_until.is_none_or(|until| until <= now)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the level is bounded above by what is wanted and below by zero"
    )]
    fn grant(&mut self, node: u64, ask: &Ask, now: Instant) -> Grant {
        self.level = self.gained(now);
        self.at = now;
        // The rule may have been changed.
        (self.capacity, self.gain) = (ask.capacity, ask.gain);
        self.level = self.level.min(self.capacity);
        if self.heard.insert(node) {
            // Below nothing, if others have had it by now: it is gained back.
            self.level = (self.level - ask.debt).max(-self.capacity);
        }
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Grant {
                tokens: 0,
                wait: until.duration_since(now),
            };
        }
        let tokens = self.level.min(f64::from(ask.want)).floor();
        if tokens >= 1.0 {
            self.level -= tokens;
            return Grant {
                tokens: tokens as u32,
                wait: Duration::ZERO,
            };
        }
        let mut wait = Duration::try_from_secs_f64((1.0 - self.level) / self.gain).unwrap_or(Duration::MAX);
        if ask.block > 0 {
            wait = wait.max(Duration::from_millis(ask.block));
            self.blocked_until = Some(now + Duration::from_millis(ask.block));
        }
        Grant { tokens: 0, wait }
    }
}
