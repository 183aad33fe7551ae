//! The leader's side: facts of all nodes go in, findings come out. Memory is bounded by the constants here, whatever callers
//! do; one fact costs a few hash look-ups. Which rules there are is in `checks.rs` and `refused.rs`.

mod activity;
mod checks;
mod episodes;
mod failures;
mod profile;
mod refused;
mod saved;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use crate::Millis;
use crate::act::Act;
use crate::fact::Fact;
use crate::finding::Finding;
use crate::gather::Summary;
use crate::key::Key;
use crate::names::Names;
use crate::rule::{Kind, RuleSet};
use crate::sketch::CountMin;
use crate::zone::Local;

use activity::Activity;
use episodes::Episodes;
use failures::Failures;
use profile::{Measure, Profile};

pub use saved::Saved;
pub use view::{ProfileView, Status};

/// Most identities that are known by what is usual for them; beyond, those that were silent longest are forgotten. Of about
/// 900 bytes each.
pub const MAX_PROFILES: usize = 24_576;
/// Most identities that are active at the same time; beyond, the others are only counted as seen. Of about 1.3 KB each.
const MAX_ACTIVE: usize = 4_096;
/// Cells in a row of the sketch of (identity, path) pairs: 4 rows of 2 bytes.
const PAIR_CELLS: usize = 1 << 21;
/// A pair is known or not: higher counts only say how long it stays known when the sketch ages.
const PAIR_MOST: u16 = 3;
/// Load of that sketch above which it ages: strangers begin to look known.
const PAIR_LOAD: f64 = 0.5;
/// Most networks that are known to be several identities'.
const MAX_NETWORKS: usize = 65_536;
/// Most nodes whose summaries are told apart.
const MAX_NODES: usize = 64;

/// Watches.
pub struct Detector {
    rules: Arc<RuleSet>,
    profiles: HashMap<Key, Box<Profile>>,
    active: HashMap<Key, Box<Activity>>,
    failures: Failures,
    pairs: CountMin,
    /// How many identities come from a network.
    networks: HashMap<Key, u16>,
    episodes: Episodes,
    names: Names,
    /// The last summary of each node's start.
    heard: HashMap<(u64, u64), u64>,
    clock: Clock,
    dirty: saved::Dirty,
}

/// Where time stands.
#[derive(Default)]
struct Clock {
    /// The half window that runs.
    index: u64,
    day: u32,
    /// The last local hour that was worked out, and until when it holds.
    local: Option<(Millis, Local)>,
}

/// One fact on its way through the rules.
struct Seen<'a> {
    fact: &'a Fact,
    local: Local,
    found: Vec<Finding>,
}

impl Detector {
    /// One that knows nobody yet.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self {
            rules,
            profiles: HashMap::new(),
            active: HashMap::new(),
            failures: Failures::default(),
            pairs: CountMin::new(PAIR_CELLS, PAIR_MOST),
            networks: HashMap::new(),
            episodes: Episodes::default(),
            names: Names::default(),
            heard: HashMap::new(),
            clock: Clock::default(),
            dirty: saved::Dirty::default(),
        }
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>) {
        self.clock.local = None;
        self.rules = rules;
    }

    /// Takes in what a node saw. A summary that was taken in before is passed over: nodes send theirs again when leadership
    /// moves. Whether it was new.
    pub fn take(&mut self, node: u64, summary: &Summary, found: &mut Vec<Finding>) -> bool {
        let start = (node, summary.boot);
        if self.heard.len() >= MAX_NODES && !self.heard.contains_key(&start) {
            self.heard.retain(|(known, _), _| *known != node);
        }
        // Names come first: findings are told in them.
        for (key, name) in &summary.names {
            self.names.learn(*key, name);
        }
        let heard = self.heard.entry(start).or_insert(0);
        if summary.number <= *heard {
            return false;
        }
        *heard = summary.number;
        for fact in &summary.facts {
            self.observe(node, fact, found);
        }
        true
    }

    /// Takes in one fact.
    pub fn observe(&mut self, node: u64, fact: &Fact, found: &mut Vec<Finding>) {
        let local = self.move_to(fact.at);
        let mut seen = Seen {
            fact,
            local,
            found: Vec::new(),
        };
        if fact.act.is_failure() {
            self.refused(node, &mut seen);
        } else if fact.who != 0 {
            if fact.act == Act::Canary {
                self.canary(&mut seen);
            }
            self.person(&mut seen);
        }
        found.append(&mut seen.found);
    }

    /// What a key stands for.
    pub fn name(&self, key: Key) -> String {
        self.names.of(key)
    }

    /// A name for a key, from who knows it.
    pub fn learn_name(&mut self, key: Key, name: &str) {
        self.names.learn(key, name);
    }

    /// Something was found before this one took over, and was going on then: it is not told of again.
    pub fn resume_episode(&mut self, kind: Kind, key: Key, at: Millis) {
        self.episodes.resume((kind, key), at);
    }

    fn move_to(&mut self, at: Millis) -> Local {
        const QUARTER: Millis = 15 * 60_000;
        let local = match self.clock.local {
            Some((quarter, local)) if quarter == at / QUARTER => local,
            _ => self.rules.settings.zone.local(at),
        };
        self.clock.local = Some((at / QUARTER, local));
        let half = (self.rules.settings.window_minutes * 60_000 / 2).max(1);
        let index = at / half;
        if index > self.clock.index {
            self.clock.index = index;
            self.failures.move_to(index);
            self.end_activities(index);
            self.episodes.forget(at);
        }
        if local.day > self.clock.day {
            self.clock.day = local.day;
            self.failures.fade();
            if self.pairs.load() > PAIR_LOAD {
                self.pairs.age();
            }
        }
        local
    }

    /// Learns from those who have been silent for a window, and lets their activity go.
    fn end_activities(&mut self, index: u64) {
        let over = self.active.iter().filter(|(_, activity)| activity.is_over(index));
        let over: Vec<Key> = over.map(|(who, _)| *who).collect();
        for who in over {
            if let Some(mut activity) = self.active.remove(&who) {
                self.learn(who, activity.move_to(index));
            }
        }
    }

    fn learn(&mut self, who: Key, ended: Option<activity::Ended>) {
        let (Some(ended), Some(profile)) = (ended, self.profiles.get_mut(&who)) else {
            return;
        };
        let local = self.rules.settings.zone.local(profile.last);
        let unusual = |measure| {
            ended.found.iter().any(|kind| match measure {
                Measure::Requests => *kind == Kind::TrafficSpike,
                Measure::Denied => *kind == Kind::DeniedSpike,
                Measure::Fresh => *kind == Kind::FirstUseOfPath,
                Measure::Lists => *kind == Kind::WideList,
                Measure::Secrets => *kind == Kind::BulkRead,
            })
        };
        profile.learn(local.slot(), &ended.totals, unusual);
        self.dirty.profile(who);
    }

    /// Makes room for another identity by forgetting those that were silent longest.
    fn make_room(&mut self) {
        if self.profiles.len() < MAX_PROFILES {
            return;
        }
        let mut last: Vec<(Millis, Key)> = self
            .profiles
            .iter()
            .map(|(who, known)| (known.last, *who))
            .collect();
        let keep = MAX_PROFILES / 16;
        last.select_nth_unstable(keep);
        for (_, who) in last.into_iter().take(keep) {
            self.profiles.remove(&who);
            self.dirty.profile(who);
        }
    }

    fn share_network(&mut self, network: Key) -> u16 {
        if self.networks.len() >= MAX_NETWORKS && !self.networks.contains_key(&network) {
            return 0;
        }
        let shared = self.networks.entry(network).or_insert(0);
        *shared = shared.saturating_add(1);
        *shared
    }
}
