//! A node's slices: tokens it has leased from the leader's buckets and may spend without asking. How large a slice is
//! follows how fast the last ones were spent, so that a busy node asks seldom and an idle one hoards nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::message::{Ask, Grant};
use super::rule::RateLimit;

/// Most slices of one node; beyond that, all strangers to a rule share one.
const MAX_SLICES: usize = 100_000;
/// Tokens that are not spent by then are void: others may have waited for them.
const LIFE: Duration = Duration::from_secs(1);
/// A slice spent faster than this is to be followed by a larger one ...
const QUICK: Duration = Duration::from_millis(50);
/// ... and one spent slower than this by a smaller one.
const SLOW: Duration = Duration::from_millis(400);
/// No slice is larger than this part of the bucket.
const LARGEST: f64 = 0.1;
/// How long a node goes by its share of the limit before it tries to reach a leader again.
const ALONE: Duration = Duration::from_millis(250);
/// Longest time for which a refusal of the leader is taken for granted: the rule may be changed meanwhile.
const REFUSED: Duration = Duration::from_secs(5);

/// Where slices come from.
pub trait Bank: Sync {
    /// What a bucket is called towards others.
    fn name(&self, rule: &RateLimit, group: Option<IpAddr>) -> [u8; 32];
    /// Asks the leader. `None` if there is none to be reached.
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Option<Grant>>;
    /// Voting members.
    fn members(&self) -> usize;
}

type Key = (String, Option<IpAddr>);

/// All slices of one node.
#[derive(Default)]
pub struct Slices(Mutex<HashMap<Key, Arc<Slice>>>);

struct Slice {
    rule: Arc<RateLimit>,
    /// Held by the one that asks; the others wait for what it gets.
    asking: tokio::sync::Mutex<()>,
    held: Mutex<Held>,
}

struct Held {
    tokens: u32,
    void: Instant,
    granted: Instant,
    want: u32,
    refused_until: Option<Instant>,
    alone_until: Option<Instant>,
    /// Used and not gained since.
    debt: f64,
    debt_at: Instant,
}

/// What is left.
enum Left {
    Taken,
    Refused,
    Nothing,
}

impl Slices {
    /// Takes one token of a rule's bucket. Whether there was one.
    pub async fn take(&self, rule: &Arc<RateLimit>, group: Option<IpAddr>, bank: &dyn Bank) -> bool {
        let slice = self.slice(rule, group);
        match slice.take() {
            Left::Taken => return true,
            Left::Refused => return false,
            Left::Nothing => {}
        }
        let _turn = slice.asking.lock().await;
        // Whoever asked before may have got enough.
        match slice.take() {
            Left::Taken => return true,
            Left::Refused => return false,
            Left::Nothing => {}
        }
        if slice.is_alone() {
            return slice.take_alone(bank.members());
        }
        let ask = slice.ask(bank.name(rule, group));
        match bank.ask(ask).await {
            Some(grant) => slice.granted(grant),
            None => {
                slice.leave_alone();
                slice.take_alone(bank.members())
            }
        }
    }

    fn slice(&self, rule: &Arc<RateLimit>, group: Option<IpAddr>) -> Arc<Slice> {
        let now = Instant::now();
        let mut slices = self.0.lock();
        let mut key = (rule.name.clone(), group);
        if let Some(slice) = slices.get(&key)
            && slice.rule == *rule
        {
            return slice.clone();
        }
        if slices.len() >= MAX_SLICES {
            slices.retain(|_, slice| !slice.is_idle(now));
        }
        if slices.len() >= MAX_SLICES {
            key.1 = None;
        }
        let slice = Arc::new(Slice::new(rule, now));
        slices.insert(key, slice.clone());
        slice
    }
}

impl Slice {
    fn new(rule: &Arc<RateLimit>, now: Instant) -> Self {
        Self {
            rule: rule.clone(),
            asking: tokio::sync::Mutex::new(()),
            held: Mutex::new(Held {
                tokens: 0,
                void: now,
                granted: now,
                want: 1,
                refused_until: None,
                alone_until: None,
                debt: 0.0,
                debt_at: now,
            }),
        }
    }

    /// Tokens gained in a second.
    #[allow(clippy::cast_precision_loss, reason = "intervals are far below 2^52 ms")]
    fn gain(&self) -> f64 {
        self.rule.rate * 1000.0 / self.rule.interval.max(1) as f64
    }

    fn take(&self) -> Left {
        let now = Instant::now();
        let mut held = self.held.lock();
        if held.refused_until.is_some_and(|until| until > now) {
            return Left::Refused;
        }
        if held.tokens == 0 || held.void <= now {
            held.tokens = 0;
            return Left::Nothing;
        }
        held.tokens -= 1;
        held.owe(1.0, self.gain(), now);
        Left::Taken
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded, and never negative"
    )]
    fn ask(&self, bucket: [u8; 32]) -> Ask {
        let now = Instant::now();
        let largest = (self.rule.capacity() * LARGEST).clamp(1.0, 10_000.0) as u32;
        let mut held = self.held.lock();
        let lasted = now.duration_since(held.granted);
        if lasted < QUICK {
            held.want = held.want.saturating_mul(2);
        } else if lasted > SLOW {
            held.want /= 2;
        }
        held.want = held.want.clamp(1, largest);
        held.owe(0.0, self.gain(), now);
        Ask {
            bucket,
            capacity: self.rule.capacity(),
            gain: self.gain(),
            block: self.rule.block,
            debt: held.debt,
            want: held.want,
        }
    }

    /// Puts away what the leader gave, and takes one of it.
    fn granted(&self, grant: Grant) -> bool {
        let now = Instant::now();
        let mut held = self.held.lock();
        let Some(left) = grant.tokens.checked_sub(1) else {
            held.refused_until = Some(now + grant.wait.min(REFUSED));
            return false;
        };
        held.tokens = left;
        held.granted = now;
        held.void = now + LIFE;
        held.refused_until = None;
        held.owe(1.0, self.gain(), now);
        true
    }

    fn is_alone(&self) -> bool {
        let now = Instant::now();
        self.held.lock().alone_until.is_some_and(|until| until > now)
    }

    fn leave_alone(&self) {
        self.held.lock().alone_until = Some(Instant::now() + ALONE);
    }

    /// Without a leader, a node goes by its share of the limit: what it uses beyond what its share gains is owed, and told
    /// to the next leader.
    #[allow(clippy::cast_precision_loss, reason = "members are few")]
    fn take_alone(&self, members: usize) -> bool {
        let now = Instant::now();
        let share = (self.rule.capacity() / members as f64).max(1.0);
        let mut held = self.held.lock();
        held.owe(0.0, self.gain() / members as f64, now);
        if held.debt + 1.0 > share {
            return false;
        }
        held.owe(1.0, self.gain() / members as f64, now);
        true
    }

    /// Whether forgetting it changes nothing.
    fn is_idle(&self, now: Instant) -> bool {
        let mut held = self.held.lock();
        held.owe(0.0, self.gain(), now);
        held.debt <= 0.0
            && (held.tokens == 0 || held.void <= now)
            && held.refused_until.is_none_or(|until| until <= now)
    }
}

impl Held {
    fn owe(&mut self, used: f64, gain: f64, now: Instant) {
        let gained = now.duration_since(self.debt_at).as_secs_f64() * gain;
        self.debt = (self.debt - gained).max(0.0) + used;
        self.debt_at = now;
    }
}
